"""A job that ended or is deleted: its status stands for ever; only its remains are cleared away."""

from __future__ import annotations

from datetime import datetime, timedelta

from steno_api.v1alpha1.job import JobStatus
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_operator.plan.common.conditions import holds
from steno_operator.plan.common.plan import Action, DeleteResource, EmitEvent, Plan, StopAttempt
from steno_operator.plan.job.observed import Job, ObservedChild, ObservedJob
from steno_operator.plan.job.outcome import is_live

ACCOUNTING_RECHECK = timedelta(seconds=5)
"""How often a job whose time to live is over looks whether its Tenant has accounted for it."""


def is_finished(status: JobStatus) -> bool:
    """Whether a job ended, either way."""
    return holds(status.conditions, ConditionType.COMPLETE) or holds(status.conditions, ConditionType.FAILED)


def plan_finished(observed: ObservedJob, now: datetime) -> Plan:
    """Returns what is left to do for a finished job: stop what still works, and carry out its TTL."""
    job = observed.job
    left = ttl_left(job, job.status.completion_time, now)
    actions: list[Action] = []
    requeue: timedelta | None = None
    # What the job used is read from its status: a Tenant that has not accounted for it yet keeps the resource.
    owed = observed.admission.reserved and job.spec.ttl_policy == "DeleteResource"
    if left != timedelta() or owed:
        requeue = ACCOUNTING_RECHECK if left == timedelta() else left
        actions += [stop(child) for child in observed.children if is_live(child, now)]
    elif job.spec.ttl_policy == "DeleteResource":
        actions.append(DeleteResource(job.metadata.uid))
    else:
        actions += [stop(child) for child in observed.children if not child.deleting]
        if actions:
            actions.append(
                EmitEvent("Normal", Reason.CHILDREN_DELETED, "ttlSecondsAfterFinished ran out: child Jobs are deleted.")
            )
    return Plan(tuple(actions), _seen(job), requeue, requires_live_read=bool(actions))


def plan_deleted(observed: ObservedJob, now: datetime) -> Plan:
    """Returns what is left to do for a job that is being deleted: stop what works.

    Owner references do so only once the job is gone, and somebody else's finalizer may keep it for long.
    """
    actions = tuple(stop(child) for child in observed.children if is_live(child, now))
    return Plan(actions, observed.job.status, requires_live_read=bool(actions))


def stop(child: ObservedChild) -> StopAttempt:
    """Returns the action that deletes a child."""
    return StopAttempt(child.name, child.uid)


def ttl_left(job: Job, ended: datetime | None, now: datetime) -> timedelta | None:
    """Returns how long a job that ended has until its TTL: zero when it ran out, None when it has none."""
    ttl = job.spec.ttl_seconds_after_finished
    if ttl is None or ended is None:
        return None
    return max(ended + timedelta(seconds=ttl) - now, timedelta())


def _seen(job: Job) -> JobStatus:
    """Returns the status as it stands, having seen the spec's latest change: a finished job ignores what it says."""
    status, generation = job.status, job.metadata.generation
    if status.observed_generation == generation:
        return status
    conditions = [item.model_copy(update={"observed_generation": generation}) for item in status.conditions]
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})
