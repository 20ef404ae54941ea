"""Facts that become conditions, those that all kinds share, and lookups in `metav1.Condition` lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
