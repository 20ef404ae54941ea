"""What is observed of one pod, and what follows: whether it ended, its worker's result, what it waits for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from steno_api.failures import FailureReason
from steno_api.worker.termination import MAX_TERMINATION_MESSAGE_BYTES, Failed, Succeeded, TerminationMessage
from steno_operator.manifests.paths import REMEDY

PULL_FAILURES = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
"""`state.waiting.reason`s of a container whose image does not come."""

FAILED_MOUNT = "FailedMount"
FAILED_ATTACH = "FailedAttachVolume"
FAILED_SANDBOX = "FailedCreatePodSandBox"

START_OBSTACLES = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "PreCreateHookError",
        "PreStartHookError",
        "PostStartHookError",
        "RunContainerError",
        "CrashLoopBackOff",  # of a sidecar that starts before the worker, which itself is never restarted
    }
)
"""`state.waiting.reason`s of a container that is not created or started as it is, however long it waits."""
START_ERRORS = frozenset({"StartError", "ContainerCannotRun"})
"""`state.terminated.reason`s of a container that the container runtime could not start."""
_NOT_REJECTED = frozenset({"", "DeadlineExceeded", "NodeLost"})
"""`status.reason`s of failed pods that do not say that the node refused the pod."""

_WARNING_EXPIRY = timedelta(minutes=6)
"""An Event that was not repeated for this long is no longer true: clients send each at least every five minutes."""


NOT_ACCEPTED = "The result that the worker's pod reported is not accepted; out of bounds or missing:"


@dataclass(frozen=True)
class ObservedPod:
    """One worker pod of a child Job."""

    name: str
    uid: str
    child_uid: str
    """UID of the child Job that owns it."""
    phase: str = "Pending"
    status_reason: str = ""
    """`status.reason`: the kubelet's word for a pod that it ended or refused (`Evicted`, `Terminated`, …)."""
    status_message: str = ""
    """`status.message`: the same in a sentence."""
    node: str | None = None
    created: datetime | None = None
    started: bool = False
    """The worker's container runs or ran."""
    scheduled: datetime | None = None
    """When the pod got its node (`PodScheduled` turned true)."""
    deleting: bool = False
    gone_by: datetime | None = None
    """`metadata.deletionTimestamp`: when a pod that is being deleted should be gone, its grace period included."""
    disruption: str | None = None
    """Reason of a true `DisruptionTarget` condition (`PreemptionByScheduler`, `DeletionByTaintManager`, …)."""
    unreachable_since: datetime | None = None
    """Since when the node of a running pod has not been heard of: the node controller, not the kubelet, set its
    condition `Ready` to something other than true."""
    unschedulable: str | None = None
    """The scheduler's message, while no node fits."""
    waiting_reason: str | None = None
    """The container's `state.waiting.reason` (`ImagePullBackOff`, `CreateContainerConfigError`, …), or that of an init
    container before it."""
    waiting_message: str = ""
    warning: str = ""
    """Message of the latest Event that says why the container cannot start."""
    warning_reason: str = ""
    """The Event's reason: `FailedMount`, `FailedAttachVolume`, `FailedCreatePodSandBox`."""
    warned: datetime | None = None
    """When it was last said; the kubelet repeats it as long as it is true."""
    exit_code: int | None = None
    """The worker container's exit code, once it terminated."""
    oom_killed: bool = False
    exit_reason: str = ""
    """Its `state.terminated.reason` (`Error`, `OOMKilled`, `StartError`, …)."""
    termination_message: str = ""
    """The container's termination message; of one that could not be started, the container runtime's words."""
    finished: datetime | None = None

    @property
    def start_failed(self) -> bool:
        """Whether the container runtime could not start the worker: nothing of it ran."""
        return self.exit_reason in START_ERRORS

    @property
    def rejected(self) -> bool:
        """Whether the node refused the pod: the kubelet gives a reason, and nothing of it ran."""
        return self.phase == "Failed" and not self.started and self.status_reason not in _NOT_REJECTED

    @property
    def works(self) -> bool:
        """Whether it occupies its resources, or will."""
        return self.phase not in ("Succeeded", "Failed")


def worker_result(pod: ObservedPod) -> Succeeded | Failed | None:
    """Return the result in the pod's termination message; None when there is none that can be parsed."""
    return parse_result(pod.termination_message)


def parse_result(message: str) -> Succeeded | Failed | None:
    """Return the result in a termination message; None when it is none.

    A success that claims what cannot be (figures that are no numbers, too many files) is a failure that says so.
    """
    if not message or len(message) > MAX_TERMINATION_MESSAGE_BYTES:
        return None
    try:
        return TerminationMessage.model_validate_json(message).result
    except ValidationError as error:
        faults = [fault["loc"] for fault in error.errors(include_input=False, include_context=False)]
    claimed = [".".join(str(part) for part in loc[2:]) for loc in faults if loc[:2] == ("result", "Succeeded")]
    if not claimed:
        return None
    return Failed(reason=FailureReason.INTERNAL, message=f"{NOT_ACCEPTED} {', '.join(claimed[:5])[:500]}. {REMEDY}")


def taken_away(pod: ObservedPod) -> str:
    """Return why the cluster took a pod away: in the kubelet's words where it gave some."""
    return f"{pod.disruption}: {pod.status_message}" if pod.status_message else f"{pod.disruption}"


def ended(pod: ObservedPod) -> bool:
    """Tell whether the worker will not run again in this pod."""
    return pod.exit_code is not None or pod.phase in ("Succeeded", "Failed")


def lingers(pod: ObservedPod) -> bool:
    """Tell whether a pod goes on although its worker has ended: another container of it does not end."""
    return pod.exit_code is not None and pod.works and not pod.deleting and pod.disruption is None


def pull_started(pod: ObservedPod) -> datetime | None:
    """Return since when a pod waits for an image that does not come; None when it does not."""
    return (pod.scheduled or pod.created) if pod.waiting_reason in PULL_FAILURES else None


def start_blocked(pod: ObservedPod, now: datetime) -> datetime | None:
    """Return since when something other than its image or a free node keeps a pod from starting; None if nothing does.

    What an Event says counts while it is repeated: a pod whose volume came at last may pull its image for long.
    """
    if pod.started or ended(pod):
        return None
    said = bool(pod.warning) and (pod.warned is None or now - pod.warned < _WARNING_EXPIRY)
    if pod.waiting_reason in START_OBSTACLES or (said and pod.node is not None):
        return pod.scheduled or pod.created
    return pod.created if claim_missing(pod) else None


def claim_missing(pod: ObservedPod) -> bool:
    """Tell whether the scheduler does not find a PersistentVolumeClaim of the pod."""
    message = pod.unschedulable or ""
    return pod.node is None and "persistentvolumeclaim" in message.lower() and "not found" in message
