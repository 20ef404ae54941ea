"""The planner of every job kind: it decides from what is observed, never from the phase that was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from steno_api.failures import FailureReason
from steno_operator.plan.common.carriers import Mode
from steno_operator.plan.common.clock import truncate_to_seconds
from steno_operator.plan.common.conditions import is_finished
from steno_operator.plan.common.finish import finish
from steno_operator.plan.common.plan import Plan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job import transitions
from steno_operator.plan.job.attempts import AttemptHistory, evaluate_attempts, may_retry
from steno_operator.plan.job.child_job import ChildJobs
from steno_operator.plan.job.choice import plan_choice
from steno_operator.plan.job.cleanup import plan_deleted, plan_finished, record_usage
from steno_operator.plan.job.conditions import events_of, phase_of
from steno_operator.plan.job.execution import Execution
from steno_operator.plan.job.message import Messages
from steno_operator.plan.job.observed import Deadline, Job, ObservedJob, carrier_of_job
from steno_operator.plan.job.outcome import ObservedAttempt
from steno_operator.plan.job.transitions import Context, JobTransition, StatusUpdate

EXECUTIONS: Mapping[Mode, Execution] = {"Job": ChildJobs(), "Pool": Messages()}
"""What carries attempts out."""


def plan_job(observed: ObservedJob, now: datetime, policy: Policy) -> Plan:
    """Return what to do for a job, its new status, and when to requeue.

    The same input gives the same plan. One that was carried out, seen again at the same time, holds no action and the
    same status; one of which only the first actions were carried out is made again by the next call.

    Args:
        observed: the job and everything that exists because of it. It must contain what the caller itself created.
        now: the present; any time zone.
        policy: the operator's settings.
    """
    now = truncate_to_seconds(now)
    carrier = carrier_of_job(observed.job)
    if carrier is None and observed.job.metadata.deletion_timestamp is None:
        return plan_choice(observed, policy)
    execution = EXECUTIONS["Job" if carrier is None else carrier.mode]
    attempts = execution.observe(observed, now, policy)
    plan = _plan(observed, execution, attempts, now, policy)
    return replace(plan, requires_live_read=plan.requires_live_read or _may_be_outdated(observed, attempts))


def _may_be_outdated(observed: ObservedJob, attempts: Sequence[ObservedAttempt]) -> bool:
    """Tell whether what is observed may be out of date: conflicting Jobs, for one, are not watched."""
    return bool(observed.conflicting) or (bool(attempts) and attempts[-1].unconfirmed)


def _plan(
    observed: ObservedJob, execution: Execution, attempts: Sequence[ObservedAttempt], now: datetime, policy: Policy
) -> Plan:
    job = observed.job
    if job.metadata.deletion_timestamp is not None:
        return plan_deleted(observed, attempts, now)
    if is_finished(job.status.conditions):
        return plan_finished(observed, attempts, now)
    expiry = _expiry(observed)
    expired = expiry is not None and now >= expiry
    history = evaluate_attempts(job, attempts, execution, now, policy, expiry=expiry if expired else None)
    context = Context(observed, execution, attempts, history, now, policy, expiry)
    transition = _decide(context, expired=expired)
    reports = history.live is None or _shows_progress(job, transition)
    update = StatusUpdate(
        attempt=history.attempt,
        failures=history.failures,
        out_of_memory=history.out_of_memory,
        last_failure=history.last_failure,
        usage=record_usage(observed, attempts, reports=reports),
    )
    # A failure may be concluded from what was not seen: a child, a pod, or its termination message.
    concluded = history.last_failure != job.status.last_failure
    return finish(
        job.metadata,
        job.status,
        replace(transition, update=update | transition.update),
        now,
        phase_of=phase_of,
        events_of=partial(events_of, job, execution),
        # What ends a job is never read from a cache alone.
        requires_live_read=bool(transition.actions) or concluded or "completion_time" in transition.update,
    )


def _decide(context: Context, *, expired: bool) -> JobTransition:
    """The first matching rule wins."""
    history, spec, deadline = context.history, context.observed.job.spec, context.observed.deadline
    if history.published is not None:
        return transitions.publish(context, history.published)
    failure = history.failed
    if failure is not None and (
        history.start_failed_again or not may_retry(failure.reason, history.failures, spec.backoff_limit)
    ):
        return transitions.fail(context, failure.reason, _with_attempts(history, failure.message), failure.time)
    if expired and deadline is not None:
        return transitions.fail(context, FailureReason.DEADLINE_EXCEEDED, _exceeded(deadline), context.now)
    if spec.suspend:
        return transitions.suspend(context)
    if history.live is not None and history.live.activity is not None:
        return transitions.track(context, history.live, history.live.activity)
    return transitions.hand_over(context) if context.handed_back else transitions.start(context)


def _shows_progress(job: Job, transition: JobTransition) -> bool:
    """Tell whether the status will have new progress: what was done so far is written with it, and not for itself."""
    return transition.update.get("progress", job.status.progress) != job.status.progress


def _expiry(observed: ObservedJob) -> datetime | None:
    """Return when the deadline runs out; None while its clock is stopped: before the first attempt and suspended."""
    deadline, start = observed.deadline, observed.job.status.start_time
    return None if deadline is None or start is None else start + timedelta(seconds=deadline.seconds)


def _exceeded(deadline: Deadline) -> str:
    if not deadline.tenant:
        return f"The job did not end within activeDeadlineSeconds ({deadline.seconds} s)."
    return (
        f"The job did not end within {deadline.seconds} s, the maxActiveDeadlineSeconds of Tenant"
        f' "{deadline.tenant}": split the source, or have the limit raised.'
    )


def _with_attempts(history: AttemptHistory, message: str) -> str:
    """Return why the job failed, with how often it was tried."""
    return message if history.attempt <= 1 else f"{message} (attempt {history.attempt})"
