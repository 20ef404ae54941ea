# ruff: noqa: RUF001 - full-width punctuation is meant
"""Segmentation: from timed words and speaker turns to sentences of one speaker each.

Pure decisions over words and times: nothing here touches audio or a model.
"""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from steno_api.documents.transcript import Segment, Word
from steno_runtime.stt.engine import TimedWord

MAX_PAUSE_SECONDS = 0.8
"""Silence between words that ends a segment."""
MAX_SEGMENT_SECONDS = 30.0
_SLACK_SECONDS = 0.12
"""Seconds that a word may reach beyond detected speech: soft onsets are found late, soft endings early."""
_MIN_WORD_SECONDS = 0.02
_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", "…", "؟", "।")
_CLOSING = "\"'”’)]»」』）"
_ABBREVIATIONS = frozenset({"mr.", "mrs.", "ms.", "dr.", "st.", "prof.", "vs.", "no.", "jr.", "sr."})


@dataclass(frozen=True)
class SpeakerTurn:
    """One speaker speaks from `start` to `end`, in seconds."""

    start: float
    end: float
    speaker: str


def clamp_to_speech(words: Iterable[TimedWord], speech: Sequence[tuple[float, float]]) -> list[TimedWord]:
    """Clamp words to the speech they touch, and put their times in order.

    Args:
        words: in the order spoken, times in seconds; cross-attention lets words reach into pauses.
        speech: sorted spans of speech that do not overlap, in seconds.

    Returns:
        The words: each takes some time, and none begins before its predecessor ends or ends after the last of them did.
    """
    starts = [start for start, _ in speech]
    clamped: list[TimedWord] = []
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
            start, end = max(start, begin - _SLACK_SECONDS), min(end, stop + _SLACK_SECONDS)
        clamped.append(replace(word, start=start, end=max(start, end)))
    return in_order(clamped)


def in_order(words: Sequence[TimedWord]) -> list[TimedWord]:
    """Put the times of words in order: each takes some time, and begins when its predecessor has ended.

    No word ends after the last of them did: they were cut off where the audio is.
    """
    limit = max((word.end for word in words), default=0.0)
    spans = separate([(word.start, word.end) for word in words], _MIN_WORD_SECONDS, limit)
    return [replace(word, start=start, end=end) for word, (start, end) in zip(words, spans, strict=True)]


def separate(spans: Sequence[tuple[float, float]], least: float, limit: float) -> list[tuple[float, float]]:
    """Move spans that share an instant apart: none overlaps the next, each is `least` long, the last ends at `limit`.

    Spans move as little as that takes: later ones, then, where that reaches the limit, earlier ones.

    Args:
        spans: start and end of each, in seconds, in the order wanted.
        least: shortest length; less where there is no room for all of them.
        limit: end of the last one at most, in seconds; more where it is at the very beginning.
    """
    limit = max(limit, least)
    least = min(least, limit / max(1, len(spans)))
    starts: list[float] = []
    earliest = 0.0
    for start, _ in spans:
        starts.append(max(start, earliest))
        earliest = starts[-1] + least
    made: list[tuple[float, float]] = []
    for start, (_, end) in zip(reversed(starts), reversed(spans), strict=True):
        begin = max(0.0, min(start, limit - least))  # rounding may lead below 0
        made.append((begin, min(max(begin + least, end), limit)))
        limit = begin
    return made[::-1]


def assign_word_speakers(words: Sequence[TimedWord], turns: Sequence[SpeakerTurn]) -> list[str | None]:
    """Return the speaker of each word: whose turns it overlaps most, else whose turn is nearest.

    Args:
        words: times in seconds.
        turns: in any order; they may overlap.

    Returns:
        One speaker per word; None throughout without turns.
    """
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
    """Return whether a word ends a sentence; initials and common abbreviations do not."""
    ending = word.rstrip(_CLOSING)
    if not ending.endswith(_SENTENCE_ENDS):
        return False
    return not (
        ending.endswith(".") and (ending.lower() in _ABBREVIATIONS or (len(ending) == 2 and ending[0].isupper()))
    )


def smooth_speakers(words: Sequence[TimedWord], speakers: Sequence[str | None]) -> list[str | None]:
    """Give a single stray word to the speaker of the sentence around it; return the speaker of each word.

    Word times are off by a few hundredths of a second where turns meet: a sentence's first or last word, or one
    inside it, alone with another speaker, is such an error far more often than an interruption.

    Args:
        words: in the order spoken, times in seconds.
        speakers: the speaker of each word.
    """
    fixed = list(speakers)
    begin = 0
    for index, word in enumerate(words):
        last = index + 1 == len(words)
        if not (last or ends_sentence(word.text) or words[index + 1].start - word.end > MAX_PAUSE_SECONDS):
            continue
        sentence = fixed[begin : index + 1]
        for speaker in set(sentence):
            others = {other for other in sentence if other != speaker}
            if len(sentence) >= 4 and sentence.count(speaker) == 1 and len(others) == 1:
                fixed[begin : index + 1] = [next(iter(others))] * len(sentence)
        begin = index + 1
    return fixed


def group_into_segments(words: Sequence[TimedWord], speakers: Sequence[str | None]) -> list[Segment]:
    """Group words into segments: a sentence, or the words between two pauses, by one speaker in one language.

    Args:
        words: in the order spoken, seconds from the beginning of the audio.
        speakers: the speaker of each word; None throughout without diarization.
    """
    found: list[Segment] = []
    group: list[int] = []
    for index, word in enumerate(words):
        if group:
            last = words[group[-1]]
            if (
                speakers[index] != speakers[group[-1]]
                or word.language != last.language
                or word.start - last.end > MAX_PAUSE_SECONDS
                or ends_sentence(last.text)
                or word.end - words[group[0]].start > MAX_SEGMENT_SECONDS
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
        language=words[0].language or None,
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


def rename_speakers(segments: Sequence[Segment]) -> list[Segment]:
    """Rename speakers to SPEAKER_00, SPEAKER_01, … in the order they first appear."""
    names: dict[str, str] = {}
    for segment in segments:
        if segment.speaker is not None:
            names.setdefault(segment.speaker, f"SPEAKER_{len(names):02d}")

    def renamed(name: str | None) -> str | None:
        return None if name is None else names[name]

    return [
        segment.model_copy(
            update={
                "speaker": renamed(segment.speaker),
                "words": [word.model_copy(update={"speaker": renamed(word.speaker)}) for word in segment.words],
            }
        )
        for segment in segments
    ]
