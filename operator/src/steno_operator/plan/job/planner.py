"""The planner of every job kind: what is observed decides, never the phase that was."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from steno_api.failures import FailureReason
from steno_operator.plan.common.clock import whole
from steno_operator.plan.common.conditions import conditions_of
from steno_operator.plan.common.phase import phase_of
from steno_operator.plan.common.plan import Plan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job import transitions
from steno_operator.plan.job.attempts import Ledger, account, may_retry
from steno_operator.plan.job.cleanup import is_finished, plan_deleted, plan_finished
from steno_operator.plan.job.events import events_of
from steno_operator.plan.job.observed import Job, ObservedJob
from steno_operator.plan.job.transitions import Situation, Step


def plan_job(observed: ObservedJob, now: datetime, policy: Policy) -> Plan:
    """Returns what to do for a job, the status to stand, and when to look again.

    The same input gives the same plan. One that was carried out, seen again at the same time, holds no action and the
    same status; one of which only the first actions were carried out is made again by the next call.

    Args:
        observed: the job and everything that exists because of it. It must contain what the caller itself created.
        now: the present; any time zone.
        policy: the operator's settings.
    """
    now = whole(now)
    plan = _plan_job(observed, now, policy)
    return plan if plan.requires_live_read or not _uncertain(observed) else replace(plan, requires_live_read=True)


def _uncertain(observed: ObservedJob) -> bool:
    """Tell whether what is observed may be out of date.

    Conflicting Jobs are not watched. Jobs and pods come over two watches, so a finished Job may be seen before its
    pod's termination message.
    """
    latest = observed.children[-1] if observed.children else None
    return bool(observed.foreign) or (
        latest is not None
        and latest.done
        and not latest.pods_read_live
        and all(pod.exit_code is None for pod in latest.pods)
    )


def _plan_job(observed: ObservedJob, now: datetime, policy: Policy) -> Plan:
    job = observed.job
    if job.metadata.deletion_timestamp is not None:
        return plan_deleted(observed, now)
    if is_finished(job.status):
        return plan_finished(observed, now)
    expiry = _expiry(job)
    expired = expiry is not None and now >= expiry
    ledger = account(observed, now, policy, expiry if expired else None)
    at = Situation(observed, ledger, now, policy, expiry)
    return _plan(at, _decide(at, expired=expired))


def _decide(at: Situation, *, expired: bool) -> Step:
    """The ladder: the first rung that holds is what happens."""
    ledger, spec = at.ledger, at.observed.job.spec
    if ledger.published is not None:
        return transitions.publish(at, ledger.published)
    failure = ledger.failed
    if failure is not None and not may_retry(failure.reason, ledger.failures, spec.backoff_limit):
        return transitions.fail(at, failure.reason, _last(ledger, failure.message), failure.time)
    if expired:
        message = f"The job did not end within activeDeadlineSeconds ({spec.active_deadline_seconds} s)."
        return transitions.fail(at, FailureReason.DEADLINE_EXCEEDED, message, at.now)
    if spec.suspend:
        return transitions.hold(at)
    if ledger.live is not None:
        return transitions.follow(at, ledger.live)
    return transitions.start(at)


def _plan(at: Situation, step: Step) -> Plan:
    job, ledger = at.observed.job, at.ledger
    generation = job.metadata.generation
    conditions = conditions_of(step.facts, job.status.conditions, generation=generation, now=at.now)
    account_of = {
        "attempt": ledger.attempt,
        "failures": ledger.failures,
        "out_of_memory": ledger.out_of_memory,
        "last_failure": ledger.last_failure,
    }
    status = job.status.model_copy(
        update={
            **account_of,
            **step.updates,
            "observed_generation": generation,
            "conditions": conditions,
            "phase": phase_of(conditions),
        }
    )
    actions = (*step.actions, *events_of(job, status))
    # A failure may be judged from what was not seen: a child, a pod, or its last word.
    judged = ledger.last_failure != job.status.last_failure
    return Plan(actions, status, step.requeue_after, requires_live_read=bool(step.actions) or judged)


def _expiry(job: Job) -> datetime | None:
    """Returns when the deadline runs out; absent while the clock stands: before the first attempt and suspended."""
    seconds, start = job.spec.active_deadline_seconds, job.status.start_time
    return None if seconds is None or start is None else start + timedelta(seconds=seconds)


def _last(ledger: Ledger, message: str) -> str:
    """Returns why the job failed, with how often it was tried."""
    return message if ledger.attempt <= 1 else f"{message} (attempt {ledger.attempt})"
