"""Conditions and phase of a job, and the Events that announce their changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steno_api.documents.warnings import WarningSummary
from steno_api.failures import FailureReason
from steno_api.v1alpha1.common import Phase
from steno_api.v1alpha1.job import JobStatus
from steno_api.v1alpha1.meta import Condition
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_operator.plan.common.conditions import (
    Fact,
    Facts,
    clip,
    complete_facts,
    failed_facts,
    find,
    holds,
    is_finished,
    unfinished_facts,
    warning_facts,
)
from steno_operator.plan.common.plan import EmitEvent
from steno_operator.plan.job.execution import Execution
from steno_operator.plan.job.observed import Job

_PHASES: tuple[tuple[ConditionType, Phase], ...] = (
    (ConditionType.COMPLETE, "Succeeded"),
    (ConditionType.FAILED, "Failed"),
    (ConditionType.SUSPENDED, "Suspended"),
    (ConditionType.RUNNING, "Running"),
)


def phase_of(conditions: Sequence[Condition]) -> Phase:
    """Return the phase that a job's conditions amount to."""
    for kind, phase in _PHASES:
        if holds(conditions, kind):
            return phase
    running = find(conditions, ConditionType.RUNNING)
    if running is not None and running.reason == Reason.RETRYING:
        return "Retrying"
    return "Waiting" if holds(conditions, ConditionType.ADMITTED) else "Pending"


def in_progress(*, accepted: Fact, admitted: Fact, running: Fact) -> Facts:
    """Return the facts of a job that is worked on.

    Args:
        accepted: the condition Accepted.
        admitted: the condition Admitted.
        running: the condition Running; it also says why the job is not ready.
    """
    return {
        **unfinished_facts(),
        ConditionType.READY: Fact(False, running.reason, running.message),
        ConditionType.RECONCILING: Fact(True, running.reason, running.message),
        ConditionType.ACCEPTED: accepted,
        ConditionType.ADMITTED: admitted,
        ConditionType.RUNNING: running,
        ConditionType.SUSPENDED: Fact(False, Reason.NOT_SUSPENDED),
    }


def suspended(*, accepted: Fact, admitted: Fact) -> Facts:
    """Return the facts of a job that `spec.suspend` stops."""
    stopped = Fact(False, Reason.SUSPENDED, "spec.suspend is true.")
    return {
        **in_progress(accepted=accepted, admitted=admitted, running=stopped),
        ConditionType.RECONCILING: stopped,
        ConditionType.SUSPENDED: Fact(True, stopped.reason, stopped.message),
    }


def complete(*, accepted: Fact, admitted: Fact, message: str, warnings: Sequence[WarningSummary] = ()) -> Facts:
    """Return the facts of a job whose results are published.

    Args:
        accepted: the condition Accepted.
        admitted: the condition Admitted.
        message: where the results are.
        warnings: what is doubtful about them.
    """
    return {
        **complete_facts(Reason.PUBLISHED, message),
        **_finished(accepted, admitted),
        **warning_facts(warnings),
    }


def failed(*, accepted: Fact, admitted: Fact, reason: FailureReason, message: str) -> Facts:
    """Return the facts of a job that ended without results.

    Args:
        accepted: the condition Accepted.
        admitted: the condition Admitted.
        reason: why it failed.
        message: the same for people.
    """
    return {**failed_facts(reason, message), **_finished(accepted, admitted)}


def _finished(accepted: Fact, admitted: Fact) -> Facts:
    return {
        ConditionType.ACCEPTED: accepted,
        ConditionType.ADMITTED: admitted,
        ConditionType.RUNNING: Fact(False, Reason.FINISHED),
        ConditionType.SUSPENDED: Fact(False, Reason.NOT_SUSPENDED),
    }


def events_of(job: Job, execution: Execution, new: JobStatus) -> tuple[EmitEvent, ...]:
    """Return the Events of the change from a job's status, in the order in which things happened.

    Args:
        job: the resource with its old status.
        execution: what carries its attempts out.
        new: its new status.
    """
    return tuple(_events(job, execution, job.status, new))


def _events(job: Job, execution: Execution, old: JobStatus, new: JobStatus) -> Iterator[EmitEvent]:
    finished = is_finished(new.conditions)
    yield from _acceptance(old, new)
    if new.last_failure is not None and new.last_failure != old.last_failure:
        failure = new.last_failure
        yield _warning(failure.reason, f"Attempt {failure.attempt} failed: {failure.message}")
        if not finished:
            used = f"{new.failures} of {job.spec.backoff_limit} retries used"
            yield _normal(Reason.RETRYING, f"Attempt {failure.attempt + 1} follows; {used}.")
    if _changed(old, new, ConditionType.SUSPENDED, to=True):
        yield _normal(Reason.SUSPENDED, "spec.suspend is true: the worker is stopped, the job is kept.")
    if _changed(old, new, ConditionType.SUSPENDED, to=False) and not finished:
        yield _normal(Reason.RESUMED, "spec.suspend is false: the job continues.")
    if new.attempt > old.attempt:
        yield _normal(Reason.ATTEMPT_STARTED, execution.started(job, new.attempt))
    yield from _running(old, new)
    if _changed(old, new, ConditionType.COMPLETE, to=True):
        yield _normal(Reason.PUBLISHED, _message(new, ConditionType.COMPLETE))
        yield from (_warning(warning.reason, warning.message) for warning in new.warnings or ())
    if _changed(old, new, ConditionType.FAILED, to=True):
        reason = find(new.conditions, ConditionType.FAILED)
        yield _warning(Reason.FAILED, f"{reason.reason if reason else ''}: {_message(new, ConditionType.FAILED)}")


def _acceptance(old: JobStatus, new: JobStatus) -> Iterator[EmitEvent]:
    before, after = find(old.conditions, ConditionType.ACCEPTED), find(new.conditions, ConditionType.ACCEPTED)
    if after is None or (before is not None and before.status is after.status):
        return
    make = _normal if holds(new.conditions, ConditionType.ACCEPTED) else _warning
    yield make(after.reason, after.message)


def _running(old: JobStatus, new: JobStatus) -> Iterator[EmitEvent]:
    if _changed(old, new, ConditionType.RUNNING, to=True):
        yield _normal(Reason.RUNNING, f"Worker pod {new.pod_name} runs on node {new.node_name}.")
    running = find(new.conditions, ConditionType.RUNNING)
    if _changed(old, new, ConditionType.RUNNING, to=False) and running and running.reason == FailureReason.PREEMPTED:
        yield _warning(running.reason, running.message)


def _changed(old: JobStatus, new: JobStatus, kind: ConditionType, *, to: bool) -> bool:
    return holds(new.conditions, kind) is to and holds(old.conditions, kind) is not to


def _message(status: JobStatus, kind: ConditionType) -> str:
    condition = find(status.conditions, kind)
    return condition.message if condition is not None else ""


def _normal(reason: str, message: str) -> EmitEvent:
    return EmitEvent("Normal", str(reason), clip(message))


def _warning(reason: str, message: str) -> EmitEvent:
    return EmitEvent("Warning", str(reason), clip(message))
