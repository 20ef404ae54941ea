"""Conditions and phase of a session."""

from __future__ import annotations

from collections.abc import Sequence

from steno_api.documents.warnings import WarningSummary
from steno_api.failures import FailureReason
from steno_api.v1alpha1.meta import Condition, ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.streamsession import SessionPhase, StreamSessionStatus
from steno_operator.plan.common.conditions import (
    Fact,
    Facts,
    clip,
    complete_facts,
    failed_facts,
    holds,
    unfinished_facts,
    warning_facts,
)
from steno_operator.plan.common.finish import EventRules, condition_events
from steno_operator.plan.common.plan import EmitEvent
from steno_operator.plan.session.readiness import SessionReadiness

EVENTS: EventRules = {
    (ConditionType.ACCEPTED, ConditionStatus.TRUE): "Normal",
    (ConditionType.ACCEPTED, ConditionStatus.FALSE): "Warning",
    (ConditionType.ENDPOINT_READY, ConditionStatus.TRUE): "Normal",
    (ConditionType.ACTIVE, ConditionStatus.TRUE): "Normal",
    (ConditionType.COMPLETE, ConditionStatus.TRUE): "Normal",
    (ConditionType.FAILED, ConditionStatus.TRUE): "Warning",
}

_PHASES: tuple[tuple[ConditionType, SessionPhase], ...] = (
    (ConditionType.COMPLETE, "Succeeded"),
    (ConditionType.FAILED, "Failed"),
    (ConditionType.ACTIVE, "Active"),
    (ConditionType.ENDPOINT_READY, "Ready"),
    (ConditionType.ADMITTED, "Waiting"),
)


def phase_of(conditions: Sequence[Condition]) -> SessionPhase:
    """Return the phase that a session's conditions amount to."""
    for kind, phase in _PHASES:
        if holds(conditions, kind):
            return phase
    return "Pending"


def unfinished(readiness: SessionReadiness, endpoint: Fact, active: Fact) -> Facts:
    """Return the facts of a session that has not ended.

    Args:
        readiness: whether it is accepted and admitted.
        endpoint: whether a client may connect, or is connected.
        active: whether a client is connected.
    """
    return {
        **unfinished_facts(),
        ConditionType.READY: endpoint,
        ConditionType.RECONCILING: Fact(not endpoint.holds, endpoint.reason, endpoint.message),
        ConditionType.ACCEPTED: readiness.accepted,
        ConditionType.ADMITTED: readiness.admitted,
        ConditionType.ENDPOINT_READY: endpoint,
        ConditionType.ACTIVE: active,
    }


def complete(readiness: SessionReadiness, reason: str, message: str, warnings: Sequence[WarningSummary] = ()) -> Facts:
    """Return the facts of a session that ended as intended.

    Args:
        readiness: whether it was accepted and admitted.
        reason: how it ended.
        message: the same for people.
        warnings: what is doubtful about its transcript.
    """
    stalled = {ConditionType.STALLED: Fact(False, Reason.FINISHED)}
    return {**complete_facts(reason, message), **stalled, **_finished(readiness), **warning_facts(warnings)}


def failed(readiness: SessionReadiness, reason: FailureReason, message: str) -> Facts:
    """Return the facts of a session that failed.

    Args:
        readiness: whether it was accepted and admitted.
        reason: why it failed.
        message: the same for people.
    """
    return {**failed_facts(reason, message), **_finished(readiness)}


def events_of(old: StreamSessionStatus, new: StreamSessionStatus) -> tuple[EmitEvent, ...]:
    """Return the Events of the change from one status to another: conditions, then warnings of a complete session."""
    events = condition_events(old.conditions, new.conditions, EVENTS)
    if not holds(new.conditions, ConditionType.HAS_WARNINGS) or holds(old.conditions, ConditionType.HAS_WARNINGS):
        return events
    return (*events, *(EmitEvent("Warning", each.reason, clip(each.message)) for each in new.warnings or ()))


def _finished(readiness: SessionReadiness) -> Facts:
    return {
        ConditionType.ACCEPTED: readiness.accepted,
        ConditionType.ADMITTED: readiness.admitted,
        ConditionType.ENDPOINT_READY: Fact(False, Reason.FINISHED),
        ConditionType.ACTIVE: Fact(False, Reason.FINISHED),
    }
