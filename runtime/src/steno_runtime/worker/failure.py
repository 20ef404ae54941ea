"""What an exception means: its reason, in words that may be shown."""

from __future__ import annotations

from steno_api.failures import FailureReason
from steno_api.report import Failed
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.worker.last_word import STOPPED

_OUT_OF_MEMORY_TYPES = frozenset({"OutOfMemoryError", "MemoryError"})
"""Names, since torch is not imported to ask: `torch.OutOfMemoryError`, `MemoryError` and what inherits from them."""

_OUT_OF_MEMORY_TEXTS = ("out of memory", "cublas_status_alloc_failed", "cannot allocate memory", "bad_alloc")


def failed(error: BaseException, relief: str = "use a RuntimeProfile with more memory") -> Failed:
    """Returns the last word for `error`; `STOPPED` itself if it is a stop.

    Args:
        error: what ended the work.
        relief: what the user can do when memory ran out.
    """
    if isinstance(error, WorkError):
        return Failed(reason=error.reason, message=error.message)
    if isinstance(error, Stopped):
        return STOPPED
    if is_out_of_memory(error):
        return Failed(
            reason=FailureReason.OUT_OF_MEMORY,
            message=f"The worker ran out of memory. Steno tries again with half the batch; if it stays so, {relief}.",
        )
    return Failed(
        reason=FailureReason.INTERNAL,
        message=f"The worker failed unexpectedly ({type(error).__name__}): a defect in Steno or its image. The "
        "pod's log has the details; please report it.",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether `error` says that main or GPU memory ran out, whichever library says it."""
    if any(cls.__name__ in _OUT_OF_MEMORY_TYPES for cls in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError | OSError) and any(
        text in str(error).lower() for text in _OUT_OF_MEMORY_TEXTS
    )
