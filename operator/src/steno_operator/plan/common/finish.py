"""The frame of every planner: facts become conditions, then the phase, the status, Events, and the plan."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

from pydantic import ValidationError

from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import JobStatus
from steno_api.v1alpha1.meta import Condition, ConditionStatus, ObjectMeta
from steno_api.v1alpha1.reasons import ConditionType
from steno_api.v1alpha1.runtimepool import RuntimePoolStatus
from steno_api.v1alpha1.streamsession import StreamSessionStatus
from steno_api.v1alpha1.tenant import TenantStatus
from steno_operator.plan.common.conditions import Fact, Facts, clip, find
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
    conditions = _conditions_of(transition.facts, status.conditions, generation=generation, now=now)
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


def _conditions_of(facts: Facts, before: Sequence[Condition], *, generation: int, now: datetime) -> list[Condition]:
    """Return the conditions in a fixed order; those whose status did not change keep their transition time.

    Args:
        facts: what is true now.
        before: the conditions that were.
        generation: the `metadata.generation` that the facts are about.
        now: the present, in whole seconds.
    """
    conditions: list[Condition] = []
    for kind in (kind for kind in ConditionType if kind in facts):
        fact = facts[kind]
        status = ConditionStatus.TRUE if fact.holds else ConditionStatus.FALSE
        old = find(before, kind)
        conditions.append(
            Condition(
                type=str(kind),
                status=status,
                reason=str(fact.reason),
                message=clip(fact.message),
                last_transition_time=old.last_transition_time if old is not None and old.status is status else now,
                observed_generation=generation,
            )
        )
    return conditions


def unreadable_status(raw: Mapping[str, Any], message: str, now: datetime) -> dict[str, Any]:
    """Return the raw status of a resource that does not fit its schema: stalled until someone edits or upgrades.

    Args:
        raw: the resource; one that ended keeps its status.
        message: what does not fit.
        now: the present, in whole seconds.
    """
    status: dict[str, Any] = dict(raw.get("status") or {})
    if status.get("completionTime"):
        return status
    generation: int = raw["metadata"].get("generation", 0)
    text = f"This resource does not fit the schema of the running operator: {message}. Correct it, or recreate it."
    fault = {holds: Fact(holds, str(FailureReason.INVALID_SPEC), text) for holds in (True, False)}
    facts = {
        ConditionType.READY: fault[False],
        ConditionType.RECONCILING: fault[False],
        ConditionType.STALLED: fault[True],
        ConditionType.ACCEPTED: fault[False],
    }
    before: list[dict[str, Any]] = status.get("conditions") or []
    after = _conditions_of(facts, _readable(before), generation=generation, now=now)
    conditions = {each["type"]: each for each in before} | {each.type: each.to_wire() for each in after}
    return {**status, "conditions": list(conditions.values()), "observedGeneration": generation, "phase": "Pending"}


def _readable(conditions: Sequence[Mapping[str, Any]]) -> list[Condition]:
    readable: list[Condition] = []
    for raw in conditions:
        with contextlib.suppress(ValidationError):
            readable.append(Condition.from_wire(raw))
    return readable
