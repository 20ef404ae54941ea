"""Every condition type and every reason that is not a failure: documented here, used everywhere."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Condition types of job kinds. The first three are kstatus', read by Argo CD and `kubectl wait`."""

    READY = "Ready"
    """True once the results are published."""
    RECONCILING = "Reconciling"
    """True while Steno still works towards the results."""
    STALLED = "Stalled"
    """True when nothing more will happen without the user: the job failed."""
    ACCEPTED = "Accepted"
    """The spec is valid and what it refers to exists."""
    ADMITTED = "Admitted"
    """An attempt was started: quota and suspend allow it."""
    RUNNING = "Running"
    """A worker is at work; its reason is the worker's stage."""
    COMPLETE = "Complete"
    """The results are published."""
    FAILED = "Failed"
    """The job ended without results."""
    SUSPENDED = "Suspended"
    """`spec.suspend` holds the job."""


class Reason(StrEnum):
    """Reasons of conditions and Events that are no failure (`FailureReason` has those)."""

    ACCEPTED = "Accepted"
    PROFILE_NOT_FOUND = "ProfileNotFound"
    """The RuntimeProfile does not exist (yet): the job waits for it."""
    ADMITTED = "Admitted"
    ATTEMPT_STARTED = "AttemptStarted"
    ATTEMPT_FAILED = "AttemptFailed"
    RETRYING = "Retrying"
    """Waiting for the backoff before the next attempt."""
    WAITING_FOR_POD = "WaitingForPod"
    """The child Job has no pod yet."""
    POD_QUOTA = "PodQuotaExceeded"
    """A ResourceQuota or LimitRange of the namespace refuses the pod."""
    UNSCHEDULABLE = "Unschedulable"
    """No node fits the pod; the message is the scheduler's."""
    IMAGE_PULL = "ImagePullBackOff"
    """The runtime image cannot be pulled."""
    CONTAINER_CREATING = "ContainerCreating"
    """The pod has its node and waits for its image and volumes."""
    VOLUME_OR_SECRET = "VolumeOrSecretMissing"
    """A Secret or PersistentVolumeClaim the pod needs is not there or cannot be mounted."""
    WORKING = "Working"
    """A worker runs and has not said yet what it does."""
    PUBLISHED = "Published"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    NOT_SUSPENDED = "NotSuspended"
    NOT_STARTED = "NotStarted"
    FINISHED = "Finished"
    CHILDREN_DELETED = "ChildrenDeleted"
    """The finished job's `ttlSecondsAfterFinished` ran out and its child Jobs were deleted."""
