"""Errors that a client is answered with, in the terms of `steno_api.server.errors`."""

from __future__ import annotations

from steno_api.failures import FailureReason
from steno_api.server.errors import ApiError, ErrorCode, ErrorStatus, failure_status
from steno_api.server.session_end import SessionEnd
from steno_runtime.errors import Stopped, WorkError, explain

_ENDINGS: dict[SessionEnd, ErrorStatus] = {
    SessionEnd.IDLE_TIMEOUT: ErrorStatus("IdleTimeout", 408, 4008, "DEADLINE_EXCEEDED"),
    SessionEnd.MAX_DURATION: ErrorStatus("MaxDuration", 408, 4008, "DEADLINE_EXCEEDED"),
    SessionEnd.DRAINED: ErrorCode.DRAINING.value,
    SessionEnd.DELETED: ErrorCode.SESSION_ENDED.value,
    SessionEnd.DUPLICATE: ErrorCode.SESSION_CONNECTED.value,
    SessionEnd.NO_CLIENT: ErrorCode.SESSION_ENDED.value,
}


def ending_error(reason: SessionEnd) -> ApiError | None:
    """Return the end of a session as an error, for protocols without an end of their own; None: it ended normally.

    WebSockets close with `SessionEnd.close_code` instead.
    """
    status = _ENDINGS.get(reason)
    return None if status is None else ApiError(status, reason.message)


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
