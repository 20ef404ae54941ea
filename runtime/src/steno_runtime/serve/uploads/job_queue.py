"""Uploads at work: a bounded queue, a few threads, results on disk for a while."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import threading
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from steno_runtime.errors import Check, Stopped
from steno_runtime.progress import (
    OCR_WEIGHTS,
    ProgressCallback,
    ProgressMeter,
    ProgressUpdate,
    transcription_weights,
)
from steno_runtime.serve.errors import Code, Refusal, refusal_of

log = logging.getLogger(__name__)

MOST_WAITING = 16
"""Queued, and those whose files are still on their way."""
MOST_KEPT = 200
KEEP_SECONDS = 3600.0
"""A result can be asked for so long."""

_WEIGHTS = {"stt": transcription_weights(diarize=True), "ocr": OCR_WEIGHTS}

Status = Literal["queued", "running", "succeeded", "failed"]
Work = Callable[[Path, ProgressCallback, Check], Path]
"""Does a job in its own directory; returns the file with the result (JSON). Runs in a thread."""


@dataclass(eq=False)
class Job:
    """One upload; its directory holds what was sent, and in the end the result alone."""

    kind: Literal["stt", "ocr"]
    tenant: str
    folder: Path
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: Status = "queued"
    stage: str | None = None
    progress: float = 0.0
    created: float = field(default_factory=time.time)
    result: Path | None = None
    error: Refusal | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises `Stopped` once nobody wants the result any more."""
        if self.stopped.is_set():
            raise Stopped

    def outcome(self) -> Path:
        """Returns the file with the result of a job that is done.

        Raises:
            Refusal: why there is none.
        """
        if self.result is None:
            raise self.error or refusal_of(Stopped())
        return self.result

    def told(self) -> dict[str, Any]:
        """Returns its state as `/status/{job_id}` shows it; without the result."""
        state: dict[str, Any] = {
            "job_id": self.id,
            "kind": self.kind,
            "status": self.status,
            "progress": round(self.progress, 3),
            "stage": self.stage,
        }
        if self.error is not None:
            answer = self.error.answer
            state["error"] = {"code": answer.code, "message": self.error.message, "retryable": answer.http >= 500}
        return state


class Jobs:
    """The jobs of this server, on its event loop."""

    def __init__(self, scratch: Path, *, at_once: int = 1) -> None:
        self._scratch = scratch / "jobs"
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._pools = {kind: ThreadPoolExecutor(at_once, thread_name_prefix=kind) for kind in ("stt", "ocr")}
        self._lent: set[Path] = set()
        self._draining = False

    def counts(self) -> dict[str, int]:
        """Returns how many jobs are in each state."""
        states = Counter(job.status for job in self._jobs.values())
        return {status: states[status] for status in ("queued", "running", "succeeded", "failed")}

    def check_room(self) -> None:
        """Finds out, before anything is uploaded, whether a job would be taken.

        Raises:
            Refusal: `QueueFull` or `Draining`.
        """
        if self._draining:
            raise Refusal(
                Code.DRAINING, "This server is about to stop. Send it again: another one takes over.", retry_after=5
            )
        if len(self._lent) + sum(job.status == "queued" for job in self._jobs.values()) >= MOST_WAITING:
            raise Refusal(
                Code.QUEUE_FULL,
                f"{MOST_WAITING} uploads are waiting, or on their way, already. Try again later.",
                retry_after=30,
            )

    @contextlib.asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """Lends the directory of a job to be, and a place in the queue; both are given back unless `submit` takes them.

        Raises:
            Refusal: see `check_room`.
        """
        self.check_room()
        folder = self._scratch / uuid.uuid4().hex
        self._lent.add(folder)
        try:
            await asyncio.to_thread(folder.mkdir, parents=True)
            yield folder
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        finally:
            self._lent.discard(folder)

    def submit(self, kind: Literal["stt", "ocr"], tenant: str, folder: Path, work: Work) -> Job:
        """Queues a job; its directory, which `folder` lent, is the jobs' from now on.

        Raises:
            Refusal: see `check_room`.
        """
        self._lent.discard(folder)
        self.check_room()
        self._forget()
        job = Job(kind, tenant, folder)
        self._jobs[job.id] = job
        loop = asyncio.get_running_loop()

        meter = ProgressMeter(_WEIGHTS[kind])

        def on_progress(update: ProgressUpdate) -> None:
            job.stage, job.progress = update.stage.value, meter.advance(update)

        def run() -> Path:
            job.check()
            job.status = "running"
            return work(folder, on_progress, job.check)

        future = loop.run_in_executor(self._pools[kind], run)
        future.add_done_callback(lambda done: self._settle(job, done))
        return job

    def get(self, job_id: str, tenant: str | None) -> Job:
        """Returns a job of the tenant; None: of anybody.

        Raises:
            Refusal: `JobNotFound`.
        """
        self._forget()
        job = self._jobs.get(job_id)
        if job is None or (tenant is not None and job.tenant != tenant):
            raise Refusal(
                Code.JOB_NOT_FOUND, "There is no such job. Results are kept for an hour, by the server that made them."
            )
        return job

    def discard(self, job: Job) -> None:
        """Nobody wants the result: stops the job and removes what it has."""
        job.stopped.set()
        if job.done.is_set():
            self._remove(job)

    async def drain(self, until: float) -> None:
        """Takes no more, stops what waits, and waits for what runs, until a loop time."""
        self._draining = True
        left = [job for job in self._jobs.values() if not job.done.is_set()]
        for job in left:
            if job.status == "queued":
                job.stopped.set()
        try:
            async with asyncio.timeout_at(until):
                for job in left:
                    await job.done.wait()
        except TimeoutError:
            for job in left:
                job.stopped.set()

    def _settle(self, job: Job, done: asyncio.Future[Path]) -> None:
        error = done.exception()
        if error is None:
            job.result, job.status, job.progress = done.result(), "succeeded", 1.0
        else:
            job.error, job.status = refusal_of(error), "failed"
            unexpected = job.error.answer is Code.INTERNAL.value
            log.log(
                logging.ERROR if unexpected else logging.INFO,
                "a job failed",
                extra={"job": job.id, "kind": job.kind, "code": job.error.answer.code, "error": type(error).__name__},
            )
        for file in job.folder.iterdir() if job.folder.exists() else ():
            if file != job.result:
                shutil.rmtree(file, ignore_errors=True) if file.is_dir() else file.unlink(missing_ok=True)
        job.done.set()
        if job.stopped.is_set():
            self._remove(job)

    def _forget(self) -> None:
        too_old = time.time() - KEEP_SECONDS
        over = len(self._jobs) - MOST_KEPT + 1
        for job in list(self._jobs.values()):
            if job.done.is_set() and (job.created < too_old or over > 0):
                self._remove(job)
                over -= 1

    def _remove(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)
