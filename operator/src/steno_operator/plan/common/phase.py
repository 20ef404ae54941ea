"""One word for people, derived from the conditions."""

from __future__ import annotations

from collections.abc import Sequence

from steno_api.v1alpha1.common import Phase
from steno_api.v1alpha1.meta import Condition
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.runtimepool import PoolPhase
from steno_api.v1alpha1.streamsession import SessionPhase
from steno_operator.plan.common.conditions import find, holds

_BY_CONDITION: tuple[tuple[ConditionType, Phase], ...] = (
    (ConditionType.COMPLETE, "Succeeded"),
    (ConditionType.FAILED, "Failed"),
    (ConditionType.SUSPENDED, "Suspended"),
    (ConditionType.RUNNING, "Running"),
)


def phase_of(conditions: Sequence[Condition]) -> Phase:
    """Returns the phase that the conditions amount to."""
    for kind, phase in _BY_CONDITION:
        if holds(conditions, kind):
            return phase
    running = find(conditions, ConditionType.RUNNING)
    if running is not None and running.reason == Reason.RETRYING:
        return "Retrying"
    return "Waiting" if holds(conditions, ConditionType.ADMITTED) else "Pending"


_SESSION: tuple[tuple[ConditionType, SessionPhase], ...] = (
    (ConditionType.COMPLETE, "Succeeded"),
    (ConditionType.FAILED, "Failed"),
    (ConditionType.ACTIVE, "Active"),
    (ConditionType.ENDPOINT_READY, "Ready"),
    (ConditionType.ADMITTED, "Waiting"),
)


def session_phase(conditions: Sequence[Condition]) -> SessionPhase:
    """Returns the phase that a session's conditions amount to."""
    for kind, phase in _SESSION:
        if holds(conditions, kind):
            return phase
    return "Pending"


def pool_phase(conditions: Sequence[Condition]) -> PoolPhase:
    """Returns the phase that a pool's conditions amount to."""
    ready = find(conditions, ConditionType.READY)
    if ready is not None and holds(conditions, ConditionType.READY):
        return "Idle" if ready.reason == Reason.IDLE else "Ready"
    if holds(conditions, ConditionType.STALLED):
        return "Failed"
    return "Scaling" if holds(conditions, ConditionType.ACCEPTED) else "Pending"
