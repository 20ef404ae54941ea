"""Events of pools and sessions: one for each condition that turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from steno_api.v1alpha1.meta import Condition, ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType
from steno_operator.plan.common.conditions import clip, find
from steno_operator.plan.common.plan import EmitEvent

EventType = Literal["Normal", "Warning"]

Told = Mapping[tuple[ConditionType, ConditionStatus], EventType]
"""Which turns are told, and how."""


def story(before: Sequence[Condition], after: Sequence[Condition], told: Told) -> tuple[EmitEvent, ...]:
    """Returns an Event for each condition of `after` that was not so before and that `told` has."""
    return tuple(_turns(before, after, told))


def _turns(before: Sequence[Condition], after: Sequence[Condition], told: Told) -> Iterator[EmitEvent]:
    for condition in after:
        kind = ConditionType(condition.type)
        old = find(before, kind)
        event = told.get((kind, condition.status))
        if event is None or (old is not None and old.status is condition.status):
            continue
        yield EmitEvent(event, condition.reason, clip(condition.message))
