"""Errors that a client is answered with, in the terms of `steno_api.server.errors`."""

from __future__ import annotations

from steno_api.failures import FailureReason
from steno_api.server.errors import ApiError, ErrorCode, failure_status
from steno_runtime.errors import Stopped, WorkError, explain


def to_api_error(error: BaseException) -> ApiError:
    """Return what a client learns of work that failed; nothing of an unexpected error's text."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, WorkError):
        return ApiError(failure_status(error.reason), error.message)
    if isinstance(error, Stopped):
        message = "The server had to stop before the work was done. Send it again."
        return ApiError(ErrorCode.DRAINING, message, retry_after=5)
    remedy = "Send it again later, or give the pool's RuntimeProfile more memory."
    failure = explain(error, "The server", remedy=remedy)
    retry_after = 30 if failure.reason is FailureReason.OUT_OF_MEMORY else None
    return ApiError(failure_status(failure.reason), failure.message, retry_after=retry_after)
