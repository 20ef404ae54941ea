"""Condition lists: what is true, for programs and for people."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from steno_api.failures import FailureReason
from steno_api.v1alpha1.meta import Condition, ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType, Reason

MAX_MESSAGE = 1024


@dataclass(frozen=True)
class Fact:
    """One condition, without the bookkeeping."""

    holds: bool
    reason: str
    message: str = ""


Facts = Mapping[ConditionType, Fact]
"""A fact for each condition type that the kind has."""


def holds(conditions: Sequence[Condition], kind: ConditionType) -> bool:
    """Whether a condition stands and is true."""
    condition = find(conditions, kind)
    return condition is not None and condition.status is ConditionStatus.TRUE


def find(conditions: Sequence[Condition], kind: ConditionType) -> Condition | None:
    """Returns the condition of a type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def conditions_of(facts: Facts, before: Sequence[Condition], *, generation: int, now: datetime) -> list[Condition]:
    """Returns the conditions in a fixed order; the time of those whose status did not turn is kept."""
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
    text = f"This resource does not fit the schema of the running operator: {message}. Correct it, or create it anew."
    fault = {holds: Fact(holds, str(FailureReason.INVALID_SPEC), text) for holds in (True, False)}
    facts = {
        ConditionType.READY: fault[False],
        ConditionType.RECONCILING: fault[False],
        ConditionType.STALLED: fault[True],
        ConditionType.ACCEPTED: fault[False],
    }
    before: list[dict[str, Any]] = status.get("conditions") or []
    after = conditions_of(facts, _readable(before), generation=generation, now=now)
    conditions = {each["type"]: each for each in before} | {each.type: each.to_wire() for each in after}
    return {**status, "conditions": list(conditions.values()), "observedGeneration": generation, "phase": "Pending"}


def _readable(conditions: Sequence[Mapping[str, Any]]) -> list[Condition]:
    readable: list[Condition] = []
    for raw in conditions:
        with contextlib.suppress(ValidationError):
            readable.append(Condition.from_wire(raw))
    return readable


def clip(text: str) -> str:
    """Returns `text`, cut where it would bloat the resource."""
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def under_way(*, accepted: Fact, admitted: Fact, running: Fact) -> Facts:
    """Returns the facts of a job that Steno works on; `running` also says why it is not ready."""
    return {
        **_open(accepted, admitted, running),
        ConditionType.READY: Fact(False, running.reason, running.message),
        ConditionType.RECONCILING: Fact(True, running.reason, running.message),
        ConditionType.SUSPENDED: Fact(False, Reason.NOT_SUSPENDED),
    }


def suspended(*, accepted: Fact, admitted: Fact) -> Facts:
    """Returns the facts of a job that `spec.suspend` holds."""
    held = Fact(False, Reason.SUSPENDED, "spec.suspend is true.")
    return {
        **_open(accepted, admitted, held),
        ConditionType.READY: held,
        ConditionType.RECONCILING: held,
        ConditionType.SUSPENDED: Fact(True, Reason.SUSPENDED, held.message),
    }


def complete(*, accepted: Fact, admitted: Fact, message: str) -> Facts:
    """Returns the facts of a job whose results are published."""
    done = Fact(True, Reason.PUBLISHED, message)
    return {
        **_closed(accepted, admitted),
        ConditionType.READY: done,
        ConditionType.STALLED: Fact(False, Reason.PUBLISHED),
        ConditionType.COMPLETE: done,
        ConditionType.FAILED: Fact(False, Reason.PUBLISHED),
    }


def failed(*, accepted: Fact, admitted: Fact, reason: FailureReason, message: str) -> Facts:
    """Returns the facts of a job that ended without results."""
    true, false = Fact(True, reason, message), Fact(False, reason, message)
    return {
        **_closed(accepted, admitted),
        ConditionType.READY: false,
        ConditionType.STALLED: true,
        ConditionType.COMPLETE: Fact(False, reason),
        ConditionType.FAILED: true,
    }


def _open(accepted: Fact, admitted: Fact, running: Fact) -> dict[ConditionType, Fact]:
    return {
        ConditionType.STALLED: Fact(False, Reason.NOT_FINISHED),
        ConditionType.ACCEPTED: accepted,
        ConditionType.ADMITTED: admitted,
        ConditionType.RUNNING: running,
        ConditionType.COMPLETE: Fact(False, Reason.NOT_FINISHED),
        ConditionType.FAILED: Fact(False, Reason.NOT_FINISHED),
    }


def _closed(accepted: Fact, admitted: Fact) -> dict[ConditionType, Fact]:
    return {
        ConditionType.RECONCILING: Fact(False, Reason.FINISHED),
        ConditionType.ACCEPTED: accepted,
        ConditionType.ADMITTED: admitted,
        ConditionType.RUNNING: Fact(False, Reason.FINISHED),
        ConditionType.SUSPENDED: Fact(False, Reason.NOT_SUSPENDED),
    }
