"""Error rates of one item as counts, as jiwer and sclite make them: the sums of counts are the rates of many items.

Errors and reference units are pooled: a recording of an hour weighs more than one of a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import computed_field
from pydantic.dataclasses import dataclass as checked_dataclass
from rapidfuzz.distance import Levenshtein

from steno_client.evaluation.counts import Counts
from steno_client.evaluation.manifest import Item, Medium, WordTime
from steno_client.evaluation.normalise import (
    Unit,
    error_unit,
    normalise_page,
    normalise_speech,
    page_words,
    without_spaces,
)
from steno_client.evaluation.speakers import SpeakerErrors, SpeakerSpan, compare_speakers


@checked_dataclass(frozen=True)
class EditCounts(Counts):
    """Edits that turn the reference into what was recognised, in words or characters."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    units: int = 0
    """Words or characters of the reference."""

    @computed_field
    @property
    def errors(self) -> int:
        """Return the number of edits."""
        return self.substitutions + self.deletions + self.insertions

    @computed_field
    @property
    def rate(self) -> float | None:
        """Return errors per unit of the reference; None without units."""
        return self.errors / self.units if self.units else None


@checked_dataclass(frozen=True)
class Share(Counts):
    """How many of something were found."""

    found: int = 0
    total: int = 0

    @computed_field
    @property
    def rate(self) -> float | None:
        """Return the share that was found, from 0 to 1; None of nothing."""
        return self.found / self.total if self.total else None


@checked_dataclass(frozen=True)
class TimeErrors(Counts):
    """Absolute errors of the starts and ends of words that were recognised as they are in the reference."""

    seconds: float = 0.0
    """Sum of the errors."""
    boundaries: int = 0
    """Starts and ends that were compared."""

    @computed_field
    @property
    def mean(self) -> float | None:
        """Return the mean error in seconds; None of nothing."""
        return self.seconds / self.boundaries if self.boundaries else None


@dataclass(frozen=True)
class Hypothesis:
    """What a recogniser made of an item."""

    text: str
    words: tuple[WordTime, ...] | None = None
    """Words with their times; None: it has none."""
    speakers: tuple[SpeakerSpan, ...] | None = None
    """Who speaks when; None: it did not look for speakers."""
    duration: float = 0.0
    """Seconds of audio."""


@checked_dataclass(frozen=True)
class Scores:
    """The scores of one item; None: there is no such reference."""

    unit: Unit
    """What the item's error rate is counted in."""
    words: EditCounts | None = None
    """None for languages that are scored by characters, too."""
    characters: EditCounts | None = None
    hallucinated_words: int | None = None
    """Words (or characters, by `unit`) where nothing is said or printed; None where something is."""
    words_found: Share | None = None
    """Words (or characters) of a page that were found, in whatever order."""
    keywords: Share | None = None
    word_times: TimeErrors | None = None
    speakers: SpeakerErrors | None = None

    @property
    def errors(self) -> EditCounts | None:
        """Return the counts in the item's unit."""
        return self.words if self.unit is Unit.WORD else self.characters


def score(item: Item, hypothesis: Hypothesis) -> Scores:
    """Score what was recognised against the references of its item.

    Raises:
        CommandError: the item has a diarization reference, and pyannote.metrics is not installed.
    """
    unit = error_unit(item.languages, item.reference or hypothesis.text)
    by_character = unit is Unit.CHARACTER
    keywords = _find_keywords(item, hypothesis.text, unit) if item.keywords else None
    speakers = None
    if item.speakers and hypothesis.speakers is not None:
        speakers = compare_speakers(item.speakers, hypothesis.speakers, item.duration or hypothesis.duration)
    times = None
    if item.words and hypothesis.words is not None:
        times = compare_times(item.words, hypothesis.words, item.languages)
    if item.reference is None:
        return Scores(unit, keywords=keywords, word_times=times, speakers=speakers)
    reference, found = _words_of(item, item.reference), _words_of(item, hypothesis.text)
    if by_character:
        reference, found = list(without_spaces("".join(reference))), list(without_spaces("".join(found)))
    edits = count_edits(reference, found)
    is_document = item.medium is Medium.DOCUMENT
    return Scores(
        unit,
        words=None if by_character else edits,
        characters=count_edits(_characters_of(item, item.reference, unit), _characters_of(item, hypothesis.text, unit)),
        hallucinated_words=None if reference else len(found),
        words_found=find_words(reference, found) if is_document and reference else None,
        keywords=keywords,
        word_times=times,
        speakers=speakers,
    )


def count_edits(reference: Sequence[str], found: Sequence[str]) -> EditCounts:
    """Count the edits of the shortest way from one sequence of words or characters to another."""
    counts = Counter(edit.tag for edit in Levenshtein.editops(reference, found))
    return EditCounts(counts["replace"], counts["delete"], counts["insert"], len(reference))


def find_words(reference: Sequence[str], found: Sequence[str]) -> Share:
    """Count the words of a reference that were found, each as often as it is there, in whatever order."""
    expected = Counter(reference)
    return Share((expected & Counter(found)).total(), expected.total())


def compare_times(
    reference: Sequence[WordTime], found: Sequence[WordTime], languages: Sequence[str] = ()
) -> TimeErrors:
    """Compare the times of the words that two sequences have in common, aligned by their text."""
    unit = error_unit(languages, "".join(word.word for word in reference))
    expected, recognised = _timed_tokens(reference, languages, unit), _timed_tokens(found, languages, unit)
    seconds, boundaries = 0.0, 0
    texts = [token.text for token in expected], [token.text for token in recognised]
    for block in Levenshtein.opcodes(*texts):
        if block.tag != "equal":
            continue
        pairs = zip(
            expected[block.src_start : block.src_end], recognised[block.dest_start : block.dest_end], strict=True
        )
        for one, other in pairs:
            for time, found_time in ((one.start, other.start), (one.end, other.end)):
                if time is not None and found_time is not None:
                    seconds += abs(time - found_time)
                    boundaries += 1
    return TimeErrors(seconds, boundaries)


@dataclass(frozen=True)
class _Token:
    """A word or character, with the times that are known of it: a word's first has its start, its last its end."""

    text: str
    start: float | None
    end: float | None


def _timed_tokens(words: Sequence[WordTime], languages: Sequence[str], unit: Unit) -> list[_Token]:
    tokens: list[_Token] = []
    for word in words:
        text = normalise_speech(word.word, languages)
        parts = text.split() if unit is Unit.WORD else list(without_spaces(text))
        for at, part in enumerate(parts):
            tokens.append(_Token(part, None if at else word.start, word.end if at == len(parts) - 1 else None))
    return tokens


def _words_of(item: Item, text: str) -> list[str]:
    folded = page_words(text) if item.medium is Medium.DOCUMENT else normalise_speech(text, item.languages)
    return folded.split()


def _characters_of(item: Item, text: str, unit: Unit) -> str:
    folded = normalise_page(text) if item.medium is Medium.DOCUMENT else normalise_speech(text, item.languages)
    return without_spaces(folded) if unit is Unit.CHARACTER else folded


def _find_keywords(item: Item, text: str, unit: Unit) -> Share:
    """Count the phrases that a text contains, without regard to case and punctuation."""
    said = normalise_speech(text, item.languages)
    phrases = [folded for keyword in item.keywords if (folded := normalise_speech(keyword, item.languages))]
    if unit is Unit.CHARACTER:
        said, phrases = without_spaces(said), [without_spaces(phrase) for phrase in phrases]
    else:
        said, phrases = f" {said} ", [f" {phrase} " for phrase in phrases]
    return Share(sum(phrase in said for phrase in phrases), len(phrases))
