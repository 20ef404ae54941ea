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
    """The spec asks for what cannot be; the message says which field to change. A session: for five minutes no pool
    was there that fits it."""
    SOURCE_NOT_FOUND = "SourceNotFound"
    """Nothing is at `source.uri`: no such bucket, key, page, claim or file."""
    SOURCE_FORBIDDEN = "SourceForbidden"
    """The source refuses the credentials, or asks for some: check `source.secretRef`."""
    UNSUPPORTED_MEDIA = "UnsupportedMedia"
    """The source is no audio or video that can be read: empty, damaged, another kind of file, or without sound."""
    ENCRYPTED = "Encrypted"
    """The source is encrypted: give a copy that is not."""
    TOO_LARGE = "TooLarge"
    """The source is larger than a worker takes: split it."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The Tenant has as many streams open as it may, or its minutes of the day are used up: this session was refused.
    Jobs wait instead."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """Neither the model store nor Hugging Face has `model.name`."""
    OUTPUT_NOT_FOUND = "OutputNotFound"
    """The bucket or claim of `output.uri` does not exist: make it, then create the job again."""
    OUTPUT_FORBIDDEN = "OutputForbidden"
    """The output refuses the credentials: check `output.secretRef`."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """`activeDeadlineSeconds` ran out, retries included."""
    NAME_CONFLICT = "NameConflict"
    """A Job named like the attempt belongs to something else: rename the resource."""

    PREEMPTED = "Preempted"
    """The cluster took the pod away: preemption, drain, eviction. Costs no retry."""
    NODE_LOST = "NodeLost"
    """The node went away, or stopped answering. A session: its server never said how it ended."""
    IMAGE_PULL = "ImagePull"
    """The runtime image could not be pulled for too long: check the profile's `image` and `imagePullSecrets`."""
    POD_LOST = "PodLost"
    """The pod disappeared before it said how it ended."""
    KILLED = "Killed"
    """The worker was killed from outside without a word. A session: its server was, and no client came back in time;
    what was said there was not published."""
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    """The source did not answer, or broke off."""
    OUTPUT_UNAVAILABLE = "OutputUnavailable"
    """The output did not answer, or broke off."""
    MODEL_UNAVAILABLE = "ModelUnavailable"
    """The model could not be fetched this time."""

    OUT_OF_MEMORY = "OutOfMemory"
    """The work did not fit into the memory of the GPU or of the pod."""

    INTERNAL = "Internal"
    """A defect of Steno: please report it with the logs of the pod."""

    @property
    def failure_class(self) -> FailureClass:
        """The class this reason belongs to."""
        return _CLASSES[self]

    @property
    def free(self) -> bool:
        """Whether a retry for this reason leaves `backoffLimit` untouched: the cluster took the work away."""
        return self is FailureReason.PREEMPTED


_BY_CLASS: dict[FailureClass, tuple[FailureReason, ...]] = {
    FailureClass.ENVIRONMENT: (
        FailureReason.PREEMPTED,
        FailureReason.NODE_LOST,
        FailureReason.IMAGE_PULL,
        FailureReason.POD_LOST,
        FailureReason.KILLED,
        FailureReason.SOURCE_UNAVAILABLE,
        FailureReason.OUTPUT_UNAVAILABLE,
        FailureReason.MODEL_UNAVAILABLE,
    ),
    FailureClass.SIZE: (FailureReason.OUT_OF_MEMORY,),
    FailureClass.INTERNAL: (FailureReason.INTERNAL,),
    FailureClass.USER: (
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
    ),
}

_CLASSES = {reason: cls for cls, reasons in _BY_CLASS.items() for reason in reasons}

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
