"""Job queue for uploads: bounded, worked off by a thread for each kind, with results on disk for an hour."""

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

from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode
from steno_runtime.errors import Check, Stopped
from steno_runtime.progress import (
    OCR_WEIGHTS,
    ProgressCallback,
    ProgressMeter,
    ProgressUpdate,
    transcription_weights,
)
from steno_runtime.serve.access import SessionAccess
from steno_runtime.serve.errors import to_api_error
from steno_runtime.serve.metering import UploadMeter

log = logging.getLogger(__name__)

MAX_PENDING = 16
"""Jobs that are queued, and uploads that are still being received."""
MAX_RETAINED = 200
RESULT_TTL_SECONDS = 3600.0
"""How long a result can be fetched."""

_WEIGHTS = {"stt": transcription_weights(diarize=True), "ocr": OCR_WEIGHTS}

Status = Literal["queued", "running", "succeeded", "failed"]
JobFunction = Callable[[Path, ProgressCallback, Check], Path]
"""Does a job in its own directory; returns the file with the result (JSON). Runs in a thread."""


@dataclass(eq=False)
class Job:
    """One upload; its directory holds what was sent, and in the end only the result."""

    kind: Literal["stt", "ocr"]
    claims: SessionClaims
    folder: Path
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: Status = "queued"
    stage: str | None = None
    progress: float = 0.0
    created: float = field(default_factory=time.time)
    result: Path | None = None
    error: ApiError | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)

    revoked: ApiError | None = None
    """Why whoever submitted it may not have it done any more."""

    @property
    def tenant(self) -> str:
        """The tenant whose job it is."""
        return self.claims.tenant

    def check(self) -> None:
        """Raise `Stopped` once the job is cancelled, or its token is revoked."""
        if self.cancelled.is_set() or self.revoked is not None:
            raise Stopped

    def result_file(self) -> Path:
        """Return the file with the result of a job that is done.

        Raises:
            ApiError: why there is none.
        """
        if self.result is None:
            raise self.error or to_api_error(Stopped())
        return self.result

    def state(self) -> dict[str, Any]:
        """Return its state as `/status/{job_id}` shows it, without the result."""
        state: dict[str, Any] = {
            "job_id": self.id,
            "kind": self.kind,
            "status": self.status,
            "progress": round(self.progress, 3),
            "stage": self.stage,
        }
        if self.error is not None:
            status = self.error.status
            state["error"] = {"code": status.code, "message": self.error.message, "retryable": status.http >= 500}
        return state


class JobQueue:
    """The jobs of this server, on its event loop."""

    def __init__(self, scratch: Path, access: SessionAccess, meter: UploadMeter, *, at_once: int = 1) -> None:
        self._scratch = scratch / "jobs"
        self._meter = meter
        self._access = access
        access.add_listener(self._stop_revoked)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._pools = {kind: ThreadPoolExecutor(at_once, thread_name_prefix=kind) for kind in ("stt", "ocr")}
        self._reserved: set[Path] = set()
        self._draining = False

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        states = Counter(job.status for job in self._jobs.values())
        return {status: states[status] for status in ("queued", "running", "succeeded", "failed")}

    def check_capacity(self, kind: Literal["stt", "ocr"] | None = None) -> None:
        """Check, before anything is received, that a job (of a kind) would be accepted.

        Raises:
            ApiError: `QueueFull`, `Draining` or `QuotaExceeded`.
        """
        if kind is not None:
            self._meter.check(kind)
        if self._draining:
            raise ApiError(
                ErrorCode.DRAINING,
                "This server is about to stop. Send the request again: another server takes over.",
                retry_after=5,
            )
        if len(self._reserved) + sum(job.status == "queued" for job in self._jobs.values()) >= MAX_PENDING:
            raise ApiError(
                ErrorCode.QUEUE_FULL,
                f"{MAX_PENDING} uploads are queued or being received already. Try again later.",
                retry_after=30,
            )

    @contextlib.asynccontextmanager
    async def reserve(self) -> AsyncIterator[Path]:
        """Reserve a place in the queue and a directory; both are released unless `submit` takes them over.

        Raises:
            ApiError: see `check_capacity`.
        """
        self.check_capacity()
        folder = self._scratch / uuid.uuid4().hex
        self._reserved.add(folder)
        try:
            await asyncio.to_thread(folder.mkdir, parents=True)
            yield folder
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        finally:
            self._reserved.discard(folder)

    def submit(self, kind: Literal["stt", "ocr"], claims: SessionClaims, folder: Path, function: JobFunction) -> Job:
        """Queue a job.

        Args:
            kind: which thread runs it.
            claims: only requests of their tenant get the result; the job stops when their token is revoked.
            folder: a directory of `reserve`; it belongs to the job from now on.
            function: does the job.

        Raises:
            ApiError: see `check_capacity`.
        """
        self._reserved.discard(folder)
        self.check_capacity(kind)
        self._evict()
        job = Job(kind, claims, folder)
        used = self._meter.begin(claims)
        self._jobs[job.id] = job
        loop = asyncio.get_running_loop()

        meter = ProgressMeter(_WEIGHTS[kind])

        def on_progress(update: ProgressUpdate) -> None:
            used.count(update)
            job.stage, job.progress = update.stage.value, meter.advance(update)

        def run() -> Path:
            job.check()
            job.status = "running"
            return function(folder, on_progress, job.check)

        future = loop.run_in_executor(self._pools[kind], run)
        future.add_done_callback(lambda _: self._meter.end(claims, used))
        future.add_done_callback(lambda done: self._on_done(job, done))
        return job

    def get(self, job_id: str, tenant: str | None) -> Job:
        """Return a job.

        Args:
            job_id: its identifier.
            tenant: whose job it has to be; None: any.

        Raises:
            ApiError: `JobNotFound`.
        """
        self._evict()
        job = self._jobs.get(job_id)
        if job is None or (tenant is not None and job.tenant != tenant):
            raise ApiError(
                ErrorCode.JOB_NOT_FOUND,
                "There is no such job. Results are kept for an hour, by the server that made them.",
            )
        return job

    def cancel(self, job: Job) -> None:
        """Cancel a job and remove its result: nothing asks for it any more."""
        job.cancelled.set()
        if job.done.is_set():
            self._remove(job)

    async def drain(self, until: float) -> None:
        """Accept no more jobs, cancel those that are queued, and wait for those that run until `until` (loop time)."""
        self._draining = True
        left = [job for job in self._jobs.values() if not job.done.is_set()]
        for job in left:
            if job.status == "queued":
                job.cancelled.set()
        try:
            async with asyncio.timeout_at(until):
                for job in left:
                    await job.done.wait()
        except TimeoutError:
            for job in left:
                job.cancelled.set()

    def _stop_revoked(self) -> None:
        for job in self._jobs.values():
            if not job.done.is_set() and job.revoked is None:
                job.revoked = self._access.revocation(job.claims)

    def _on_done(self, job: Job, done: asyncio.Future[Path]) -> None:
        error = done.exception()
        if error is None and job.revoked is None:
            job.result, job.status, job.progress = done.result(), "succeeded", 1.0
        else:
            job.error, job.status = job.revoked or to_api_error(error or Stopped()), "failed"
            unexpected = job.error.status == ErrorCode.INTERNAL.value
            log.log(
                logging.ERROR if unexpected else logging.INFO,
                "a job failed",
                extra={"job": job.id, "kind": job.kind, "code": job.error.status.code, "error": type(error).__name__},
            )
        for file in job.folder.iterdir() if job.folder.exists() else ():
            if file != job.result:
                shutil.rmtree(file, ignore_errors=True) if file.is_dir() else file.unlink(missing_ok=True)
        job.done.set()
        if job.cancelled.is_set():
            self._remove(job)

    def _evict(self) -> None:
        too_old = time.time() - RESULT_TTL_SECONDS
        over = len(self._jobs) - MAX_RETAINED + 1
        for job in list(self._jobs.values()):
            if job.done.is_set() and (job.created < too_old or over > 0):
                self._remove(job)
                over -= 1

    def _remove(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)
