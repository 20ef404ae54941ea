"""The frame of every planner: facts become conditions, then the phase, the status, Events, and the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar

from steno_api.v1alpha1.job import JobStatus
from steno_api.v1alpha1.meta import Condition, ConditionStatus, ObjectMeta
from steno_api.v1alpha1.reasons import ConditionType
from steno_api.v1alpha1.runtimepool import RuntimePoolStatus
from steno_api.v1alpha1.streamsession import StreamSessionStatus
from steno_api.v1alpha1.tenant import TenantStatus
from steno_operator.plan.common.conditions import Facts, clip, conditions_of, find
from steno_operator.plan.common.plan import Action, EmitEvent, PlanOf

S = TypeVar("S", JobStatus, RuntimePoolStatus, StreamSessionStatus, TenantStatus)
Update = TypeVar("Update", bound=Mapping[str, object])

EventRules = Mapping[tuple[ConditionType, ConditionStatus], Literal["Normal", "Warning"]]
"""Which changes of conditions are announced in an Event, and the Event's type."""


@dataclass(frozen=True)
class Transition(Generic[Update]):
    """A decision: what to do, and what the status then says."""

    facts: Facts
    update: Update
    """Fields of the status, a `TypedDict` of the kind; those left out keep their values."""
    actions: tuple[Action, ...] = ()
    requeue_after: timedelta | None = None


def finish(
    metadata: ObjectMeta,
    status: S,
    transition: Transition[Update],
    now: datetime,
    *,
    phase_of: Callable[[Sequence[Condition]], str],
    events_of: Callable[[S], tuple[EmitEvent, ...]] = lambda _: (),
    requires_live_read: bool = False,
) -> PlanOf[S]:
    """Return the plan that carries a decision out.

    Args:
        metadata: the resource's.
        status: the resource's, as it is.
        transition: the decision.
        now: the present, in whole seconds.
        phase_of: returns the phase that conditions amount to.
        events_of: returns the Events that announce the change to a new status.
        requires_live_read: see `PlanOf`.
    """
    generation = metadata.generation
    conditions = conditions_of(transition.facts, status.conditions, generation=generation, now=now)
    head = {"observed_generation": generation, "conditions": conditions, "phase": phase_of(conditions)}
    new = status.model_copy(update={**transition.update, **head})
    return PlanOf((*transition.actions, *events_of(new)), new, transition.requeue_after, requires_live_read)


def condition_events(
    before: Sequence[Condition], after: Sequence[Condition], rules: EventRules
) -> tuple[EmitEvent, ...]:
    """Return an Event for each condition whose status changed and for which there is a rule.

    Args:
        before: the conditions that were.
        after: the conditions that are.
        rules: which changes are announced.
    """
    events: list[EmitEvent] = []
    for condition in after:
        kind = ConditionType(condition.type)
        old, event = find(before, kind), rules.get((kind, condition.status))
        if event is not None and (old is None or old.status is not condition.status):
            events.append(EmitEvent(event, condition.reason, clip(condition.message)))
    return tuple(events)
