"""Why a session ended: the reason, how it is explained to users, and the WebSocket close code."""

from __future__ import annotations

from enum import StrEnum

from steno_api.server.errors import ApiError, ErrorCode, ErrorStatus


class SessionEnd(StrEnum):
    """Why a session ended; also the reason of the condition `Complete`."""

    CLIENT_ENDED = "ClientEnded"
    """The client ended the session."""
    CLIENT_GONE = "ClientGone"
    """The client's connection broke; everything said until then is published. Or the server was lost, the client did
    not reconnect, and nothing was to be published."""
    IDLE_TIMEOUT = "IdleTimeout"
    """The client sent no audio for `idleTimeoutSeconds`."""
    MAX_DURATION = "MaxDuration"
    """`maxDurationSeconds` ran out."""
    NO_CLIENT = "NoClient"
    """No client connected within `maxDurationSeconds`."""
    DRAINED = "Drained"
    """The server had to stop; everything said until then is published."""
    DELETED = "Deleted"
    """The StreamSession was deleted."""
    DUPLICATE = "Duplicate"
    """The session is connected to another server of the pool: this connection ends and publishes nothing; the session
    itself goes on."""

    @property
    def message(self) -> str:
        """One sentence for users."""
        return _ENDINGS[self][0]

    @property
    def close_code(self) -> int | None:
        """WebSocket close code; None if there is no connection left to close."""
        return _ENDINGS[self][1]


_ENDINGS: dict[SessionEnd, tuple[str, int | None]] = {
    SessionEnd.CLIENT_ENDED: ("The client ended the session.", 1000),
    SessionEnd.CLIENT_GONE: ("The client's connection broke.", None),
    SessionEnd.IDLE_TIMEOUT: ("The client sent no audio for idleTimeoutSeconds.", 4008),
    SessionEnd.MAX_DURATION: ("maxDurationSeconds ran out.", 4008),
    SessionEnd.NO_CLIENT: ("No client connected within maxDurationSeconds.", 4008),
    SessionEnd.DRAINED: ("The server had to stop.", 1012),
    SessionEnd.DELETED: ("The StreamSession was deleted.", 4009),
    SessionEnd.DUPLICATE: ("The session is connected to another server.", 4009),
}
_ERRORS: dict[SessionEnd, ErrorStatus] = {
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
    status = _ERRORS.get(reason)
    return None if status is None else ApiError(status, reason.message)
