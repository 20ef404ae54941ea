# ruff: noqa: RUF001 - full-width punctuation is meant
"""From words to segments of one speaker each: pure decisions over words, speech and speaker turns."""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from steno_api.documents.transcript import Segment, Word
from steno_runtime.stt.engine import TimedWord

LONGEST_PAUSE = 0.8
"""Seconds of silence between words that end a segment."""
LONGEST_SEGMENT = 30.0
_SLACK = 0.12
"""Seconds that a word may stand out of detected speech: soft onsets and endings are found late and early."""
_SHORTEST_WORD = 0.02
_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", "…", "؟", "।")
_CLOSING = "\"'”’)]»」』）"
_ABBREVIATIONS = frozenset({"mr.", "mrs.", "ms.", "dr.", "st.", "prof.", "vs.", "no.", "jr.", "sr."})


@dataclass(frozen=True)
class Turn:
    """Somebody speaks: seconds, and who."""

    start: float
    end: float
    speaker: str


def snap(words: Iterable[TimedWord], speech: Sequence[tuple[float, float]]) -> list[TimedWord]:
    """Pulls words into the speech they touch, and puts their times in order.

    Args:
        words: words in the order spoken, times in seconds; cross-attention lets words reach into pauses.
        speech: sorted spans of speech that do not overlap, in seconds.

    Returns:
        The words, none starting before its predecessor or ending before it starts.
    """
    starts = [start for start, _ in speech]
    snapped: list[TimedWord] = []
    earliest = 0.0
    for word in words:
        start, end = word.start, word.end
        # Spans it touches: from the last that starts before it, on.
        first = max(0, bisect.bisect_right(starts, start) - 1)
        touched = [
            (min(end, stop) - max(start, begin), begin, stop)
            for begin, stop in speech[first : bisect.bisect_left(starts, end)]
            if min(end, stop) > max(start, begin)
        ]
        if touched:
            _, begin, stop = max(touched)  # a word is in one span: the one it is most in
            start, end = max(start, begin - _SLACK), min(end, stop + _SLACK)
        start = max(start, earliest)
        end = max(end, start + _SHORTEST_WORD)
        snapped.append(replace(word, start=start, end=end))
        earliest = start
    # A word ends where the next begins, at the latest.
    ends = [max(word.start, min(word.end, following.start)) for word, following in pairwise(snapped)]
    return [replace(word, end=end) for word, end in zip(snapped, ends, strict=False)] + snapped[len(ends) :]


def assign(words: Sequence[TimedWord], turns: Sequence[Turn]) -> list[str | None]:
    """Says who spoke each word: whose turns it overlaps most, else whose turn is nearest; None without turns."""
    ordered = sorted(turns, key=lambda turn: turn.start)
    starts = [turn.start for turn in ordered]
    longest = max((turn.end - turn.start for turn in ordered), default=0.0)
    speakers: list[str | None] = []
    for word in words:
        low = bisect.bisect_left(starts, word.start - longest)
        high = bisect.bisect_left(starts, word.end)
        overlap: dict[str, float] = {}
        for turn in ordered[low:high]:
            shared = min(word.end, turn.end) - max(word.start, turn.start)
            if shared > 0:
                overlap[turn.speaker] = overlap.get(turn.speaker, 0.0) + shared
        if overlap:
            speakers.append(max(overlap, key=lambda speaker: overlap[speaker]))
        elif ordered:
            # Long turns are few: the nearest is among those just before and after, and the longest that reach here.
            near = ordered[max(0, low - 1) : high + 1] or ordered[-1:]
            speakers.append(min(near, key=lambda turn: max(turn.start - word.end, word.start - turn.end)).speaker)
        else:
            speakers.append(None)
    return speakers


def ends_sentence(word: str) -> bool:
    """Whether a word ends a sentence: initials and common abbreviations do not."""
    bare = word.rstrip(_CLOSING)
    if not bare.endswith(_SENTENCE_ENDS):
        return False
    return not (bare.endswith(".") and (bare.lower() in _ABBREVIATIONS or (len(bare) == 2 and bare[0].isupper())))


def smooth(words: Sequence[TimedWord], speakers: Sequence[str | None]) -> list[str | None]:
    """Gives a single word back to the speaker of the sentence around it.

    Word times are off by a few hundredths of a second where turns meet: a sentence's first or last word, or one
    inside it, alone with another speaker, is such an error far more often than an interruption.
    """
    fixed = list(speakers)
    begin = 0
    for index, word in enumerate(words):
        last = index + 1 == len(words)
        if not (last or ends_sentence(word.text) or words[index + 1].start - word.end > LONGEST_PAUSE):
            continue
        sentence = fixed[begin : index + 1]
        for speaker in set(sentence):
            others = {other for other in sentence if other != speaker}
            if len(sentence) >= 4 and sentence.count(speaker) == 1 and len(others) == 1:
                fixed[begin : index + 1] = [next(iter(others))] * len(sentence)
        begin = index + 1
    return fixed


def segments(words: Sequence[TimedWord], speakers: Sequence[str | None]) -> list[Segment]:
    """Groups words into segments: a sentence, or what is said between two pauses, by one speaker.

    Args:
        words: in the order spoken, seconds from the beginning of the audio.
        speakers: who spoke each; None throughout when nobody was told apart.
    """
    found: list[Segment] = []
    group: list[int] = []
    for index, word in enumerate(words):
        if group:
            last = words[group[-1]]
            if (
                speakers[index] != speakers[group[-1]]
                or word.start - last.end > LONGEST_PAUSE
                or ends_sentence(last.text)
                or word.end - words[group[0]].start > LONGEST_SEGMENT
            ):
                found.append(_segment([words[i] for i in group], speakers[group[0]]))
                group = []
        group.append(index)
    if group:
        found.append(_segment([words[i] for i in group], speakers[group[0]]))
    return found


def _segment(words: Sequence[TimedWord], speaker: str | None) -> Segment:
    text = "".join(f" {word.text}" if word.spaced else word.text for word in words).strip()
    return Segment(
        start=round(words[0].start, 3),
        end=round(max(word.end for word in words), 3),
        text=unicodedata.normalize("NFC", text),
        speaker=speaker,
        confidence=round(sum(word.probability for word in words) / len(words), 4),
        words=[
            Word(
                word=unicodedata.normalize("NFC", word.text),
                start=round(word.start, 3),
                end=round(word.end, 3),
                confidence=round(word.probability, 4),
                speaker=speaker,
            )
            for word in words
        ],
    )
