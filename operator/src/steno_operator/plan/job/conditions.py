"""Conditions and phase of a job."""

from __future__ import annotations

from collections.abc import Sequence

from steno_api.failures import FailureReason
from steno_api.v1alpha1.common import Phase
from steno_api.v1alpha1.meta import Condition
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_operator.plan.common.conditions import (
    Fact,
    Facts,
    complete_facts,
    failed_facts,
    find,
    holds,
    unfinished_facts,
)

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


def complete(*, accepted: Fact, admitted: Fact, message: str) -> Facts:
    """Return the facts of a job whose results are published.

    Args:
        accepted: the condition Accepted.
        admitted: the condition Admitted.
        message: where the results are.
    """
    return {**complete_facts(Reason.PUBLISHED, message), **_finished(accepted, admitted)}


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
