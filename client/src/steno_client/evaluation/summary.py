"""Summaries of many items: pooled error rates, speed and warnings, in total and by language, kind and condition."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import computed_field
from pydantic.dataclasses import dataclass as checked_dataclass

from steno_client.evaluation.counts import Counts
from steno_client.evaluation.manifest import Item, Medium
from steno_client.evaluation.normalise import Unit
from steno_client.evaluation.scores import EditCounts, Scores, Share, TimeErrors
from steno_client.evaluation.speakers import SpeakerErrors

T = TypeVar("T", bound=Counts)

NO_LANGUAGE = "none"
NO_CONDITION = "as recorded"


@dataclass(frozen=True)
class Outcome:
    """What became of an item: its scores and time, or why it could not be processed."""

    item: Item
    scores: Scores | None = None
    text: str = ""
    amount: float = 0.0
    """Seconds of audio, or pages."""
    seconds: float = 0.0
    """Time that it took, without loading a model."""
    warnings: tuple[str, ...] = ()
    """Reason of each warning."""
    error: str | None = None


@checked_dataclass(frozen=True)
class Speed:
    """Seconds of audio, or pages, per second of work."""

    items: int
    amount: float
    """Seconds of audio, or pages, in all."""
    seconds: float
    """Time that it took."""
    minimum: float
    """Of the slowest item."""
    median: float
    maximum: float

    @computed_field
    @property
    def overall(self) -> float:
        """Return the speed of all items one after the other."""
        return self.amount / self.seconds


@checked_dataclass(frozen=True)
class Group:
    """Items that have something in common; None: no item of it has such a reference."""

    name: str
    items: int
    failed: int
    """Items that could not be processed; they are in no rate."""
    scored: int
    """Items with a reference text."""
    errors: EditCounts | None
    """In words, and in characters for languages that are scored by them."""
    words: EditCounts | None
    """Of items that are scored by words."""
    characters: EditCounts | None
    hallucinated_words: int | None
    """Where nothing is said or printed; part of the errors, too. None: there is no such item."""
    words_found: Share | None
    keywords: Share | None
    word_times: TimeErrors | None
    speakers: SpeakerErrors | None
    audio_speed: Speed | None
    page_speed: Speed | None
    warnings: dict[str, int]
    """Number by reason."""


def summarise(name: str, outcomes: Sequence[Outcome]) -> Group:
    """Pool the outcomes of a group of items."""
    scores = [one.scores for one in outcomes if one.scores is not None]
    silences = [one.hallucinated_words for one in scores if one.hallucinated_words is not None]
    warnings = Counter(reason for one in outcomes for reason in one.warnings)
    return Group(
        name=name,
        items=len(outcomes),
        failed=sum(one.error is not None for one in outcomes),
        scored=sum(one.errors is not None for one in scores),
        errors=pool(one.errors for one in scores),
        words=pool(one.words for one in scores if one.unit is Unit.WORD),
        characters=pool(one.characters for one in scores),
        hallucinated_words=sum(silences) if silences else None,
        words_found=pool(one.words_found for one in scores),
        keywords=pool(one.keywords for one in scores),
        word_times=pool(one.word_times for one in scores),
        speakers=pool(one.speakers for one in scores),
        audio_speed=measure_speed(outcomes, Medium.RECORDING),
        page_speed=measure_speed(outcomes, Medium.DOCUMENT),
        warnings=dict(sorted(warnings.items())),
    )


def group(outcomes: Iterable[Outcome], key: Callable[[Item], str]) -> tuple[Group, ...]:
    """Summarise the items that have the same key, the largest group first."""
    members: dict[str, list[Outcome]] = {}
    for one in outcomes:
        members.setdefault(key(one.item), []).append(one)
    ordered = sorted(members.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return tuple(summarise(name, found) for name, found in ordered)


def by_language(item: Item) -> str:
    """Return the name of an item's group: its main language."""
    return item.language or NO_LANGUAGE


def by_kind(item: Item) -> str:
    """Return the name of an item's group: its kind, up to the first comma."""
    return item.main_kind


def by_condition(item: Item) -> str:
    """Return the name of an item's group: what was done to it."""
    return item.condition or NO_CONDITION


def pool(counts: Iterable[T | None]) -> T | None:
    """Return the sum of counts; None if there are none."""
    found = [one for one in counts if one is not None]
    return sum(found[1:], start=found[0]) if found else None


def measure_speed(outcomes: Iterable[Outcome], medium: Medium) -> Speed | None:
    """Return the speed over the items of a medium that were processed; None if there are none."""
    timed = [
        one
        for one in outcomes
        if one.item.medium is medium and one.error is None and one.seconds > 0 and one.amount > 0
    ]
    if not timed:
        return None
    speeds = [one.amount / one.seconds for one in timed]
    return Speed(
        items=len(timed),
        amount=sum(one.amount for one in timed),
        seconds=sum(one.seconds for one in timed),
        minimum=min(speeds),
        median=statistics.median(speeds),
        maximum=max(speeds),
    )
