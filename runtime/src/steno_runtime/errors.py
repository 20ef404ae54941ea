"""The two ways work ends early: it failed for a reason of the protocol, or it was told to stop."""

from __future__ import annotations

from collections.abc import Callable

from steno_api.failures import FailureReason

MAX_MESSAGE_CHARS = 1500
"""`steno_api.worker.termination.Failed.message` takes no more."""

Check = Callable[[], None]
"""Called between pieces of work; raises `Stopped` once the worker was told to stop."""


class WorkError(Exception):
    """The work failed for a reason that the user, the operator and the planner understand.

    Attributes:
        reason: decides whether, and how, the work is tried again.
        message: one or two sentences for the user: what is wrong and what to do. No traceback, no credentials, no
            text of the transcript.
    """

    def __init__(self, reason: FailureReason, message: str) -> None:
        if len(message) > MAX_MESSAGE_CHARS:
            message = message[: MAX_MESSAGE_CHARS - 1] + "…"
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[WorkError], tuple[FailureReason, str]]:
        return type(self), (self.reason, self.message)


class Stopped(Exception):  # noqa: N818  (not an error: the worker was asked to)
    """The worker was told to stop (SIGTERM) before it was done."""


_OUT_OF_MEMORY_TYPES = frozenset({"OutOfMemoryError", "MemoryError"})
"""Names, since torch is not imported to ask: `torch.OutOfMemoryError`, `MemoryError` and what inherits from them."""

_OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "cublas_status_alloc_failed",
    "cannot allocate memory",
    "bad_alloc",
    "bad alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether `error` says that main or GPU memory ran out, whichever library says it."""
    if any(cls.__name__ in _OUT_OF_MEMORY_TYPES for cls in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError | OSError) and any(
        text in str(error).lower() for text in _OUT_OF_MEMORY_TEXTS
    )
