"""Why work fails, and what that means for a retry: one enum read by worker, planner, and documentation."""

from __future__ import annotations

from enum import StrEnum


class FailureClass(StrEnum):
    """Whose failure it is, which decides the retry."""

    USER = "User"
    """The request itself is at fault: never retried."""
    ENVIRONMENT = "Environment"
    """Something around the work failed: retried with backoff."""
    SIZE = "Size"
    """The work did not fit: retried with half the batch."""
    INTERNAL = "Internal"
    """A defect of ours: retried with backoff."""


class FailureReason(StrEnum):
    """Machine-readable reasons: they appear in conditions, Events, termination messages and metrics."""

    INVALID_SPEC = "InvalidSpec"
    SOURCE_NOT_FOUND = "SourceNotFound"
    SOURCE_FORBIDDEN = "SourceForbidden"
    UNSUPPORTED_MEDIA = "UnsupportedMedia"
    ENCRYPTED = "Encrypted"
    TOO_LARGE = "TooLarge"
    QUOTA_EXCEEDED = "QuotaExceeded"
    MODEL_NOT_FOUND = "ModelNotFound"
    OUTPUT_NOT_FOUND = "OutputNotFound"
    OUTPUT_FORBIDDEN = "OutputForbidden"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    NAME_CONFLICT = "NameConflict"

    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"
    IMAGE_PULL = "ImagePull"
    POD_LOST = "PodLost"
    KILLED = "Killed"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    OUTPUT_UNAVAILABLE = "OutputUnavailable"
    MODEL_UNAVAILABLE = "ModelUnavailable"

    OUT_OF_MEMORY = "OutOfMemory"

    INTERNAL = "Internal"

    @property
    def failure_class(self) -> FailureClass:
        """The class this reason belongs to."""
        return _CLASSES[self]

    @property
    def free(self) -> bool:
        """Whether a retry for this reason leaves `backoffLimit` untouched: the cluster took the work away."""
        return self is FailureReason.PREEMPTED


_CLASSES: dict[FailureReason, FailureClass] = {
    **{
        reason: FailureClass.USER
        for reason in (
            FailureReason.INVALID_SPEC,
            FailureReason.SOURCE_NOT_FOUND,
            FailureReason.SOURCE_FORBIDDEN,
            FailureReason.UNSUPPORTED_MEDIA,
            FailureReason.ENCRYPTED,
            FailureReason.TOO_LARGE,
            FailureReason.QUOTA_EXCEEDED,
            FailureReason.MODEL_NOT_FOUND,
            FailureReason.OUTPUT_NOT_FOUND,
            FailureReason.OUTPUT_FORBIDDEN,
            FailureReason.DEADLINE_EXCEEDED,
            FailureReason.NAME_CONFLICT,
        )
    },
    **{
        reason: FailureClass.ENVIRONMENT
        for reason in (
            FailureReason.PREEMPTED,
            FailureReason.NODE_LOST,
            FailureReason.IMAGE_PULL,
            FailureReason.POD_LOST,
            FailureReason.KILLED,
            FailureReason.SOURCE_UNAVAILABLE,
            FailureReason.OUTPUT_UNAVAILABLE,
            FailureReason.MODEL_UNAVAILABLE,
        )
    },
    FailureReason.OUT_OF_MEMORY: FailureClass.SIZE,
    FailureReason.INTERNAL: FailureClass.INTERNAL,
}

EXIT_CODES: dict[FailureClass, int] = {
    FailureClass.USER: 64,
    FailureClass.INTERNAL: 70,
    FailureClass.SIZE: 71,
    FailureClass.ENVIRONMENT: 75,
}
"""A worker's exit code by class of failure (after sysexits.h); 0 is success, 143 a stop on SIGTERM.

The termination message has the exact reason; the code is what Kubernetes' own `podFailurePolicy` can read."""

EXIT_TERMINATED = 143
"""A worker's exit code when SIGTERM stopped it before it was done: the environment's doing (`Preempted`)."""


def class_of_exit_code(code: int) -> FailureClass:
    """Returns the class of a worker that died with `code` and said nothing; unknown codes are `Internal`."""
    if code in (EXIT_TERMINATED, 137):
        return FailureClass.ENVIRONMENT
    return next((cls for cls, value in EXIT_CODES.items() if value == code), FailureClass.INTERNAL)
