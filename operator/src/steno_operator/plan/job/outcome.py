"""Outcome of an attempt, read from its child Job, its pods and the worker's termination message."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from steno_api.documents.manifest import AnySummary, OCRSummary, TranscriptionSummary
from steno_api.failures import EXIT_TERMINATED, FailureClass, FailureReason, class_of_exit_code
from steno_api.v1alpha1.common import QueueStatus
from steno_api.v1alpha1.reasons import Reason
from steno_api.worker.termination import Failed, Succeeded
from steno_operator.plan.common.clock import truncate_to_seconds
from steno_operator.plan.common.pending import WAITING_FOR_POD, explain_pod, explain_refusal
from steno_operator.plan.common.pods import (
    ObservedPod,
    ended,
    lingers,
    pull_started,
    start_blocked,
    taken_away,
    worker_result,
)
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.observed import Job, ObservedChild

MAX_EVICTIONS = 3
"""An attempt evicted by the kubelet this often does not fit its node; Kubernetes would replace its pods endlessly."""

_SUMMARIES: dict[str, type[AnySummary]] = {"TranscriptionJob": TranscriptionSummary, "OCRJob": OCRSummary}
_BY_KUBELET = "TerminationByKubelet"
_EVICTED = frozenset({"", "Evicted"})
"""`status.reason`s of evictions: the kubelet's other terminations (a shutdown of the node, room for a critical pod) say
nothing about what the worker needs, and bear the same condition."""
_EXIT_KILLED = 137
_UNREADABLE = (
    "The worker ended without error but its result could not be read; another attempt will find what was published."
)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

_BY_EXIT_CODE: dict[FailureClass, tuple[FailureReason, str]] = {
    FailureClass.USER: (FailureReason.INVALID_SPEC, "The worker refused the job"),
    FailureClass.ENVIRONMENT: (FailureReason.KILLED, "The worker was stopped by its environment"),
    FailureClass.SIZE: (FailureReason.OUT_OF_MEMORY, "The worker ran out of memory"),
    FailureClass.INTERNAL: (FailureReason.INTERNAL, "The worker failed"),
}


@dataclass(frozen=True)
class Published:
    """The attempt published its results."""

    result: Succeeded
    pod: ObservedPod
    time: datetime


@dataclass(frozen=True)
class Failure:
    """The attempt is over without results, or should be: a child that still lives is to be stopped."""

    reason: FailureReason
    message: str
    time: datetime
    never_ran: bool = False
    """The cluster says that nothing of the worker ran."""


def current_pod(child: ObservedChild) -> ObservedPod | None:
    """Return the pod that works or will work: the newest that has not ended, else the newest."""
    return max(child.pods, key=lambda pod: (not ended(pod), pod.created or _LONG_AGO, pod.name), default=None)


def published(child: ObservedChild, now: datetime) -> Published | None:
    """Return the results of a child whose worker says that it published, even if the Job failed since."""
    for pod in child.pods:
        result = worker_result(pod)
        if isinstance(result, Succeeded):
            return Published(result, pod, truncate_to_seconds(pod.finished or child.finished or now))
    return None


def is_live(child: ObservedChild, now: datetime) -> bool:
    """Tell whether a child may still work: it has not ended, is not being deleted, and has not published."""
    return not child.done and not child.deleting and published(child, now) is None


def classify_failure(child: ObservedChild, now: datetime, policy: Policy) -> Failure | None:
    """Return how a child that published nothing failed; None while it may still succeed.

    Args:
        child: the child Job.
        now: the present, in whole seconds.
        policy: the operator's settings.
    """
    time = truncate_to_seconds(child.finished or now)
    if child.succeeded:
        said = next((result for pod in child.pods if isinstance(result := worker_result(pod), Failed)), None)
        return Failure(FailureReason.INTERNAL, _UNREADABLE if said is None else said.message, time)
    if child.failed:
        return _classify_failed_job(child, time)
    return _classify_pods(child, now, policy) or (
        Failure(FailureReason.POD_LOST, f"The child Job {child.name} was deleted.", now) if child.deleting else None
    )


def _classify_pods(child: ObservedChild, now: datetime, policy: Policy) -> Failure | None:
    """Find the attempts that Kubernetes would never give up."""
    pod = current_pod(child)
    if pod is None:
        return None
    evictions = sum(other.disruption == _BY_KUBELET and other.status_reason in _EVICTED for other in child.pods)
    if evictions >= MAX_EVICTIONS:
        message = f"The node evicted the worker {evictions} times: it needs more disk or memory than the profile gives."
        return Failure(FailureReason.KILLED, message, now)
    if lingers(pod):
        return _judged(pod, now) if now >= _outstays(pod, policy) else None
    return None if ended(pod) else _classify_stuck(pod, now, policy)


def outstays_at(child: ObservedChild, policy: Policy) -> datetime | None:
    """Return when a child is to be stopped because its worker has ended and its pod does not; None: it need not be.

    Kubernetes would keep such a Job, and what its pod requests, for as long as a sidecar runs.
    """
    if child.done or child.deleting:
        return None
    return min((_outstays(pod, policy) for pod in child.pods if lingers(pod)), default=None)


def _outstays(pod: ObservedPod, policy: Policy) -> datetime:
    return truncate_to_seconds(pod.finished or pod.created or _LONG_AGO) + policy.sidecar_timeout


def _judged(pod: ObservedPod, time: datetime) -> Failure:
    """Return how a worker failed whose pod goes on: Kubernetes does not say."""
    unreadable = pod.exit_code == 0 and worker_result(pod) is None
    reason, message = (FailureReason.INTERNAL, _UNREADABLE) if unreadable else _why(pod)
    return Failure(reason, message, time, never_ran=pod.start_failed)


def _classify_stuck(pod: ObservedPod, now: datetime, policy: Policy) -> Failure | None:
    """Find pods that neither start nor go."""
    since = pull_started(pod)
    if since is not None and now >= since + policy.image_pull_timeout:
        return Failure(
            FailureReason.IMAGE_PULL,
            f"The runtime image cannot be pulled: {pod.waiting_message or pod.waiting_reason}",
            now,
        )
    blocked = start_blocked(pod, now)
    if blocked is not None and now >= blocked + policy.pod_start_timeout:
        words = explain_pod(pod, None).message
        return Failure(FailureReason.START_FAILED, f"The pod could not be started: {words}", now, never_ran=True)
    if (lost := lost_at(pod, policy)) is not None and now >= lost:
        return Failure(
            FailureReason.NODE_LOST, f"Node {pod.node or '?'} does not answer; its pod {pod.name} is given up.", now
        )
    return None


def lost_at(pod: ObservedPod, policy: Policy) -> datetime | None:
    """Return when the node of a pod is given up, unless it is heard of before; None: nothing is wrong with it."""
    times: list[datetime] = []
    if pod.deleting and pod.gone_by is not None:
        times.append(pod.gone_by + policy.node_lost_timeout)
    if pod.unreachable_since is not None:
        times.append(pod.unreachable_since + policy.node_unreachable_timeout)
    return min(times, default=None)


def _classify_failed_job(child: ObservedChild, time: datetime) -> Failure:
    pods = [pod for pod in child.pods if ended(pod)]
    if not pods:
        detail = f" ({child.failure_message})" if child.failure_message else ""
        return Failure(FailureReason.POD_LOST, f"The worker pod vanished before it ended{detail}.", time)
    # A pod that was taken away does not fail a Job: the one that was not has the reason.
    pod = max(pods, key=lambda pod: (pod.disruption is None, pod.finished or pod.created or _LONG_AGO, pod.name))
    reason, message = _why(pod)
    return Failure(reason, message, time, never_ran=pod.start_failed or pod.rejected)


def _why(pod: ObservedPod) -> tuple[FailureReason, str]:
    if pod.oom_killed:
        return FailureReason.OUT_OF_MEMORY, "The worker was killed because it exceeded its memory limit."
    if pod.disruption is not None:
        return FailureReason.PREEMPTED, f"The cluster took the worker's pod away ({taken_away(pod)})."
    result = worker_result(pod)
    if isinstance(result, Failed) and not result.reason.free:
        return result.reason, result.message
    code = pod.exit_code
    if code is None or pod.start_failed:
        return _why_nothing_ran(pod)
    if code in (_EXIT_KILLED, EXIT_TERMINATED):
        return FailureReason.KILLED, f"The worker was stopped from outside (exit code {code})."
    reason, message = _BY_EXIT_CODE[class_of_exit_code(code)]
    return reason, f"{message} (exit code {code}) and left no readable reason; see the log of pod {pod.name}."


def _why_nothing_ran(pod: ObservedPod) -> tuple[FailureReason, str]:
    if pod.start_failed:
        words = " ".join(pod.termination_message.split()) or f"{pod.exit_reason} (exit code {pod.exit_code})"
        return FailureReason.START_FAILED, f"The container could not be started{_on_node(pod)}: {words}"
    if pod.rejected:
        words = f"{pod.status_reason}: {pod.status_message}" if pod.status_message else pod.status_reason
        return FailureReason.POD_REJECTED, f"The pod was rejected{_on_node(pod)}: {words}"
    return FailureReason.POD_LOST, f"Pod {pod.name} failed before its worker ran. {pod.status_message}".rstrip()


def _on_node(pod: ObservedPod) -> str:
    return f" on node {pod.node}" if pod.node else ""


def explain(child: ObservedChild, before: QueueStatus | None) -> QueueStatus:
    """Return why the pod of a live child does not run.

    Args:
        child: a child Job that has not ended.
        before: what the status says now; kept where the cluster's words merely alternate.
    """
    pod = current_pod(child)
    if pod is None:
        return explain_refusal(child.warning) if child.warning else WAITING_FOR_POD
    if pod.disruption is not None:
        message = f"Pod {pod.name} was taken away ({taken_away(pod)}); Kubernetes replaces it."
        return QueueStatus(reason=FailureReason.PREEMPTED, message=message)
    if pod.deleting or ended(pod):
        return QueueStatus(reason=Reason.WAITING_FOR_POD, message=f"Pod {pod.name} is being removed.")
    return explain_pod(pod, before)


def summary_of(job: Job, result: Succeeded) -> AnySummary | None:
    """Return the summary of a result; None if an image of the profile's own wrote another kind's."""
    return result.summary if isinstance(result.summary, _SUMMARIES[job.kind]) else None
