"""Evaluation report: the document that `steno evaluate --json` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from steno_client.evaluation.manifest import Medium
from steno_client.evaluation.scores import Scores
from steno_client.evaluation.summary import (
    Group,
    Outcome,
    by_condition,
    by_kind,
    by_language,
    group,
    summarise,
)


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ItemReport(_Document):
    """One item."""

    id: str
    medium: Medium
    languages: tuple[str, ...]
    kind: str
    condition: str | None
    reference: str | None
    text: str
    """What was recognised."""
    scores: Scores | None
    amount: float
    """Seconds of audio, or pages."""
    seconds: float
    """Time that it took."""
    warnings: tuple[str, ...]
    """Reason of each warning."""
    error: str | None
    """Why it could not be processed."""

    @computed_field
    @property
    def error_rate(self) -> float | None:
        """Return errors per unit, in the unit of the scores."""
        counts = self.scores.errors if self.scores else None
        return counts.rate if counts else None


class MediumReport(_Document):
    """All recordings, or all documents."""

    medium: Medium
    total: Group
    languages: tuple[Group, ...]
    """By main language."""
    kinds: tuple[Group, ...]
    """By kind, up to its first comma."""
    conditions: tuple[Group, ...]


class Report(_Document):
    """The result of an evaluation."""

    schema_version: Literal["steno.dev/evaluation/v1"] = "steno.dev/evaluation/v1"
    version: str
    """Of the client, which counted."""
    created_at: datetime
    recogniser: str
    settings: Mapping[str, str]
    load_seconds: float
    """Time that loading models took; it is in no speed."""
    media: tuple[MediumReport, ...]
    items: tuple[ItemReport, ...]

    @property
    def failed(self) -> tuple[ItemReport, ...]:
        """Return the items that could not be processed."""
        return tuple(one for one in self.items if one.error is not None)


def build_report(
    outcomes: Sequence[Outcome],
    *,
    recogniser: str,
    settings: Mapping[str, str],
    load_seconds: float,
    created_at: datetime,
) -> Report:
    """Summarise outcomes.

    Args:
        outcomes: of all items.
        recogniser: what recognised them.
        settings: what was asked for, for readers of the report.
        load_seconds: time that loading models took.
        created_at: when the evaluation ended.
    """
    media: list[MediumReport] = []
    for medium in Medium:
        found = [one for one in outcomes if one.item.medium is medium]
        if found:
            media.append(
                MediumReport(
                    medium=medium,
                    total=summarise("total", found),
                    languages=group(found, by_language),
                    kinds=group(found, by_kind),
                    conditions=group(found, by_condition),
                )
            )
    return Report(
        version=version("steno-client"),
        created_at=created_at,
        recogniser=recogniser,
        settings=settings,
        load_seconds=round(load_seconds, 3),
        media=tuple(media),
        items=tuple(_describe(one) for one in outcomes),
    )


def _describe(outcome: Outcome) -> ItemReport:
    item = outcome.item
    return ItemReport(
        id=item.id,
        medium=item.medium,
        languages=item.languages,
        kind=item.kind,
        condition=item.condition,
        reference=item.reference,
        text=outcome.text,
        scores=outcome.scores,
        amount=outcome.amount,
        seconds=round(outcome.seconds, 3),
        warnings=outcome.warnings,
        error=outcome.error,
    )
