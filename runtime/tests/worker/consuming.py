"""A pool's queue in memory, its operator, and a worker that does what a test says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steno_api.model import ObjectRef
from steno_api.server.task import PoolQueue, PoolTask
from steno_api.usage import Work
from steno_api.v1alpha1.job import Progress, Stage
from steno_api.v1alpha1.transcriptionjob import SpeechModel
from steno_api.worker.report import AttemptAnswer, AttemptReport
from steno_api.worker.task import Task
from steno_api.worker.termination import Failed, TerminationMessage
from steno_queue.memory import MemoryQueue
from steno_queue.message import Message
from steno_queue.settings import QueueSettings
from steno_runtime.errors import Stopped
from steno_runtime.worker.consumer import Consumer
from steno_runtime.worker.signals import StopRequest
from steno_runtime.worker.warm import WarmWorker

SECONDS = 20.0
POOL = ObjectRef(namespace="team-a", name="warm", uid="pool-1")
WEB = {"source": {"uri": "https://media.example/a.wav"}, "output": {"uri": "s3://out/uid-1", "formats": ["json"]}}
"""Fields of a task that a pool can do: of volumes, pods of its own are needed."""
ENDED = TerminationMessage(
    result=Failed(reason="UnsupportedMedia", message="It is no audio."), used=Work(audio_millis=7)
)


def pool_task(folder: Path, **changes: Any) -> PoolTask:
    """Return what a server of the pool is told."""
    task = PoolTask(
        pool=POOL,
        tenant="acme",
        model=SpeechModel(name="whisper-base"),
        scratch_dir=str(folder / "scratch"),
        max_sessions=1,
        token_keys=[],
        queue=PoolQueue(settings={"kind": "Memory"}, credentials_root=str(folder / "secrets")),
    )
    return task.model_copy(update=changes)


def message_of(task: Task, **changes: Any) -> Message:
    """Return the message of an attempt, as the operator makes it."""
    message = Message.of_attempt(task, namespace=POOL.namespace, pool=POOL.name, priority=0, time=datetime.now(UTC))
    return message.model_copy(update=changes)


class Operator:
    """Takes reports; a test says what it answers to each: `None` loses the report."""

    def __init__(self, answer: Callable[[AttemptReport], AttemptAnswer | None] | None = None) -> None:
        self.reports: list[AttemptReport] = []
        self.answer = answer or (lambda report: AttemptAnswer(recorded=report.ended is not None))
        self.changed = asyncio.Event()

    async def send(self, report: AttemptReport) -> AttemptAnswer | None:
        self.reports.append(report)
        self.changed.set()
        return self.answer(report)

    async def aclose(self) -> None:
        pass

    async def reported(self, found: Callable[[AttemptReport], bool]) -> AttemptReport:
        """Wait for a report."""
        async with asyncio.timeout(SECONDS):
            while not any(found(report) for report in self.reports):
                self.changed.clear()
                await self.changed.wait()
        return next(report for report in self.reports if found(report))


class ToldWorker(WarmWorker):
    """Works until it is told how the attempt ends, or asked to stop."""

    def __init__(self, pool: PoolTask) -> None:
        super().__init__(pool, None)
        self.begun: list[str] = []
        self.ended = ENDED
        self.finish = threading.Event()
        self.keys: list[Sequence[bytes]] = []
        self.brief = False
        """Whether attempts turn out to be."""

    def work(
        self,
        task: Task,
        stop: StopRequest,
        on_progress: Callable[[Progress], None],
        *,
        keys: Sequence[bytes] = (),
        on_brief: Callable[[], None] = lambda: None,
    ) -> TerminationMessage:
        self.begun.append(f"{task.job.uid}/{task.attempt}")
        self.keys.append(keys)
        if self.brief:
            on_brief()
        on_progress(Progress(stage=Stage.DECODING, percent=10))
        try:
            while not self.finish.wait(0.005):
                stop.check()
        except Stopped:
            return TerminationMessage(used=Work(audio_millis=3))
        return self.ended


class Pool:
    """All of it."""

    def __init__(self, folder: Path, *, visibility: float = 30.0, **operator: Any) -> None:
        self.queue = MemoryQueue(QueueSettings(kind="Memory", visibility_seconds=visibility))
        self.operator = Operator(**operator)
        self.worker = ToldWorker(pool_task(folder))
        self.visibility = visibility

    @asynccontextmanager
    async def consumed(self, **options: Any) -> AsyncIterator[Consumer]:
        """Run a consumer, and drain it in the end."""
        consumer = Consumer(
            options.pop("queue", self.queue),
            self.worker,
            self.operator,
            pool=POOL,
            heartbeat_seconds=self.visibility / 4,
            report_seconds=0.02,
            wait_seconds=0.1,
            **options,
        )
        running = asyncio.create_task(consumer.run())
        try:
            yield consumer
        finally:
            self.worker.finish.set()
            await consumer.drain(asyncio.get_running_loop().time() + SECONDS)
            await running

    async def empty(self) -> None:
        """Wait until nothing is in the queue."""
        async with asyncio.timeout(SECONDS):
            while (depth := await self.queue.depth()).waiting + depth.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
