"""Why a client is refused, and how each protocol says so: one table for WebSocket, gRPC and REST."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from steno_api.failures import FailureReason
from steno_runtime.errors import Stopped, WorkError, is_out_of_memory


@dataclass(frozen=True)
class Answer:
    """How a refusal is told.

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


class Code(Enum):
    """Every refusal there is."""

    TOKEN_MISSING = Answer("TokenMissing", 401, 4001, "UNAUTHENTICATED")
    TOKEN_INVALID = Answer("TokenInvalid", 401, 4001, "UNAUTHENTICATED")
    TOKEN_EXPIRED = Answer("TokenExpired", 401, 4001, "UNAUTHENTICATED")
    TENANT_MISMATCH = Answer("TenantMismatch", 403, 4003, "PERMISSION_DENIED")
    SESSION_MISMATCH = Answer("SessionMismatch", 403, 4003, "PERMISSION_DENIED")
    SESSION_CONNECTED = Answer("SessionConnected", 409, 4009, "FAILED_PRECONDITION")
    SESSION_ENDED = Answer("SessionEnded", 409, 4009, "FAILED_PRECONDITION")
    SERVER_FULL = Answer("ServerFull", 503, 1013, "RESOURCE_EXHAUSTED")
    NOT_READY = Answer("NotReady", 503, 1013, "UNAVAILABLE")
    DRAINING = Answer("Draining", 503, 1012, "UNAVAILABLE")
    UPLOAD_TIMEOUT = Answer("UploadTimeout", 408, 4008, "DEADLINE_EXCEEDED")
    START_TIMEOUT = Answer("StartTimeout", 408, 4008, "DEADLINE_EXCEEDED")
    INVALID_MESSAGE = Answer("InvalidMessage", 400, 1007, "INVALID_ARGUMENT")
    INVALID_AUDIO = Answer("InvalidAudio", 400, 1007, "INVALID_ARGUMENT")
    INVALID_REQUEST = Answer("InvalidRequest", 400, 1007, "INVALID_ARGUMENT")
    LANGUAGE_UNKNOWN = Answer("LanguageUnknown", 400, 1007, "INVALID_ARGUMENT")
    TOO_LARGE = Answer("TooLarge", 413, 1009, "INVALID_ARGUMENT")
    SOURCE_NOT_ALLOWED = Answer("SourceNotAllowed", 403, 4003, "PERMISSION_DENIED")
    QUEUE_FULL = Answer("QueueFull", 429, 1013, "RESOURCE_EXHAUSTED")
    JOB_NOT_FOUND = Answer("JobNotFound", 404, 4003, "NOT_FOUND")
    INTERNAL = Answer("Internal", 500, 1011, "INTERNAL")


class Refusal(Exception):  # noqa: N818  (an answer, not a defect)
    """A client is refused.

    Attributes:
        answer: how each protocol says it.
        message: what is wrong and what to do; nothing of a token or a transcript.
        retry_after: seconds after which trying again makes sense; None: it makes none, or nobody knows.
    """

    def __init__(self, code: Code | Answer, message: str, *, retry_after: int | None = None) -> None:
        self.answer = code.value if isinstance(code, Code) else code
        super().__init__(f"{self.answer.code}: {message}")
        self.message = message
        self.retry_after = retry_after


_WORK: dict[FailureReason, tuple[int, int, str]] = {
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
    FailureReason.PREEMPTED: (503, 1012, "UNAVAILABLE"),
    FailureReason.OUT_OF_MEMORY: (503, 1011, "UNAVAILABLE"),
}
_DEFECT = (500, 1011, "INTERNAL")


def answer_to(reason: FailureReason) -> Answer:
    """Returns how work that failed for `reason` is told."""
    return Answer(reason.value, *_WORK.get(reason, _DEFECT))


def refusal_of(error: BaseException) -> Refusal:
    """Returns what a client is told about work that failed; nothing of an unexpected error's text."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, WorkError):
        return Refusal(answer_to(error.reason), error.message)
    if isinstance(error, Stopped):
        return Refusal(Code.DRAINING, "The server had to stop before the work was done. Send it again.", retry_after=5)
    if is_out_of_memory(error):
        return Refusal(
            Answer("OutOfMemory", 503, 1011, "UNAVAILABLE"),
            "The server ran out of memory. Send it again later, or give the pool's RuntimeProfile more memory.",
            retry_after=30,
        )
    return Refusal(Code.INTERNAL, f"The server failed unexpectedly ({type(error).__name__}): a defect; report it.")
