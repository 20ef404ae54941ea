"""How work ends early: `WorkError` with a reason of the protocol, or `Stopped` when the process is asked to stop.

`explain` makes a `WorkError` of any exception, so that running out of memory and a defect read the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

from steno_api.failures import FailureReason

MAX_MESSAGE_CHARS = 1500
"""The limit of `steno_api.worker.termination.Failed.message`."""

Check = Callable[[], None]
"""Called between pieces of work; raises `Stopped` once the process was asked to stop."""


class WorkError(Exception):
    """The work failed for a reason that the user, the operator and the planner understand.

    Attributes:
        reason: decides whether, and how, the work is retried.
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


class Stopped(Exception):  # noqa: N818  (a request, not an error)
    """The process was asked to stop (SIGTERM) before the work was done."""


_OUT_OF_MEMORY_TYPES = frozenset({"OutOfMemoryError", "MemoryError"})
"""Names, since torch is not imported to ask: `torch.OutOfMemoryError`, `MemoryError` and their subclasses."""

_OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "cublas_status_alloc_failed",
    "cannot allocate memory",
    "bad_alloc",
    "bad alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that main or GPU memory ran out, whichever library raised it."""
    if any(cls.__name__ in _OUT_OF_MEMORY_TYPES for cls in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError | OSError) and any(
        text in str(error).lower() for text in _OUT_OF_MEMORY_TEXTS
    )


def explain(error: BaseException, subject: str, *, remedy: str) -> WorkError:
    """Return the `WorkError` for any exception; of an unexpected one it has the type, never the text.

    Args:
        error: what ended the work.
        subject: what failed, as the beginning of a sentence: `The worker`.
        remedy: what to do if memory ran out, as a sentence.
    """
    if isinstance(error, WorkError):
        return error
    if is_out_of_memory(error):
        return WorkError(FailureReason.OUT_OF_MEMORY, f"{subject} ran out of memory. {remedy}")
    return WorkError(
        FailureReason.INTERNAL,
        f"{subject} failed unexpectedly ({type(error).__name__}): a defect in Steno or its image. The pod's log has "
        "the details; please report it.",
    )
