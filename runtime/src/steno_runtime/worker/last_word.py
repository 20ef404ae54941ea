"""A worker's last word: the pod's termination message, and the exit code that goes with it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from steno_api.failures import EXIT_CODES, EXIT_TERMINATED, FailureReason
from steno_api.worker.termination import MAX_TERMINATION_MESSAGE_BYTES, Failed, Succeeded, TerminationMessage

log = logging.getLogger(__name__)

STOPPED = Failed(
    reason=FailureReason.PREEMPTED,
    message="The worker was told to stop before it was done: its pod was preempted, evicted or deleted.",
)
_LOCK_PATIENCE_SECONDS = 1.0

DEFAULT_PATH = "/dev/termination-log"
"""Where kubelet mounts the message's file; outside a pod there is none, and none is made."""


class LastWord:
    """Writes the termination message, once: whoever speaks first, the work or the watchdog, is heard."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._spoken: Succeeded | Failed | None = None

    def say(self, result: Succeeded | Failed) -> Succeeded | Failed:
        """Writes `result` unless something was said before; returns what stands. Never raises."""
        locked = self._lock.acquire(timeout=_LOCK_PATIENCE_SECONDS)
        try:
            if self._spoken is None:
                self._spoken = result
                self._write(result)
            return self._spoken
        finally:
            if locked:
                self._lock.release()

    def _write(self, result: Succeeded | Failed) -> None:
        if str(self._path) == DEFAULT_PATH and not self._path.exists():
            return
        try:
            # In place: in a pod the file is a mount of its own, which nothing can be renamed to.
            self._path.write_bytes(encode(result))
        except OSError as error:
            log.warning("the termination message could not be written", extra={"error": str(error)})


def encode(result: Succeeded | Failed) -> bytes:
    """Returns the termination message of `result`: JSON of at most 4,096 bytes, its message shortened if need be."""
    while True:
        data = TerminationMessage(result=result).to_json().encode()
        excess = len(data) - MAX_TERMINATION_MESSAGE_BYTES
        if excess <= 0:
            return data
        if isinstance(result, Succeeded):  # a task with a URI of thousands of characters; the API allows none
            result = Failed(
                reason=FailureReason.INVALID_SPEC,
                message="The results are published, but their URI is too long to be reported. Shorten output.uri.",
            )
            continue
        # A character takes up to six bytes of JSON, so this may need several rounds; each one shortens.
        keep = max(0, len(result.message) - max(2, excess // 6 + 1))
        result = Failed(reason=result.reason, message=result.message[:keep] + "…")


def exit_code(result: Succeeded | Failed) -> int:
    """Returns the exit code that says the same as `result`, as far as a code can."""
    if isinstance(result, Succeeded):
        return 0
    if result == STOPPED:
        return EXIT_TERMINATED
    return EXIT_CODES[result.reason.failure_class]
