"""Failure reasons and their classes: one enum for the worker, the planner and the documentation."""

from __future__ import annotations

from enum import StrEnum


class FailureClass(StrEnum):
    """Whose fault a failure is; decides whether and how it is retried."""

    USER = "User"
    """The request itself is at fault: never retried."""
    ENVIRONMENT = "Environment"
    """Something around the work failed: retried with backoff."""
    SIZE = "Size"
    """The work did not fit into memory: retried with half the batch."""
    INTERNAL = "Internal"
    """A defect of Steno: retried with backoff."""


class FailureReason(StrEnum):
    """Machine-readable reasons, used in conditions, Events, termination messages and metrics."""

    INVALID_SPEC = "InvalidSpec"
    """The spec asks for something impossible; the message says which field to change. For a session: no suitable pool
    existed for five minutes."""
    SOURCE_NOT_FOUND = "SourceNotFound"
    """Nothing exists at `source.uri`: no such bucket, key, page, claim or file."""
    SOURCE_FORBIDDEN = "SourceForbidden"
    """The source rejects the credentials, or requires some, or the Secret's `allowedPrefix` does not allow them to be
    sent there: check `source.secretRef`."""
    UNSUPPORTED_MEDIA = "UnsupportedMedia"
    """The source is not readable audio or video: empty, damaged, another kind of file, or without sound."""
    ENCRYPTED = "Encrypted"
    """The source is encrypted: provide a copy that is not."""
    TOO_LARGE = "TooLarge"
    """The source is larger than a worker accepts: split it."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The Tenant's limit of open streams or of minutes of audio a day is reached: the session was refused. Jobs wait
    instead. Or the Tenant that admitted the session no longer has its namespace."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """Neither the model store nor Hugging Face has `model.name`, or the profile's `hub.downloads` does not allow it to
    be downloaded."""
    MODEL_MISMATCH = "ModelMismatch"
    """A model of the store is not the one that the profile's `modelStore.digests` names, or is none of these: restore
    it, or correct the profile."""
    OUTPUT_NOT_FOUND = "OutputNotFound"
    """The bucket or claim of `output.uri` does not exist: create it, then create the job again."""
    OUTPUT_FORBIDDEN = "OutputForbidden"
    """The output rejects the credentials, or the Secret's `allowedPrefix` does not allow them to be sent there: check
    `output.secretRef`. Or something that no worker of this job wrote has the name of a result."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """`activeDeadlineSeconds`, or the Tenant's `maxActiveDeadlineSeconds`, ran out, retries included."""
    NAME_CONFLICT = "NameConflict"
    """A Job with the name of the attempt already exists and belongs to something else: rename the resource."""

    PREEMPTED = "Preempted"
    """The cluster removed the pod: preemption, drain or eviction. The retry does not count towards `backoffLimit`."""
    NODE_LOST = "NodeLost"
    """The node disappeared or stopped responding. For a session: its server never reported how it ended."""
    IMAGE_PULL = "ImagePull"
    """The runtime image could not be pulled for too long: check the profile's `image` and `imagePullSecrets`."""
    START_FAILED = "StartFailed"
    """The worker's container could not be started; the message is Kubernetes' own: change the profile, or what the
    message names. Or a server of the pool could not make the attempt; the message is its own. Twice in a row ends the
    job, whatever `backoffLimit` says."""
    POD_REJECTED = "PodRejected"
    """The node rejected the pod before anything ran, as while its device plugin starts; the message is the kubelet's.
    Retries do not count towards `backoffLimit` until a node has rejected every attempt for ten minutes."""
    POD_LOST = "PodLost"
    """The pod disappeared before it reported how it ended."""
    KILLED = "Killed"
    """The worker was killed from outside and left no termination message, or each server was that took the attempt
    from its pool's queue. For a session: its server was, and the
    client did not reconnect in time; its transcript was not published."""
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    """The source did not respond, or the connection broke."""
    OUTPUT_UNAVAILABLE = "OutputUnavailable"
    """The output did not respond, or the connection broke."""
    TOO_LONG_FOR_POOL = "TooLongForPool"
    """The source of a job with `execution: Auto` is longer than a pool's servers take: a pod of its own goes on with it
    at once. The retry does not count towards `backoffLimit`."""
    MODEL_UNAVAILABLE = "ModelUnavailable"
    """The model could not be downloaded, or is not the one that Steno has the digests of; the next attempt may
    succeed."""

    OUT_OF_MEMORY = "OutOfMemory"
    """The work did not fit into the memory of the GPU or of the pod."""

    INTERNAL = "Internal"
    """A defect of Steno: please report it with the logs of the pod."""

    @property
    def failure_class(self) -> FailureClass:
        """The class of this reason."""
        return _CLASSES[self]

    @property
    def free(self) -> bool:
        """Whether a retry for this reason does not count towards `backoffLimit`: the attempt was not at fault."""
        return self in (FailureReason.PREEMPTED, FailureReason.TOO_LONG_FOR_POOL)


_BY_CLASS: dict[FailureClass, tuple[FailureReason, ...]] = {
    FailureClass.ENVIRONMENT: (
        FailureReason.PREEMPTED,
        FailureReason.NODE_LOST,
        FailureReason.IMAGE_PULL,
        FailureReason.START_FAILED,
        FailureReason.POD_REJECTED,
        FailureReason.POD_LOST,
        FailureReason.KILLED,
        FailureReason.SOURCE_UNAVAILABLE,
        FailureReason.OUTPUT_UNAVAILABLE,
        FailureReason.TOO_LONG_FOR_POOL,
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
        FailureReason.MODEL_MISMATCH,
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

The termination message has the exact reason; the exit code is what Kubernetes' `podFailurePolicy` can match."""

EXIT_TERMINATED = 143
"""A worker's exit code when SIGTERM stopped it before it was done; counts as `Preempted`."""


def class_of_exit_code(code: int) -> FailureClass:
    """Return the class of a worker that exited with `code` without a termination message; `Internal` if unknown."""
    if code in (EXIT_TERMINATED, 137):
        return FailureClass.ENVIRONMENT
    return next((cls for cls, value in EXIT_CODES.items() if value == code), FailureClass.INTERNAL)
