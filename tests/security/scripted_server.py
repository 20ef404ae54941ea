"""A server process with a scripted engine that takes a GPU's time, and no CPU: what delays it is not the model.

A page may take a tenth of the time that it has elsewhere, so that a test of what takes all of it is short.

Separate because it is a process of its own, as servers are.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from runtime.tests.serve.scripted import ScriptedEngine, ScriptedSession
from steno_api.server.task import PoolTask
from steno_runtime import logs
from steno_runtime.ocr import sandboxed
from steno_runtime.serve.server import Server
from steno_runtime.stream.events import Event
from steno_runtime.stream.session import SessionConfig
from steno_runtime.stt.options import TranscriptionOptions

DECODE_SECONDS = 0.2
UTTERANCE_WORDS = 20
"""After which a final comes."""


class _LateQueue(asyncio.Queue[Event | Exception | None]):
    """Has what is put into it after the time of a decode, in order."""

    def put_nowait(self, item: Event | Exception | None) -> None:
        asyncio.get_running_loop().call_later(DECODE_SECONDS, super().put_nowait, item)


@dataclass
class _Session(ScriptedSession):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.queue = _LateQueue()

    async def feed(self, pcm: bytes) -> None:
        await super().feed(pcm)
        if self._open >= UTTERANCE_WORDS:
            self._final()


class _Engine(ScriptedEngine):
    def open(self, config: SessionConfig) -> ScriptedSession:
        super().open(config)
        self.sessions[config.uid] = session = _Session(config, self)
        return session


def load(options: TranscriptionOptions, *, max_sessions: int) -> ScriptedEngine:
    return _Engine(options, max_sessions)


async def main(task: PoolTask) -> None:
    await Server(task, load).run()  # pyright: ignore[reportArgumentType] - as StreamEngine is


if __name__ == "__main__":
    logs.configure({}, "INFO")
    sandboxed.PAGE_SECONDS /= 10
    asyncio.run(main(PoolTask.model_validate_json(sys.argv[sys.argv.index("--task") + 1])))
