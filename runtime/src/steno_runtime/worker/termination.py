"""The termination message: how an attempt ended and what it did, for the pod's status, and the exit code with it.

What was done so far is written while the work goes on: a worker that is killed leaves it in its pod's status.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from steno_api.documents.manifest import AnySummary, OCRSummary, TranscriptionSummary
from steno_api.failures import EXIT_CODES, EXIT_TERMINATED, FailureReason
from steno_api.usage import Work
from steno_api.worker.termination import MAX_TERMINATION_MESSAGE_BYTES, Failed, Succeeded, TerminationMessage
from steno_runtime.errors import Stopped, explain
from steno_runtime.progress import ProgressUpdate

log = logging.getLogger(__name__)

STOPPED = Failed(
    reason=FailureReason.PREEMPTED,
    message="The worker was asked to stop before it was done: its pod was preempted, evicted or deleted.",
)
_LOCK_TIMEOUT_SECONDS = 1.0
NOTE_SECONDS = 1.0
"""Least time between notes of what was done so far."""

DEFAULT_PATH = "/dev/termination-log"
"""Where kubelet mounts the message's file; outside a pod there is none, and none is created."""


class WorkCounter:
    """Counts what an attempt does: what its progress says, and the document that it made."""

    def __init__(self) -> None:
        self.done = Work()

    def count(self, update: ProgressUpdate) -> bool:
        """Count what progress says was done; return whether that is more than before."""
        return self._count(Work.of(update.audio_seconds, update.pages))

    def count_document(self, summary: AnySummary) -> bool:
        """Count the whole document that was made; see `count`."""
        match summary:
            case TranscriptionSummary():
                return self._count(Work.of(summary.duration, None))
            case OCRSummary():
                return self._count(Work.of(None, summary.pages))

    def _count(self, work: Work) -> bool:
        before, self.done = self.done, self.done.union(work)
        return self.done != before


class TerminationWriter:
    """Writes the termination message once: the first result counts, whether of the work or of a stop."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._result: Succeeded | Failed | None = None
        self._used = WorkCounter()
        self._noted: float | None = None

    def count(self, update: ProgressUpdate) -> None:
        """Count what progress says was done, and note it in case the process is killed. Never raises."""
        self._note(grew=self._used.count(update))

    def count_document(self, summary: AnySummary) -> None:
        """Count the whole document that was made."""
        self._note(grew=self._used.count_document(summary))

    def _note(self, *, grew: bool) -> None:
        if not grew:
            return
        now = time.monotonic()
        if self._noted is not None and now - self._noted < NOTE_SECONDS:
            return
        with self._lock:
            if self._result is None:
                self._noted = now
                self._write(TerminationMessage(used=self._used.done).to_json().encode())

    def write(self, result: Succeeded | Failed) -> Succeeded | Failed:
        """Write `result` unless one was written before; return the one that counts. Never raises."""
        locked = self._lock.acquire(timeout=_LOCK_TIMEOUT_SECONDS)
        try:
            if self._result is None:
                self._result = result
                self._write(encode(result, self._used.done))
            return self._result
        finally:
            if locked:
                self._lock.release()

    def _write(self, data: bytes) -> None:
        if str(self._path) == DEFAULT_PATH and not self._path.exists():
            return
        try:
            # In place: in a pod the file is a mount of its own, so nothing can be renamed to it.
            self._path.write_bytes(data)
        except OSError as error:
            log.warning("the termination message could not be written", extra={"error": str(error)})


def encode(result: Succeeded | Failed, used: Work | None = None) -> bytes:
    """Return the termination message: JSON of at most 4,096 bytes.

    Args:
        result: how the attempt ended; a longer message of it is shortened.
        used: what the attempt did.
    """
    while True:
        data = TerminationMessage(result=result, used=used).to_json().encode()
        excess = len(data) - MAX_TERMINATION_MESSAGE_BYTES
        if excess <= 0:
            return data
        if isinstance(result, Succeeded) and result.warnings:  # the manifest has them all
            result = result.model_copy(update={"warnings": result.warnings[:-1]})
            continue
        if isinstance(result, Succeeded):  # a task with a URI of thousands of characters; the API allows none
            result = Failed(
                reason=FailureReason.INVALID_SPEC,
                message="The results are published, but their URI is too long to be reported. Shorten output.uri.",
            )
            continue
        # A character takes up to six bytes of JSON, so this may need several rounds; each one shortens.
        keep = max(0, len(result.message) - max(2, excess // 6 + 1))
        result = Failed(reason=result.reason, message=result.message[:keep] + "…")


def failure(error: BaseException, remedy: str = "use a RuntimeProfile with more memory") -> Failed:
    """Return the result for an exception; `STOPPED` itself for `Stopped`.

    Args:
        error: what ended the work.
        remedy: what the user can do when memory runs out, as the end of a sentence.
    """
    if isinstance(error, Stopped):
        return STOPPED
    retry = f"Steno tries again with half the batch; if it fails again, {remedy}."
    explained = explain(error, "The worker", remedy=retry)
    return Failed(reason=explained.reason, message=explained.message)


def logged_failure(error: BaseException, remedy: str) -> Failed:
    """Return `failure`, and log it: with a traceback where that is needed.

    Args:
        error: what ended the work.
        remedy: see `failure`.
    """
    result = failure(error, remedy)
    if result.reason in (FailureReason.INTERNAL, FailureReason.OUT_OF_MEMORY):
        log.error("failed", extra={"reason": result.reason}, exc_info=error)
    else:
        log.warning("failed", extra={"reason": result.reason, "why": result.message})
    return result


def exit_code(result: Succeeded | Failed) -> int:
    """Return the exit code for `result`: its failure class, as the Job's podFailurePolicy knows it."""
    if isinstance(result, Succeeded):
        return 0
    if result == STOPPED:
        return EXIT_TERMINATED
    return EXIT_CODES[result.reason.failure_class]
