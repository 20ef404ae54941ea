"""Attempts that are child Jobs (batch/v1): read from the Job, its pods and the worker's termination message."""

from __future__ import annotations

from datetime import UTC, datetime

from steno_api.failures import EXIT_TERMINATED, FailureClass, FailureReason, class_of_exit_code
from steno_api.v1alpha1.common import QueueStatus
from steno_api.v1alpha1.reasons import Reason
from steno_api.worker.termination import Failed, Succeeded
from steno_operator.manifests.job import build_job, deadline_of
from steno_operator.manifests.labels import child_name
from steno_operator.manifests.task import Attempt
from steno_operator.plan.common.clock import truncate_to_seconds
from steno_operator.plan.common.conditions import Fact
from steno_operator.plan.common.pending import WAITING_FOR_POD, explain_pod, explain_refusal
from steno_operator.plan.common.plan import Action, SetDeadline, StartAttempt, StopAttempt, SuspendAttempt
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
from steno_operator.plan.common.profiles import usable_profile
from steno_operator.plan.common.usage import work_of_pods
from steno_operator.plan.job.execution import Start
from steno_operator.plan.job.observed import Job, ObservedChild, ObservedJob
from steno_operator.plan.job.outcome import Activity, Failure, ObservedAttempt, Published

MAX_EVICTIONS = 3
"""An attempt evicted by the kubelet this often does not fit its node; Kubernetes would replace its pods endlessly."""

HELD = (
    'Another controller, such as Kueue, suspends Job "{}": the worker starts once it sets spec.suspend to false there.'
)
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


class ChildJobs:
    """Each attempt is a child Job. Implements `Execution`."""

    carrier = "Job"

    def observe(self, observed: ObservedJob, now: datetime, policy: Policy) -> list[ObservedAttempt]:
        """See `Execution`."""
        return [observe_child_job(child, observed, now, policy) for child in observed.children]

    def missing(self, job: Job, attempt: int, now: datetime) -> Failure:
        """See `Execution`."""
        name = child_name(job.metadata.name, attempt)
        return Failure(FailureReason.POD_LOST, f"The child Job {name} was deleted before it ended.", now)

    def needs(self, job: Job) -> str:
        """See `Execution`."""
        return f'RuntimeProfile "{job.spec.profile_ref.name}"'

    def obstacle(self, observed: ObservedJob, policy: Policy) -> Fact | None:  # noqa: ARG002 - one shape for all
        """See `Execution`: the profile is missing, or is not for the job's Tenant."""
        name, tenant = observed.job.spec.profile_ref.name, observed.admission.tenant
        profile = usable_profile(observed.profile, name, tenant, remedy="name another in a new resource")
        return profile if isinstance(profile, Fact) else None

    def conflict(self, observed: ObservedJob, attempt: int) -> str:
        """See `Execution`: a Job that is not the resource's has the name."""
        name = child_name(observed.job.metadata.name, attempt)
        return name if name in observed.conflicting else ""

    def start(
        self,
        observed: ObservedJob,
        attempt: int,
        out_of_memory: int,
        now: datetime,  # noqa: ARG002 - one shape for all
        policy: Policy,
    ) -> Start:
        """See `Execution`."""
        job, profile = observed.job, observed.profile
        assert profile is not None  # noqa: S101 - `obstacle` has seen to it
        given = Attempt(
            number=attempt,
            tenant=observed.admission.billed_tenant(job.spec.tenant_name, job.metadata.namespace),
            out_of_memory=out_of_memory,
            profile=profile,
            runtime_image=policy.runtime_image,
            report_url=policy.report_url,
            report_ca=policy.report_ca,
            pod_labels=policy.pod_labels,
            egress=policy.egress,
            deadline_limit=_limit_of(observed),
        )
        return Start(StartAttempt(attempt, build_job(job, given)), WAITING_FOR_POD)

    def refused(self, refusal: str) -> QueueStatus:
        """See `Execution`: the API server did."""
        return explain_refusal(refusal)

    def started(self, job: Job, attempt: int) -> str:
        """See `Execution`."""
        return f"Started attempt {attempt} (Job {child_name(job.metadata.name, attempt)})."


def _limit_of(observed: ObservedJob) -> int | None:
    return None if observed.deadline_limit is None else observed.deadline_limit.seconds


def observe_child_job(child: ObservedChild, observed: ObservedJob, now: datetime, policy: Policy) -> ObservedAttempt:
    """Return an attempt that a child Job carries out.

    Args:
        child: the child Job.
        observed: the job whose attempt it is.
        now: the present, in whole seconds.
        policy: the operator's settings.
    """
    done = published(child, now)
    align: list[Action] = []
    if child.deadline != (deadline := deadline_of(observed.job.spec, _limit_of(observed))):
        align.append(SetDeadline(child.name, child.uid, deadline))
    if child.suspended and not child.held:
        align.append(SuspendAttempt(child.name, child.uid, suspend=False))
    return ObservedAttempt(
        number=child.attempt,
        created=child.created,
        activity=_activity(child, observed.job, now, policy) if is_live(child, now) else None,
        published=done,
        failure=None if done is not None else classify_failure(child, now, policy),
        rejected=child.failed and any(pod.rejected for pod in child.pods),
        work=work_of_pods(child.pods),
        # Jobs and pods come over two watches, so a finished Job may be seen before its pod's termination message.
        unconfirmed=child.done and not child.pods_read_live and all(pod.exit_code is None for pod in child.pods),
        paused=child.suspended,
        pause=() if child.suspended else (SuspendAttempt(child.name, child.uid, suspend=True),),
        align=tuple(align),
        stop=None if child.deleting else StopAttempt(child.name, child.uid),
        outstays=outstays_at(child, policy),
    )


def current_pod(child: ObservedChild) -> ObservedPod | None:
    """Return the pod that works or will work: the newest that has not ended, else the newest."""
    return max(child.pods, key=lambda pod: (not ended(pod), pod.created or _LONG_AGO, pod.name), default=None)


def published(child: ObservedChild, now: datetime) -> Published | None:
    """Return the results of a child whose worker says that it published, even if the Job failed since."""
    for pod in child.pods:
        result = worker_result(pod)
        if isinstance(result, Succeeded):
            return Published(result, pod.name, pod.node, truncate_to_seconds(pod.finished or child.finished or now))
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


def _activity(child: ObservedChild, job: Job, now: datetime, policy: Policy) -> Activity:
    pod = current_pod(child)
    name, node = (None, None) if pod is None else (pod.name, pod.node)
    look_again = _given_up_at(child, pod, now, policy)
    if pod is not None and _is_working(pod):
        return Activity(name, node, message=f"Worker pod {name} runs on node {node}.", look_again=look_again)
    waits_for = explain(child, job.status.queue)
    if child.held and (pod is None or not pod.works):
        waits_for = QueueStatus(reason=Reason.CHILD_SUSPENDED, message=HELD.format(child.name))
    return Activity(name, node, waits_for, look_again=look_again)


def _is_working(pod: ObservedPod) -> bool:
    """Tell whether a worker runs, or ran and its Job is about to say how it ended."""
    return pod.started and not pod.deleting and (not ended(pod) or pod.disruption is None)


def _given_up_at(child: ObservedChild, pod: ObservedPod | None, now: datetime, policy: Policy) -> datetime | None:
    """Return when an attempt that hangs is given up."""
    times = [outstays_at(child, policy)]
    if pod is not None and not ended(pod):
        since, blocked = pull_started(pod), start_blocked(pod, now)
        times.append(None if since is None else since + policy.image_pull_timeout)
        times.append(None if blocked is None else blocked + policy.pod_start_timeout)
        times.append(lost_at(pod, policy))
    return min((time for time in times if time is not None), default=None)
