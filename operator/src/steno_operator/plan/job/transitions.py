"""State transitions of a job that has not finished: each function is one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypedDict

from steno_api.documents.manifest import AnySummary
from steno_api.documents.warnings import WarningSummary
from steno_api.failures import FailureReason
from steno_api.usage import WorkRecord
from steno_api.v1alpha1.common import LastFailure, QueueStatus, Results
from steno_api.v1alpha1.job import ExecutionChoice, Progress, Stage
from steno_api.v1alpha1.meta import ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_operator.manifests.paths import misplaced
from steno_operator.plan.common.clock import earliest, ttl_left
from steno_operator.plan.common.conditions import Fact, clip, find, holds
from steno_operator.plan.common.finish import Transition
from steno_operator.plan.common.policy import CONFLICT_RECHECK, PROFILE_RECHECK, Policy
from steno_operator.plan.job import conditions
from steno_operator.plan.job.attempts import AttemptHistory, backoff
from steno_operator.plan.job.choice import too_long
from steno_operator.plan.job.cleanup import stop_live, stop_remaining
from steno_operator.plan.job.execution import Execution
from steno_operator.plan.job.observed import ObservedJob, pool_name_of
from steno_operator.plan.job.outcome import Activity, ObservedAttempt, Published, summary_of

DONE = Progress.from_wire({"stage": Stage.PUBLISHING, "percent": 100})


class StatusUpdate(TypedDict, total=False):
    """Fields of a job's status that a transition sets."""

    execution: ExecutionChoice
    attempt: int
    failures: int
    out_of_memory: int
    last_failure: LastFailure | None
    start_time: datetime | None
    completion_time: datetime
    pod_name: str | None
    node_name: str | None
    progress: Progress | None
    queue: QueueStatus | None
    results: Results
    summary: AnySummary | None
    warnings: list[WarningSummary] | None
    usage: WorkRecord | None


JobTransition = Transition[StatusUpdate]
"""A decision for a job."""


@dataclass(frozen=True)
class Context:
    """Everything a transition is decided from."""

    observed: ObservedJob
    execution: Execution
    attempts: Sequence[ObservedAttempt]
    history: AttemptHistory
    now: datetime
    policy: Policy
    expiry: datetime | None
    """When the deadline runs out; absent while no attempt was started."""

    @property
    def accepted(self) -> Fact:
        """The condition Accepted of a job whose profile or pool exists, or is no longer needed."""
        needed = self.execution.needs(self.observed.job)
        return Fact(True, Reason.ACCEPTED, f"The spec is valid and {needed} exists.")

    @property
    def handed_back(self) -> bool:
        """Whether a pool found the source too long, of a job that need not be made by one."""
        job, failed = self.observed.job, self.history.failed
        too_long = failed is not None and failed.reason is FailureReason.TOO_LONG_FOR_POOL
        return too_long and job.spec.execution == "Auto" and bool(pool_name_of(job))

    @property
    def obstacle(self) -> Fact | None:
        """Why no attempt can be started as things are; None: nothing is in the way."""
        return self.execution.obstacle(self.observed, self.policy)

    @property
    def admitted(self) -> Fact:
        """The condition Admitted: whether an attempt was started."""
        return self.begun if self.history.attempt > 0 else Fact(False, Reason.NOT_STARTED)

    @property
    def begun(self) -> Fact:
        """The condition Admitted of a job whose attempts may start, with the end that its Tenant sets."""
        deadline = self.observed.deadline
        if deadline is None or not deadline.tenant:
            return Fact(True, Reason.ADMITTED)
        limit = f"{deadline.seconds} s after its start (maxActiveDeadlineSeconds)"
        return Fact(True, Reason.ADMITTED, f'Tenant "{deadline.tenant}" ends the job {limit}.')

    @property
    def accepted_before(self) -> Fact:
        """The condition Accepted of a job that ends or is suspended: as it was."""
        if self.history.attempt > 0 or holds(self.observed.job.status.conditions, ConditionType.ACCEPTED):
            return self.accepted
        return self.obstacle or self.accepted


def publish(context: Context, done: Published) -> JobTransition:
    """The results are published: the job is complete, unless they are not where its own results are."""
    job, result = context.observed.job, done.result
    if fault := misplaced(result.manifest, job.spec.output.uri, job.metadata):
        return fail(context, FailureReason.INTERNAL, fault, context.now)
    stops, again = stop_remaining(context.attempts, context.now)
    return JobTransition(
        facts=conditions.complete(
            accepted=context.accepted_before,
            admitted=context.admitted,
            message=f"The results are published: {result.manifest}",
            warnings=result.warnings,
        ),
        actions=stops,
        update=StatusUpdate(
            results=Results.of(result.manifest, result.artifacts),
            completion_time=min(done.time, context.now),  # a node's clock may be ahead
            progress=DONE,
            queue=None,
            pod_name=done.worker,
            node_name=done.node,
            summary=summary_of(job, result),
            warnings=result.warnings or None,
        ),
        requeue_after=earliest(ttl_left(job.spec.ttl_seconds_after_finished, done.time, context.now), again),
    )


def fail(context: Context, reason: FailureReason, message: str, time: datetime) -> JobTransition:
    """Nothing more can be done: the job failed."""
    return JobTransition(
        facts=conditions.failed(
            accepted=context.accepted_before, admitted=context.admitted, reason=reason, message=clip(message)
        ),
        actions=stop_live(context.attempts),
        update=StatusUpdate(completion_time=time, queue=None),
        requeue_after=ttl_left(context.observed.job.spec.ttl_seconds_after_finished, time, context.now),
    )


def suspend(context: Context) -> JobTransition:
    """`spec.suspend`: the worker is stopped, the attempt is kept."""
    live = context.history.live
    actions = (*stop_live(context.history.surplus), *(() if live is None else live.pause))
    return JobTransition(
        facts=conditions.suspended(accepted=context.accepted_before, admitted=context.admitted),
        actions=actions,
        # Like that of batch/v1 Jobs, the deadline's clock restarts when the job is resumed.
        update=StatusUpdate(start_time=None, progress=None, queue=None, pod_name=None, node_name=None),
    )


def track(context: Context, attempt: ObservedAttempt, activity: Activity) -> JobTransition:
    """An attempt is live: show what it does, or why it does not."""
    if attempt.paused and not context.observed.admission.open:
        return _unadmitted(context)
    step = _show_work(context, activity) if activity.waits_for is None else _waiting(context, activity.waits_for)
    look_again = None if activity.look_again is None else activity.look_again - context.now
    return JobTransition(
        step.facts,
        _started(context, step.update | StatusUpdate(pod_name=activity.worker, node_name=activity.node)),
        (*stop_live(context.history.surplus), *attempt.align),
        earliest(step.requeue_after, _deadline_of(context), look_again),
    )


def hand_over(context: Context) -> JobTransition:
    """A pool found the source too long: the next plan starts a pod, once the status says so."""
    failure = context.history.failed
    choice = too_long("" if failure is None else failure.message)
    step = _waiting(context, QueueStatus(reason=FailureReason.TOO_LONG_FOR_POOL, message=choice.message))
    update = _started(context, step.update) | StatusUpdate(execution=choice)
    return JobTransition(step.facts, update, stop_live(context.history.surplus), timedelta())


def start(context: Context) -> JobTransition:
    """No attempt is live: start the next, or say what it waits for."""
    history, failed = context.history, context.history.failed
    waits = max(history.failures, history.rejections)
    at_once = failed is None or failed.reason is FailureReason.TOO_LONG_FOR_POOL
    retry_at = context.now if failed is None or at_once else failed.time + backoff(waits, context.policy)
    if context.now < retry_at:
        return _retry_later(context, retry_at)
    if (obstacle := context.obstacle) is not None:
        return _not_accepted(context, obstacle)
    if name := context.execution.conflict(context.observed, history.attempt + 1):
        return _name_taken(context, name, retry_at)
    if not context.observed.admission.open:
        return _unadmitted(context)
    if context.observed.refusal:
        return _refused(context)
    return _start(context)


def _start(context: Context) -> JobTransition:
    number, out_of_memory = context.history.attempt + 1, context.history.out_of_memory
    begin = context.execution.start(context.observed, number, out_of_memory, context.now, context.policy)
    step = _waiting(context, begin.waits_for, admitted=context.begun)
    update = _started(context, step.update) | StatusUpdate(attempt=number)
    # Never two at once: whatever may still work is stopped first.
    return JobTransition(step.facts, update, (*stop_live(context.history.surplus), begin.action), _deadline_of(context))


def _unadmitted(context: Context) -> JobTransition:
    """The job's Tenant does not admit it now, or no Tenant has its namespace."""
    answer = context.observed.admission
    known = context.observed.job.status.queue
    position = answer.position
    if known is not None and known.reason == answer.reason and not context.observed.progress_due:
        position = known.position  # hundreds move up whenever one ends, and few are watched
    # The nearer to its turn, the more often a job refreshes its position.
    again = None if answer.position is None else context.policy.progress_interval * (1 + answer.position // 10)
    queue = QueueStatus(reason=answer.reason, message=answer.message, position=position)
    step = _queued(context, queue, again, admitted=Fact(False, answer.reason, answer.message))
    if answer.state != "Refused":
        return step
    facts = {**step.facts, ConditionType.ACCEPTED: Fact(False, answer.reason, answer.message)}
    return replace(step, facts=facts)


def _name_taken(context: Context, name: str, since: datetime) -> JobTransition:
    """A conflicting Job has the child's name; that of a namesake deleted just now goes away by itself."""
    job = context.observed.job
    message = f'A Job named "{name}" exists that belongs to something else: delete it, or give this job another name.'
    turns = [find(job.status.conditions, kind) for kind in (ConditionType.ACCEPTED, ConditionType.SUSPENDED)]
    # After the last of these moments only the name kept the attempt from starting.
    was_admitted = find(job.status.conditions, ConditionType.ADMITTED)
    times = [since if context.history.failed else None, *(turn.last_transition_time for turn in turns if turn)]
    admitted: Fact | None = None
    if context.observed.admission.state == "Admitted":
        admitted = context.begun
        known = was_admitted is not None and was_admitted.status is ConditionStatus.TRUE
        times.append(was_admitted.last_transition_time if was_admitted is not None and known else context.now)
    timeout = max((time for time in times if time), default=context.now) + context.policy.name_conflict_timeout
    if context.now >= timeout:
        return fail(context, FailureReason.NAME_CONFLICT, message, context.now)
    queue = QueueStatus(reason=FailureReason.NAME_CONFLICT, message=message)
    return _queued(context, queue, min(CONFLICT_RECHECK, timeout - context.now), admitted=admitted)


def _refused(context: Context) -> JobTransition:
    """The API server refused the child Job, or the queue server the message."""
    refusal = context.observed.refusal
    if context.observed.refusal_final:
        message = f"The worker's {context.execution.carrier} was refused: {refusal}"
        return fail(context, FailureReason.INVALID_SPEC, message, context.now)
    return _queued(context, context.execution.refused(refusal), context.policy.backoff_base)


def _show_work(context: Context, activity: Activity) -> JobTransition:
    status = context.observed.job.status
    same_pod = status.pod_name == activity.worker and status.attempt == context.history.attempt
    latest = context.observed.progress
    progress = progress_to_show(
        status.progress if same_pod else None, latest, context.policy, due=context.observed.progress_due
    )
    if progress is None:
        running = Fact(True, Reason.WORKING, activity.message)
    else:
        parts = [f"{progress.percent} %", *([progress.message] if progress.message else [])]
        running = Fact(True, progress.stage, ", ".join(parts))
    return JobTransition(
        facts=conditions.in_progress(accepted=context.accepted, admitted=context.admitted, running=running),
        update=StatusUpdate(progress=progress, queue=None),
        requeue_after=None if latest in (None, progress) else context.policy.progress_interval,
    )


def _waiting(context: Context, queue: QueueStatus, *, admitted: Fact | None = None) -> JobTransition:
    queue = queue.model_copy(update={"reason": str(queue.reason), "message": clip(queue.message)})
    return JobTransition(
        facts=conditions.in_progress(
            accepted=context.accepted,
            admitted=admitted or context.admitted,
            running=Fact(False, queue.reason, queue.message),
        ),
        update=StatusUpdate(progress=None, queue=queue, pod_name=None, node_name=None),
    )


def _queued(
    context: Context, queue: QueueStatus, requeue_after: timedelta | None = None, *, admitted: Fact | None = None
) -> JobTransition:
    """The next attempt cannot be started yet."""
    step = _waiting(context, queue, admitted=admitted)
    requeue = earliest(requeue_after, _remaining(context))
    return JobTransition(step.facts, step.update, stop_live(context.history.surplus), requeue)


def _retry_later(context: Context, retry_at: datetime) -> JobTransition:
    failure = context.history.failed
    why = f", after {failure.reason}: {failure.message}" if failure is not None else ""
    message = clip(f"Attempt {context.history.attempt + 1} starts at {retry_at:%H:%M:%S} UTC{why}")
    running = Fact(False, Reason.RETRYING, message)
    return JobTransition(
        facts=conditions.in_progress(accepted=context.accepted, admitted=context.admitted, running=running),
        actions=stop_live(context.history.surplus),
        update=_started(
            context, StatusUpdate(progress=None, queue=QueueStatus(reason=str(Reason.RETRYING), message=message))
        ),
        requeue_after=earliest(retry_at - context.now, _deadline_of(context)),
    )


def _not_accepted(context: Context, why: Fact) -> JobTransition:
    step = _queued(context, QueueStatus(reason=why.reason, message=why.message), PROFILE_RECHECK)
    facts = {**step.facts, ConditionType.ACCEPTED: why}
    return replace(step, facts=facts)


def _started(context: Context, update: StatusUpdate) -> StatusUpdate:
    """Return `update` with the start of the deadline's clock, which it keeps."""
    return update | StatusUpdate(start_time=context.observed.job.status.start_time or context.now)


def _deadline_of(context: Context) -> timedelta | None:
    """Return how long until the deadline; a clock that does not run yet starts now."""
    deadline = context.observed.deadline
    if context.expiry is not None:
        return context.expiry - context.now
    return None if deadline is None else timedelta(seconds=deadline.seconds)


def _remaining(context: Context) -> timedelta | None:
    """Return how long until a deadline whose clock runs."""
    return None if context.expiry is None else context.expiry - context.now


def progress_to_show(before: Progress | None, latest: Progress | None, policy: Policy, *, due: bool) -> Progress | None:
    """Return the progress the status should show.

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
