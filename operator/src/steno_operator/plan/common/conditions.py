"""Conditions: from facts to `metav1.Condition` lists, and the facts that all kinds share."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from steno_api.documents.warnings import WarningSummary
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
    """Tell whether a condition is there and true."""
    condition = find(conditions, kind)
    return condition is not None and condition.status is ConditionStatus.TRUE


def find(conditions: Sequence[Condition], kind: ConditionType) -> Condition | None:
    """Return the condition of a type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def conditions_of(facts: Facts, before: Sequence[Condition], *, generation: int, now: datetime) -> list[Condition]:
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
    """Return `text`, cut to `MAX_MESSAGE` characters."""
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def unfinished_facts() -> dict[ConditionType, Fact]:
    """Return the facts that every resource with an end has until it ends."""
    not_finished = Fact(False, Reason.NOT_FINISHED)
    return {
        ConditionType.STALLED: not_finished,
        ConditionType.COMPLETE: not_finished,
        ConditionType.FAILED: not_finished,
    }


def complete_facts(reason: str, message: str) -> dict[ConditionType, Fact]:
    """Return the facts of a resource that ended as intended."""
    done = Fact(True, reason, message)
    return {
        ConditionType.READY: done,
        ConditionType.RECONCILING: Fact(False, Reason.FINISHED),
        ConditionType.STALLED: Fact(False, reason),
        ConditionType.COMPLETE: done,
        ConditionType.FAILED: Fact(False, reason),
    }


def warning_facts(warnings: Sequence[WarningSummary]) -> dict[ConditionType, Fact]:
    """Return the fact that complete results have warnings; none where they have not."""
    if not warnings:
        return {}
    text = clip(" ".join(warning.message for warning in warnings))
    return {ConditionType.HAS_WARNINGS: Fact(True, warnings[0].reason, text)}


def failed_facts(reason: FailureReason, message: str) -> dict[ConditionType, Fact]:
    """Return the facts of a resource that failed."""
    true, false = Fact(True, str(reason), message), Fact(False, str(reason), message)
    return {
        ConditionType.READY: false,
        ConditionType.RECONCILING: Fact(False, Reason.FINISHED),
        ConditionType.STALLED: true,
        ConditionType.COMPLETE: Fact(False, str(reason)),
        ConditionType.FAILED: true,
    }


def is_finished(conditions: Sequence[Condition]) -> bool:
    """Tell whether a resource ended, either way."""
    return holds(conditions, ConditionType.COMPLETE) or holds(conditions, ConditionType.FAILED)
