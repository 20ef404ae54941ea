"""What can happen to a job that has not finished: each function is one step, told by its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from steno_api.failures import FailureReason
from steno_api.v1alpha1.common import QueueStatus, ResultArtifact, Results
from steno_api.v1alpha1.job import Progress, Stage
from steno_api.v1alpha1.meta import ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_operator.manifests.job import build_job, deadline_of
from steno_operator.manifests.labels import child_name
from steno_operator.manifests.task import Attempt, tenant_of
from steno_operator.plan.common import conditions
from steno_operator.plan.common.clock import earliest
from steno_operator.plan.common.conditions import Fact, Facts, find, holds
from steno_operator.plan.common.pending import WAITING_FOR_POD, explain_refusal
from steno_operator.plan.common.plan import Action, SetDeadline, StartAttempt, SuspendAttempt
from steno_operator.plan.common.pods import ObservedPod, ended, pull_started
from steno_operator.plan.common.policy import FOREIGN_RECHECK, PROFILE_RECHECK, Policy
from steno_operator.plan.job.attempts import Ledger, backoff
from steno_operator.plan.job.cleanup import stop, ttl_left
from steno_operator.plan.job.kinds import kind_of
from steno_operator.plan.job.observed import ObservedChild, ObservedJob
from steno_operator.plan.job.outcome import Published, current_pod, explain, is_live

DONE = Progress.from_wire({"stage": Stage.PUBLISHING, "percent": 100})


@dataclass(frozen=True)
class Step:
    """A decision: what to do and what the status then says."""

    facts: Facts
    actions: tuple[Action, ...] = ()
    updates: dict[str, Any] = field(default_factory=dict[str, Any])
    """Fields of the status."""
    requeue_after: timedelta | None = None


@dataclass(frozen=True)
class Situation:
    """Everything a step is decided from."""

    observed: ObservedJob
    ledger: Ledger
    now: datetime
    policy: Policy
    expiry: datetime | None
    """When `activeDeadlineSeconds` runs out; absent while no attempt was started."""

    @property
    def accepted(self) -> Fact:
        """The condition Accepted of a job whose profile exists, or is no longer needed."""
        profile = self.observed.job.spec.profile_ref.name
        return Fact(True, Reason.ACCEPTED, f'The spec is valid and RuntimeProfile "{profile}" exists.')

    @property
    def admitted(self) -> Fact:
        """The condition Admitted: whether an attempt was started."""
        if self.ledger.attempt > 0:
            return Fact(True, Reason.ADMITTED)
        return Fact(False, Reason.NOT_STARTED)

    @property
    def accepted_before(self) -> Fact:
        """The condition Accepted of a job that ends or is held: as it was."""
        if self.ledger.attempt > 0 or holds(self.observed.job.status.conditions, ConditionType.ACCEPTED):
            return self.accepted
        return self.accepted if self.observed.profile is not None else _profile_missing(self)


def publish(at: Situation, done: Published) -> Step:
    """The results are there: the job is complete."""
    job, result = at.observed.job, done.result
    directory = result.manifest.rpartition("/")[0]
    artifacts = [ResultArtifact.of(item, directory) for item in result.artifacts]
    return Step(
        facts=conditions.complete(
            accepted=at.accepted_before, admitted=at.admitted, message=f"The results are published: {result.manifest}"
        ),
        actions=_stop_live(at),
        updates={
            "results": Results(manifest=result.manifest, artifacts=artifacts),
            "completion_time": done.time,
            "progress": DONE,
            "queue": None,
            "pod_name": done.pod.name,
            "node_name": done.pod.node,
            **kind_of(job).summary(result),
        },
        requeue_after=ttl_left(job, done.time, at.now),
    )


def fail(at: Situation, reason: FailureReason, message: str, time: datetime) -> Step:
    """Nothing more can be done: the job failed."""
    return Step(
        facts=conditions.failed(
            accepted=at.accepted_before, admitted=at.admitted, reason=reason, message=conditions.clip(message)
        ),
        actions=_stop_live(at),
        updates={"completion_time": time, "queue": None},
        requeue_after=ttl_left(at.observed.job, time, at.now),
    )


def hold(at: Situation) -> Step:
    """`spec.suspend`: the worker is stopped, the attempt is kept."""
    live = at.ledger.live
    actions: tuple[Action, ...] = _stop_surplus(at)
    if live is not None and not live.suspended:
        actions += (SuspendAttempt(live.name, live.uid, suspend=True),)
    return Step(
        facts=conditions.suspended(accepted=at.accepted_before, admitted=at.admitted),
        actions=actions,
        # As with batch/v1 Jobs, the deadline's clock starts anew at the resume.
        updates={"start_time": None, "progress": None, "queue": None, "pod_name": None, "node_name": None},
    )


def follow(at: Situation, child: ObservedChild) -> Step:
    """An attempt lives: show what it does, or why it does not."""
    actions: tuple[Action, ...] = _stop_surplus(at)
    if child.suspended and not at.observed.admission.open:
        return _unadmitted(at)
    if child.deadline != (deadline := deadline_of(at.observed.job.spec)):
        actions += (SetDeadline(child.name, child.uid, deadline),)
    if child.suspended:
        actions += (SuspendAttempt(child.name, child.uid, suspend=False),)
    pod = current_pod(child)
    step = _work(at, pod) if pod is not None and _at_work(pod) else _wait(at, child, pod)
    requeue = earliest(step.requeue_after, _patience(at, pod))
    return Step(step.facts, actions, {**step.updates, **_started(at)}, requeue)


def start(at: Situation) -> Step:
    """No attempt lives: start the next, or say what it waits for."""
    failed = at.ledger.failed
    retry_at = at.now if failed is None else failed.time + backoff(at.ledger.failures, at.policy)
    if at.now < retry_at:
        return _retry_later(at, retry_at)
    profile = at.observed.profile
    if profile is None:
        return _without_profile(at)
    if child_name(at.observed.job.metadata.name, at.ledger.attempt + 1) in at.observed.foreign:
        return _name_taken(at, retry_at)
    if not at.observed.admission.open:
        return _unadmitted(at)
    if at.observed.refusal:
        return _refused(at)
    return _start(at, profile)


def _start(at: Situation, profile: RuntimeProfile) -> Step:
    job, number = at.observed.job, at.ledger.attempt + 1
    attempt = Attempt(
        number=number,
        tenant=at.observed.admission.tenant or tenant_of(job.metadata, job.spec),
        out_of_memory=at.ledger.out_of_memory,
        profile=profile,
        runtime_image=at.policy.runtime_image,
        report_url=at.policy.report_url,
        pod_labels=at.policy.pod_labels,
    )
    manifest = build_job(job, job.spec, kind_of(job).work(job, attempt), attempt)
    step = _waiting(at, WAITING_FOR_POD, admitted=Fact(True, Reason.ADMITTED))
    updates = {**step.updates, **_started(at), "attempt": number}
    # Never two at once: whatever may still work is stopped first.
    return Step(step.facts, (*_stop_surplus(at), StartAttempt(number, manifest)), updates, _deadline_of(at))


def _unadmitted(at: Situation) -> Step:
    """The job's Tenant does not let it start now, or nobody does."""
    answer = at.observed.admission
    shown = at.observed.job.status.queue
    position = answer.position
    if shown is not None and shown.reason == answer.reason and not at.observed.progress_due:
        position = shown.position  # of hundreds that move up at every end of one, few are watched
    # The nearer to its turn, the more often a job looks how near it is.
    again = None if answer.position is None else at.policy.progress_interval * (1 + answer.position // 10)
    queue = QueueStatus(reason=answer.reason, message=answer.message, position=position)
    step = _queued(at, queue, again, admitted=Fact(False, answer.reason, answer.message))
    if answer.state != "Refused":
        return step
    facts = {**step.facts, ConditionType.ACCEPTED: Fact(False, answer.reason, answer.message)}
    return Step(facts, step.actions, step.updates, step.requeue_after)


def _name_taken(at: Situation, since: datetime) -> Step:
    """A foreign Job has the child's name; that of a namesake deleted just now goes away by itself."""
    job = at.observed.job
    name = child_name(job.metadata.name, at.ledger.attempt + 1)
    message = f'A Job named "{name}" exists that is not ours: delete it, or give this resource another name.'
    turns = [find(job.status.conditions, kind) for kind in (ConditionType.ACCEPTED, ConditionType.SUSPENDED)]
    # Nothing stood in the way of this start later than the last of these moments but the name.
    let_in = find(job.status.conditions, ConditionType.ADMITTED)
    times = [since if at.ledger.failed else None, *(turn.last_transition_time for turn in turns if turn)]
    admitted: Fact | None = None
    if at.observed.admission.state == "Admitted":
        admitted = Fact(True, Reason.ADMITTED)
        stands = let_in is not None and let_in.status is ConditionStatus.TRUE
        times.append(let_in.last_transition_time if let_in is not None and stands else at.now)
    patient_until = max((time for time in times if time), default=at.now) + at.policy.name_conflict_patience
    if at.now >= patient_until:
        return fail(at, FailureReason.NAME_CONFLICT, message, at.now)
    queue = QueueStatus(reason=FailureReason.NAME_CONFLICT, message=message)
    return _queued(at, queue, min(FOREIGN_RECHECK, patient_until - at.now), admitted=admitted)


def _refused(at: Situation) -> Step:
    """The API server did not take the child Job."""
    refusal = at.observed.refusal
    if at.observed.refusal_final:
        return fail(at, FailureReason.INVALID_SPEC, f"The worker's Job was refused: {refusal}", at.now)
    return _queued(at, explain_refusal(refusal), at.policy.backoff_base)


def _work(at: Situation, pod: ObservedPod) -> Step:
    status = at.observed.job.status
    same_pod = status.pod_name == pod.name and status.attempt == at.ledger.attempt
    latest = at.observed.progress
    progress = shown(status.progress if same_pod else None, latest, at.policy, due=at.observed.progress_due)
    if progress is None:
        running = Fact(True, Reason.WORKING, f"Worker pod {pod.name} runs on node {pod.node}.")
    else:
        parts = [f"{progress.percent} %", *([progress.message] if progress.message else [])]
        running = Fact(True, progress.stage, ", ".join(parts))
    return Step(
        facts=conditions.under_way(accepted=at.accepted, admitted=at.admitted, running=running),
        updates={"progress": progress, "queue": None, "pod_name": pod.name, "node_name": pod.node},
        requeue_after=None if latest in (None, progress) else at.policy.progress_interval,
    )


def _wait(at: Situation, child: ObservedChild, pod: ObservedPod | None) -> Step:
    queue = explain(child, at.observed.job.status.queue)
    step = _waiting(at, queue)
    if pod is None:
        return step
    return Step(step.facts, updates={**step.updates, "pod_name": pod.name, "node_name": pod.node})


def _waiting(at: Situation, queue: QueueStatus, *, admitted: Fact | None = None) -> Step:
    queue = queue.model_copy(update={"reason": str(queue.reason), "message": conditions.clip(queue.message)})
    return Step(
        facts=conditions.under_way(
            accepted=at.accepted, admitted=admitted or at.admitted, running=Fact(False, queue.reason, queue.message)
        ),
        updates={"progress": None, "queue": queue, "pod_name": None, "node_name": None},
    )


def _queued(
    at: Situation, queue: QueueStatus, requeue_after: timedelta | None = None, *, admitted: Fact | None = None
) -> Step:
    """The next attempt cannot be started yet."""
    step = _waiting(at, queue, admitted=admitted)
    return Step(step.facts, _stop_surplus(at), step.updates, earliest(requeue_after, _remaining(at)))


def _retry_later(at: Situation, retry_at: datetime) -> Step:
    failure = at.ledger.failed
    why = f", after {failure.reason}: {failure.message}" if failure is not None else ""
    message = conditions.clip(f"Attempt {at.ledger.attempt + 1} starts at {retry_at:%H:%M:%S} UTC{why}")
    running = Fact(False, Reason.RETRYING, message)
    return Step(
        facts=conditions.under_way(accepted=at.accepted, admitted=at.admitted, running=running),
        actions=_stop_surplus(at),
        updates={
            "progress": None,
            "queue": QueueStatus(reason=str(Reason.RETRYING), message=message),
            **_started(at),
        },
        requeue_after=earliest(retry_at - at.now, _deadline_of(at)),
    )


def _without_profile(at: Situation) -> Step:
    missing = _profile_missing(at)
    step = _queued(at, QueueStatus(reason=missing.reason, message=missing.message), PROFILE_RECHECK)
    facts = {**step.facts, ConditionType.ACCEPTED: missing}
    return Step(facts, step.actions, step.updates, step.requeue_after)


def _profile_missing(at: Situation) -> Fact:
    profile = at.observed.job.spec.profile_ref.name
    message = f'RuntimeProfile "{profile}" does not exist: create it, or name another in a new resource.'
    return Fact(False, str(Reason.PROFILE_NOT_FOUND), message)


def _at_work(pod: ObservedPod) -> bool:
    """Whether a worker runs, or ran and its Job is about to say how it ended."""
    return pod.started and not pod.deleting and (not ended(pod) or pod.disruption is None)


def _stop_surplus(at: Situation) -> tuple[Action, ...]:
    return tuple(stop(child) for child in at.ledger.surplus)


def _stop_live(at: Situation) -> tuple[Action, ...]:
    return tuple(stop(child) for child in at.observed.children if is_live(child, at.now))


def _started(at: Situation) -> dict[str, Any]:
    return {"start_time": at.observed.job.status.start_time or at.now}


def _patience(at: Situation, pod: ObservedPod | None) -> timedelta | None:
    """Returns when an attempt that hangs would be given up."""
    waits = [_deadline_of(at)]
    if pod is not None and not ended(pod):
        since = pull_started(pod)
        waits.append(None if since is None else since + at.policy.image_pull_patience - at.now)
        if pod.deleting and pod.gone_by is not None:
            waits.append(pod.gone_by + at.policy.node_lost_patience - at.now)
    return earliest(*waits)


def _deadline_of(at: Situation) -> timedelta | None:
    """Returns how long until the deadline, were the clock to start just now if it does not run."""
    seconds = at.observed.job.spec.active_deadline_seconds
    if at.expiry is not None:
        return at.expiry - at.now
    return None if seconds is None else timedelta(seconds=seconds)


def _remaining(at: Situation) -> timedelta | None:
    """Returns how long until a deadline whose clock runs."""
    return None if at.expiry is None else at.expiry - at.now


def shown(before: Progress | None, latest: Progress | None, policy: Policy, *, due: bool) -> Progress | None:
    """Returns the progress the status should show.

    Args:
        before: what it shows now, of the same pod.
        latest: the worker's latest report; None when it was lost, e.g. by a restart of the operator.
        policy: how fine the steps are.
        due: the caller's clock says that the status was not written for a while. Without it only a new stage or a step
            of `policy.progress_step` percent is shown.
    """
    if before is None or latest is None or due:
        return latest or before
    moved = latest.stage is not before.stage or abs(latest.percent - before.percent) >= policy.progress_step
    done = latest.percent == 100 and before.percent != 100
    return latest if moved or done else before
