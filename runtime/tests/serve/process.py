"""The server as a process of its own, and audio that is sent to it as fast as it is spoken."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import websockets

from .conftest import TokenIssuer

CHUNK_SECONDS = 0.1


def pool_task(issuer: TokenIssuer, folder: Path, **fields: Any) -> dict[str, Any]:
    """Return the task of a server with a real model.

    Args:
        issuer: of the tokens that it accepts.
        folder: for its scratch files.
        fields: more of the task's wire format.
    """
    return {
        "pool": {"namespace": "team-a", "name": "default", "uid": "pool-1"}, "tenant": "acme",
        "model": {"name": "whisper-base"}, "device": "cpu", "scratchDir": str(folder / "scratch"),
        "modelStore": os.path.expandvars(f"{os.environ.get('XDG_CACHE_HOME', '$HOME/.cache')}/steno/models"),
        "maxSessions": 4, "tokenKeys": [issuer.public], "httpPort": 0, "grpcPort": 0, "probePort": 0, **fields,
    }  # fmt: skip


class Process:
    """A server process, ready."""

    def __init__(self, log: Path, *arguments: str, ready: bool = True, module: str = "steno_runtime.serve") -> None:
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=stderr, stderr=stderr)
        if ready:
            self._await("ready")
            listening = next(entry for entry in self.entries if entry["message"] == "listening")
            self.http, self.grpc = listening["http_port"], f"127.0.0.1:{listening['grpc_port']}"
            self.probes = listening["probe_port"]

    @property
    def entries(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def _await(self, message: str) -> None:
        until = time.monotonic() + 240
        while not any(entry["message"] == message for entry in self.entries):
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < until
            time.sleep(0.1)

    def connect(self, token: str, *, query: bool = False) -> Any:
        headers = {} if query else {"Authorization": f"Bearer {token}"}
        url = f"ws://127.0.0.1:{self.http}/stt/realtime" + (f"?token={token}" if query else "")
        return websockets.connect(url, additional_headers=headers, compression=None, proxy=None)


async def paced(pcm: bytes, send: Any) -> None:
    size = int(CHUNK_SECONDS * 32_000)
    begun = asyncio.get_running_loop().time()
    for number, begin in enumerate(range(0, len(pcm), size)):
        await asyncio.sleep(max(0.0, begun + number * CHUNK_SECONDS - asyncio.get_running_loop().time()))
        await send(pcm[begin : begin + size])
