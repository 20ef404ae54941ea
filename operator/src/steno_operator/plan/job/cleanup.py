"""Cleanup after a job that ended or is being deleted: its status no longer changes, its children are removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from steno_api.usage import WorkRecord
from steno_api.v1alpha1.job import JobStatus
from steno_api.v1alpha1.reasons import Reason
from steno_operator.plan.common.clock import earliest, ttl_left
from steno_operator.plan.common.plan import Action, DeleteResource, EmitEvent, Plan
from steno_operator.plan.common.usage import join, record_work
from steno_operator.plan.job.observed import ObservedJob
from steno_operator.plan.job.outcome import ObservedAttempt

ACCOUNTING_RECHECK = timedelta(seconds=5)
"""How often a job whose TTL ran out is requeued until its Tenant has accounted for it."""


def plan_finished(observed: ObservedJob, attempts: Sequence[ObservedAttempt], now: datetime) -> Plan:
    """Return what is left to do for a finished job: stop what still works, and carry out its TTL.

    Args:
        observed: the job and what exists because of it.
        attempts: its attempts.
        now: the present, in whole seconds.
    """
    job = observed.job
    left = ttl_left(job.spec.ttl_seconds_after_finished, job.status.completion_time, now)
    actions: list[Action] = []
    requeue: timedelta | None = None
    # What the job used is read from its status: a Tenant that has not accounted for it yet keeps the resource.
    owed = observed.admission.reserved and job.spec.ttl_policy == "DeleteResource"
    if left != timedelta() or owed:
        stops, again = stop_remaining(attempts, now)
        requeue = earliest(ACCOUNTING_RECHECK if left == timedelta() else left, again)
        actions += stops
    elif job.spec.ttl_policy == "DeleteResource":
        actions.append(DeleteResource(job.metadata.uid))
    else:
        actions += [each.stop for each in attempts if each.stop is not None]
        if actions:
            actions.append(
                EmitEvent("Normal", Reason.CHILDREN_DELETED, "ttlSecondsAfterFinished ran out: child Jobs are deleted.")
            )
    return Plan(tuple(actions), _observed_status(observed, attempts), requeue, requires_live_read=bool(actions))


def plan_deleted(observed: ObservedJob, attempts: Sequence[ObservedAttempt], now: datetime) -> Plan:
    """Return what is left to do for a job that is being deleted: stop what works.

    Owner references do so only once the job is gone, and another program's finalizer may keep it for long.

    Args:
        observed: the job and what exists because of it.
        attempts: its attempts.
        now: the present, in whole seconds.
    """
    actions, again = stop_remaining(attempts, now)
    return Plan(actions, observed.job.status, again, requires_live_read=bool(actions))


def stop_remaining(attempts: Iterable[ObservedAttempt], now: datetime) -> tuple[tuple[Action, ...], timedelta | None]:
    """Return the actions that end what still works for a job that ended, and when to look again."""
    stops: list[Action] = []
    waits: list[timedelta | None] = []
    for each in attempts:
        if each.stop is not None and (each.live or (each.outstays is not None and now >= each.outstays)):
            stops.append(each.stop)
        elif each.outstays is not None:
            waits.append(each.outstays - now)
    return tuple(stops), earliest(*waits)


def stop_live(attempts: Iterable[ObservedAttempt]) -> tuple[Action, ...]:
    """Return the actions that end whatever may still work."""
    return tuple(each.stop for each in attempts if each.live and each.stop is not None)


def record_usage(observed: ObservedJob, attempts: Iterable[ObservedAttempt], *, reports: bool) -> WorkRecord | None:
    """Return what was done for a job, with what its workers say now.

    Args:
        observed: the job and what exists because of it.
        attempts: its attempts.
        reports: whether reports count, beside what workers say when they end.
    """
    said = join(*(each.work for each in attempts), observed.work, observed.reported if reports else {})
    return record_work(observed.job.status.usage, said)


def _observed_status(observed: ObservedJob, attempts: Sequence[ObservedAttempt]) -> JobStatus:
    """Return the status, having observed the spec's latest generation: a finished job ignores what it says.

    A worker that is stopped says what it did only after the job has ended.
    """
    job = observed.job
    status, generation = job.status, job.metadata.generation
    if status.usage is not None or status.summary is None:  # not one that ended under an operator that kept no record
        status = status.model_copy(update={"usage": record_usage(observed, attempts, reports=True)})
    if status.observed_generation == generation:
        return status
    conditions = [item.model_copy(update={"observed_generation": generation}) for item in status.conditions]
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})
