"""Error codes of requests: what a client did wrong, or what failed, as each protocol expresses it.

One table for WebSocket close codes, gRPC statuses and HTTP statuses, of servers and of the gateway; docs/streaming.md
has the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from steno_api.failures import FailureReason


@dataclass(frozen=True)
class ErrorStatus:
    """An error in the terms of each protocol.

    Attributes:
        code: stable, for programs.
        http: status of an HTTP answer.
        close: WebSocket close code.
        grpc: name of a `grpc.StatusCode`.
    """

    code: str
    http: int
    close: int
    grpc: str


class ErrorCode(Enum):
    """Every error that is the server's own; work that failed has a `FailureReason` as its code."""

    TOKEN_MISSING = ErrorStatus("TokenMissing", 401, 4001, "UNAUTHENTICATED")
    TOKEN_INVALID = ErrorStatus("TokenInvalid", 401, 4001, "UNAUTHENTICATED")
    TOKEN_EXPIRED = ErrorStatus("TokenExpired", 401, 4001, "UNAUTHENTICATED")
    TOKEN_REVOKED = ErrorStatus("TokenRevoked", 401, 4001, "UNAUTHENTICATED")
    KEY_MISSING = ErrorStatus("KeyMissing", 401, 4001, "UNAUTHENTICATED")
    KEY_INVALID = ErrorStatus("KeyInvalid", 401, 4001, "UNAUTHENTICATED")
    KEY_EXPIRED = ErrorStatus("KeyExpired", 401, 4001, "UNAUTHENTICATED")
    KEY_NOT_USABLE = ErrorStatus("KeyNotUsable", 403, 4003, "PERMISSION_DENIED")
    SCOPE_MISSING = ErrorStatus("ScopeMissing", 403, 4003, "PERMISSION_DENIED")
    RATE_LIMITED = ErrorStatus("RateLimited", 429, 1013, "RESOURCE_EXHAUSTED")
    TENANT_MISMATCH = ErrorStatus("TenantMismatch", 403, 4003, "PERMISSION_DENIED")
    SESSION_MISMATCH = ErrorStatus("SessionMismatch", 403, 4003, "PERMISSION_DENIED")
    SESSION_CONNECTED = ErrorStatus("SessionConnected", 409, 4009, "FAILED_PRECONDITION")
    SESSION_ENDED = ErrorStatus("SessionEnded", 409, 4009, "FAILED_PRECONDITION")
    SERVER_FULL = ErrorStatus("ServerFull", 503, 1013, "RESOURCE_EXHAUSTED")
    NOT_READY = ErrorStatus("NotReady", 503, 1013, "UNAVAILABLE")
    DRAINING = ErrorStatus("Draining", 503, 1012, "UNAVAILABLE")
    UPLOAD_TIMEOUT = ErrorStatus("UploadTimeout", 408, 4008, "DEADLINE_EXCEEDED")
    START_TIMEOUT = ErrorStatus("StartTimeout", 408, 4008, "DEADLINE_EXCEEDED")
    INVALID_MESSAGE = ErrorStatus("InvalidMessage", 400, 1007, "INVALID_ARGUMENT")
    INVALID_AUDIO = ErrorStatus("InvalidAudio", 400, 1007, "INVALID_ARGUMENT")
    INVALID_REQUEST = ErrorStatus("InvalidRequest", 400, 1007, "INVALID_ARGUMENT")
    LANGUAGE_UNKNOWN = ErrorStatus("LanguageUnknown", 400, 1007, "INVALID_ARGUMENT")
    TOO_LARGE = ErrorStatus("TooLarge", 413, 1009, "INVALID_ARGUMENT")
    SOURCE_NOT_ALLOWED = ErrorStatus("SourceNotAllowed", 403, 4003, "PERMISSION_DENIED")
    HOST_NOT_ALLOWED = ErrorStatus("HostNotAllowed", 403, 4003, "PERMISSION_DENIED")
    QUEUE_FULL = ErrorStatus("QueueFull", 429, 1013, "RESOURCE_EXHAUSTED")
    QUOTA_EXCEEDED = ErrorStatus("QuotaExceeded", 429, 1013, "RESOURCE_EXHAUSTED")
    IDEMPOTENCY_CONFLICT = ErrorStatus("IdempotencyConflict", 422, 1007, "ALREADY_EXISTS")
    JOB_NOT_FOUND = ErrorStatus("JobNotFound", 404, 4003, "NOT_FOUND")
    JOB_NOT_ENDED = ErrorStatus("JobNotEnded", 409, 4009, "FAILED_PRECONDITION")
    JOB_TIMEOUT = ErrorStatus("JobTimeout", 504, 4008, "DEADLINE_EXCEEDED")
    RESULT_NOT_FOUND = ErrorStatus("ResultNotFound", 404, 1011, "NOT_FOUND")
    STORE_UNAVAILABLE = ErrorStatus("StoreUnavailable", 503, 1013, "UNAVAILABLE")
    MALWARE_FOUND = ErrorStatus("MalwareFound", 422, 1007, "INVALID_ARGUMENT")
    SCANNER_UNAVAILABLE = ErrorStatus("ScannerUnavailable", 503, 1013, "UNAVAILABLE")
    UPLOAD_OFFSET_MISMATCH = ErrorStatus("UploadOffsetMismatch", 409, 4009, "FAILED_PRECONDITION")
    TUS_VERSION_UNSUPPORTED = ErrorStatus("TusVersionUnsupported", 412, 1007, "UNIMPLEMENTED")
    CONTENT_TYPE_UNSUPPORTED = ErrorStatus("ContentTypeUnsupported", 415, 1007, "INVALID_ARGUMENT")
    NOT_SUPPORTED = ErrorStatus("NotSupported", 400, 1007, "UNIMPLEMENTED")
    NOT_FOUND = ErrorStatus("NotFound", 404, 1007, "UNIMPLEMENTED")
    METHOD_NOT_ALLOWED = ErrorStatus("MethodNotAllowed", 405, 1007, "UNIMPLEMENTED")
    INTERNAL = ErrorStatus("Internal", 500, 1011, "INTERNAL")


class ApiError(Exception):
    """A client's request is answered with an error.

    Attributes:
        status: the error in the terms of each protocol.
        message: what is wrong and what to do; nothing of a token or a transcript.
        retry_after: seconds after which trying again makes sense; None: it does not, or it is not known.
    """

    def __init__(self, code: ErrorCode | ErrorStatus, message: str, *, retry_after: int | None = None) -> None:
        self.status = code.value if isinstance(code, ErrorCode) else code
        super().__init__(f"{self.status.code}: {message}")
        self.message = message
        self.retry_after = retry_after


_FAILURES: dict[FailureReason, tuple[int, int, str]] = {
    FailureReason.TOO_LARGE: (413, 1009, "INVALID_ARGUMENT"),
    FailureReason.INVALID_SPEC: (400, 1007, "INVALID_ARGUMENT"),
    FailureReason.UNSUPPORTED_MEDIA: (422, 1007, "INVALID_ARGUMENT"),
    FailureReason.ENCRYPTED: (422, 1007, "INVALID_ARGUMENT"),
    FailureReason.SOURCE_NOT_FOUND: (404, 1011, "NOT_FOUND"),
    FailureReason.SOURCE_FORBIDDEN: (403, 1011, "PERMISSION_DENIED"),
    FailureReason.SOURCE_UNAVAILABLE: (502, 1011, "UNAVAILABLE"),
    FailureReason.OUTPUT_UNAVAILABLE: (502, 1011, "UNAVAILABLE"),
    FailureReason.MODEL_UNAVAILABLE: (503, 1011, "UNAVAILABLE"),
    FailureReason.MODEL_NOT_FOUND: (501, 1011, "UNIMPLEMENTED"),
    FailureReason.MODEL_MISMATCH: (501, 1011, "UNIMPLEMENTED"),
    FailureReason.PREEMPTED: (503, 1012, "UNAVAILABLE"),
    FailureReason.OUT_OF_MEMORY: (503, 1011, "UNAVAILABLE"),
}
_DEFECT = (500, 1011, "INTERNAL")


def failure_status(reason: FailureReason) -> ErrorStatus:
    """Return the status of work that failed for `reason`."""
    return ErrorStatus(reason.value, *_FAILURES.get(reason, _DEFECT))
