"""What an exception means: its reason, in words that may be shown."""

from __future__ import annotations

from steno_api.failures import FailureReason
from steno_api.worker.termination import Failed
from steno_runtime.errors import Stopped, WorkError, is_out_of_memory
from steno_runtime.worker.last_word import STOPPED


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
