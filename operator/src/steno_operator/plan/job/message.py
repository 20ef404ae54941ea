"""Attempts that are messages in a pool's queue: read from the job's status, workers' reports and dead letters.

A message is no object of the cluster, so the status itself says that there is one: `attempt` with a `startTime` was
published, and is over once it has failed, the job has ended, or it was suspended. Workers ask before they begin, and
with each report, so an attempt that is over need not be stopped. Its number is not used again: a queue remembers ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from steno_api.failures import FailureReason
from steno_api.v1alpha1.common import QueueStatus
from steno_api.v1alpha1.meta import ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_api.worker.termination import Failed, Succeeded
from steno_operator.manifests.task import build_queued_task
from steno_operator.plan.common.conditions import Fact, find
from steno_operator.plan.common.plan import PublishAttempt
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.execution import Start
from steno_operator.plan.job.observed import Job, ObservedJob, ObservedMessage, pool_name_of
from steno_operator.plan.job.outcome import Activity, Failure, ObservedAttempt, Published
from steno_queue.message import Message


def is_over(raw: Mapping[str, Any], attempt: int) -> bool:
    """Tell from a raw job whether nothing more is to be done for an attempt, by what its status says.

    One that the status does not know yet is not over: it was published, and the status is about to be written.
    """
    status: Mapping[str, Any] = raw.get("status") or {}
    if status.get("completionTime") or "deletionTimestamp" in raw["metadata"]:
        return True
    latest: int = status.get("attempt", 0)
    if attempt > latest:
        return False
    return attempt < latest or attempt <= _failed(status) or not status.get("startTime")


def is_recorded(status: Mapping[str, Any], attempt: int) -> bool:
    """Tell whether a job's raw status says how an attempt ended."""
    return bool(status.get("completionTime")) or attempt <= _failed(status)


def _failed(status: Mapping[str, Any]) -> int:
    failure: Mapping[str, Any] = status.get("lastFailure") or {}
    return failure.get("attempt", 0)


class Messages:
    """Each attempt is a message in the queue of the job's pool. Implements `Execution`."""

    carrier = "message"

    def observe(self, observed: ObservedJob, now: datetime, policy: Policy) -> list[ObservedAttempt]:
        """See `Execution`: those that are not evaluated yet, which are the latest, and one from before a crash."""
        latest, message = observed.job.status.attempt, observed.message
        known = None if message is None or message.attempt not in (latest, latest + 1) else message
        attempts = [_observe(latest, known, observed, now, policy)] if latest else []
        if known is not None and known.attempt > latest:  # published, and the status was not written
            attempts.append(_observe(known.attempt, known, observed, now, policy))
        return attempts

    def missing(self, job: Job, attempt: int, now: datetime) -> Failure:
        """See `Execution`. Not of the latest one: the status alone says that there is one."""
        name = pool_name_of(job)
        return Failure(FailureReason.POD_LOST, f'Attempt {attempt} is lost from RuntimePool "{name}".', now)

    def needs(self, job: Job) -> str:
        """See `Execution`."""
        return f'RuntimePool "{pool_name_of(job)}"'

    def obstacle(self, observed: ObservedJob, policy: Policy) -> Fact | None:
        """See `Execution`: the pool is missing, or cannot make the attempts as it is."""
        return obstacle_of(observed, policy)

    def conflict(self, observed: ObservedJob, attempt: int) -> str:  # noqa: ARG002 - one shape for all
        """See `Execution`: a message has the job's UID in its name."""
        return ""

    def start(self, observed: ObservedJob, attempt: int, out_of_memory: int, now: datetime, policy: Policy) -> Start:
        """See `Execution`."""
        return Start(publication(observed, attempt, now, out_of_memory), waits_for(observed, policy))

    def refused(self, refusal: str) -> QueueStatus:
        """See `Execution`: the queue server did."""
        return QueueStatus(reason=Reason.QUEUE_UNAVAILABLE, message=refusal)

    def started(self, job: Job, attempt: int) -> str:
        """See `Execution`."""
        return f'Attempt {attempt} is in the queue of RuntimePool "{pool_name_of(job)}".'


def _observe(
    number: int, message: ObservedMessage | None, observed: ObservedJob, now: datetime, policy: Policy
) -> ObservedAttempt:
    status = observed.job.status
    known = message if message is not None and message.attempt == number else None
    result = None if known is None else known.ended
    ended = now if known is None or known.ended_at is None else known.ended_at
    worker = (None if known is None else known.worker) or status.pod_name or ""
    failed = status.last_failure is not None and status.last_failure.attempt >= number
    superseded = message is not None and message.attempt > number
    over = failed or superseded or (number == status.attempt and status.start_time is None)
    attempt = ObservedAttempt(
        number=number,
        created=status.start_time or now,
        published=Published(result, worker, known and known.node, ended) if isinstance(result, Succeeded) else None,
        failure=Failure(result.reason, result.message, ended, never_ran=known is not None and known.refused)
        if isinstance(result, Failed)
        else None,
        work={} if known is None else known.work,
    )
    return attempt if over or result is not None else _live(attempt, known, observed, now, policy)


def _live(
    attempt: ObservedAttempt, known: ObservedMessage | None, observed: ObservedJob, now: datetime, policy: Policy
) -> ObservedAttempt:
    """Return an attempt that is not over with what it does, and with what brings a lost message back."""
    obstacle = obstacle_of(observed, policy)
    if policy.queue is None or known is None:
        activity = Activity(waits_for=waits_for(observed, policy))
        return replace(attempt, activity=activity)
    silent_at = known.last_sign + policy.queue.silence
    if now < silent_at:
        works = known.worker is not None
        activity = Activity(
            worker=known.worker,
            node=known.node,
            waits_for=None if works else waits_for(observed, policy),
            message=f'A server of RuntimePool "{pool_name_of(observed.job)}" works on it.',
            look_again=silent_at,
        )
        return replace(attempt, activity=activity)
    if observed.refusal:
        unavailable = QueueStatus(reason=Reason.QUEUE_UNAVAILABLE, message=observed.refusal)
        activity = Activity(waits_for=unavailable, look_again=now + policy.backoff_base)
        return replace(attempt, activity=activity)
    again = () if obstacle is not None else (publication(observed, attempt.number, now),)
    activity = Activity(waits_for=waits_for(observed, policy), look_again=now + policy.queue.silence)
    return replace(attempt, activity=activity, align=again)


def publication(observed: ObservedJob, number: int, now: datetime, out_of_memory: int | None = None) -> PublishAttempt:
    """Return the action that puts an attempt into the queue of the job's pool, which exists.

    Args:
        observed: the job and its pool.
        number: of the attempt.
        now: the present.
        out_of_memory: attempts that ran out of memory; None: as many as the status says.
    """
    job, pool = observed.job, observed.pool
    assert pool is not None  # noqa: S101 - `obstacle_of` has seen to it
    status = job.status
    task = build_queued_task(
        job,
        number,
        tenant=observed.admission.billed_tenant(job.spec.tenant_name, job.metadata.namespace),
        out_of_memory=status.out_of_memory if out_of_memory is None else out_of_memory,
    )
    name, namespace = pool.metadata.name, job.metadata.namespace or "default"
    message = Message.of_attempt(task, namespace=namespace, pool=name, priority=job.spec.priority, time=now)
    return PublishAttempt(name, number, message)


def waits_for(observed: ObservedJob, policy: Policy) -> QueueStatus:
    """Return what an attempt waits for that no server has."""
    obstacle, pool, name = obstacle_of(observed, policy), observed.pool, pool_name_of(observed.job)
    if obstacle is not None:
        return QueueStatus(reason=obstacle.reason, message=obstacle.message)
    ready = None if pool is None else find(pool.status.conditions, ConditionType.READY)
    cold = ready is not None and ready.status is ConditionStatus.FALSE
    detail = f" {ready.message}" if ready is not None and cold else ""
    return QueueStatus(
        reason=Reason.WAITING_FOR_WORKER, message=f'The attempt is in the queue of RuntimePool "{name}".{detail}'
    )


def obstacle_of(observed: ObservedJob, policy: Policy) -> Fact | None:
    """Return why the job's pool cannot make its attempts as it is; None: it can."""
    pool, name = observed.pool, pool_name_of(observed.job)
    if policy.queue is None:
        message = "This operator has no queue server, which execution: Pool needs: ask the administrator to set queue."
        return Fact(False, Reason.QUEUE_NOT_CONFIGURED, message)
    if pool is None or pool.metadata.deletion_timestamp is not None:
        state = "does not exist: create it" if pool is None else "is being deleted"
        return Fact(False, Reason.POOL_NOT_FOUND, f'RuntimePool "{name}" {state}, or name another in a new job.')
    return misfit_of(observed.job, pool)


def misfit_of(job: Job, pool: RuntimePool) -> Fact | None:
    """Return what of a pool does not fit a job; None: it can make the job's attempts."""
    if (misfit := _misfit(job, pool)) is not None:
        return misfit
    accepted = find(pool.status.conditions, ConditionType.ACCEPTED)
    if accepted is not None and accepted.status is ConditionStatus.FALSE:
        return Fact(False, accepted.reason, f'RuntimePool "{pool.metadata.name}": {accepted.message}')
    return None


def _misfit(job: Job, pool: RuntimePool) -> Fact | None:
    """Return what of the pool's spec does not fit the job."""
    name = pool.metadata.name
    if not pool.spec.serves_queue:
        message = f'RuntimePool "{name}" takes no jobs: add Queue to its spec.workloads, or name another in a new job.'
        return Fact(False, Reason.WORKLOAD_NOT_SERVED, message)
    if isinstance(job, TranscriptionJob) and job.spec.model.name != pool.spec.model.name:
        message = (
            f'RuntimePool "{name}" serves the model {pool.spec.model.name}, and the job names {job.spec.model.name}:'
            " name that model, or another pool, in a new job."
        )
        return Fact(False, Reason.MODEL_NOT_OF_POOL, message)
    named = {place.secret_ref.name for place in (job.spec.source, job.spec.output) if place.secret_ref is not None}
    missing = sorted(named.difference(pool.spec.secret_names))
    if missing:
        message = f'The Secret "{missing[0]}" is not listed in spec.queue.secretRefs of RuntimePool "{name}": add it.'
        return Fact(False, Reason.SECRET_NOT_OF_POOL, message)
    return None
