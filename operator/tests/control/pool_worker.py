"""A pool's worker in this process: the real consumer and handlers; what a pod would mount is elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steno_api.server.task import PoolTask
from steno_api.v1alpha1.job import Progress, Stage
from steno_api.worker.task import AnyTask
from steno_api.worker.termination import TerminationMessage
from steno_queue.connect import open_queue
from steno_queue.message import Message
from steno_queue.settings import QueueSettings
from steno_runtime.errors import Stopped
from steno_runtime.worker.consumer import Consumer, OperatorReports
from steno_runtime.worker.signals import StopRequest
from steno_runtime.worker.warm import WarmWorker

STOP_SECONDS = 60.0


class MountedWorker(WarmWorker):
    """Works as in the pod, but reads credentials from another root; and not before `begin` is set."""

    def __init__(self, pool: PoolTask, root: Path) -> None:
        super().__init__(pool, None)
        self._root = root
        self.begin = threading.Event()
        self.begun: list[int] = []

    def task_of(self, message: Message) -> AnyTask:
        task = super().task_of(message)
        moved = {
            name: place.model_copy(update={"credentials_dir": str(self._root / Path(place.credentials_dir).name)})
            for name, place in (("source", task.source), ("output", task.output))
            if place.credentials_dir is not None
        }
        return task.model_copy(update=moved)

    def work(
        self, task: AnyTask, stop: StopRequest, on_progress: Callable[[Progress], None], **more: Any
    ) -> TerminationMessage:
        self.begun.append(task.attempt)
        on_progress(Progress(stage=Stage.STARTING, percent=0))
        try:
            while not self.begin.wait(0.02):
                stop.check()
        except Stopped:
            return TerminationMessage()
        return super().work(task, stop, on_progress, **more)


@contextmanager
def serving(deployment_task: Any, token: str, folder: Path) -> Iterator[MountedWorker]:
    """Consume the queue of a pool, as a server of it does.

    Args:
        deployment_task: the task in the pool's Deployment.
        token: that of a server's pod.
        folder: has the credentials that the pod would mount, and room for scratch files.
    """
    (folder / "token").write_text(token)
    (folder / "scratch").mkdir(exist_ok=True)
    told = PoolTask.from_wire(deployment_task)
    assert told.queue is not None
    assert told.reporting is not None
    reporting = told.reporting.model_copy(update={"token_file": str(folder / "token"), "interval_seconds": 0.2})
    task = told.model_copy(update={"scratch_dir": str(folder / "scratch"), "reporting": reporting})
    worker, stopped = MountedWorker(task, folder), threading.Event()

    async def consume() -> None:
        settings = QueueSettings.from_wire(told.queue.settings if told.queue else {})
        queue, reports = open_queue(settings), OperatorReports(reporting)
        consumer = Consumer(
            queue,
            worker,
            reports,
            pool=told.pool,
            heartbeat_seconds=settings.visibility_seconds / 3,
            report_seconds=0.2,
            wait_seconds=0.2,
        )
        running = asyncio.create_task(consumer.run())
        await asyncio.to_thread(stopped.wait)
        await consumer.drain(asyncio.get_running_loop().time())
        await running
        await queue.aclose()
        await reports.aclose()

    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(consume())
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        stopped.set()
        thread.join(STOP_SECONDS)
        assert not thread.is_alive(), "the worker does not end"
        assert errors == []
