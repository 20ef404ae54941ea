# ruff: noqa: RUF001 - full-width punctuation is meant
"""Subtitle cues: words grouped so that each cue fits two lines and can be read in time. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from steno_api.documents.transcript import Segment, Word

LINE_WIDTH = 42
"""Columns of a line; wide characters (Hangul, kanji) take two."""
LINES = 2
MAX_CUE_SECONDS = 7.0
MIN_CUE_SECONDS = 0.1
_BREAK_AFTER = (".", "!", "?", ",", ";", ":", "。", "、", "，", "！", "？", "…")


@dataclass(frozen=True)
class Cue:
    """A subtitle: one or two lines, shown from `start` to `end` (seconds)."""

    start: float
    end: float
    lines: tuple[str, ...]
    speaker: str | None


@dataclass(frozen=True)
class _Piece:
    """A word with the text before it, so that joining pieces gives the segment's text."""

    text: str
    start: float
    end: float


def width(text: str) -> int:
    """Return the columns that a text takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def cues(segments: Sequence[Segment]) -> list[Cue]:
    """Cut segments into cues.

    Each has at most two lines of 42 columns (a single longer word is alone in its cue) and lasts 7 s at most; cuts
    fall after punctuation or at pauses where one is near. No cue begins before the previous one ends, unless people
    speak at once.
    """
    made: list[Cue] = []
    for segment in segments:
        for group in _groups(_pieces(segment)):
            start = group[0].start
            end = max(start + MIN_CUE_SECONDS, min(max(piece.end for piece in group), start + MAX_CUE_SECONDS))
            made.append(Cue(start, end, wrap("".join(piece.text for piece in group).strip()), segment.speaker))
    # A very short cue is shown a little longer, but not into the next.
    for index, (cue, following) in enumerate(pairwise(made[:])):
        if cue.start < following.start < cue.end:
            made[index] = replace(cue, end=following.start)
    return made


def wrap(text: str) -> tuple[str, ...]:
    """Break a text that does not fit one line into lines of about equal width; at spaces first, else anywhere."""
    if width(text) <= LINE_WIDTH:
        return (text,) if text else ()
    words = text.split(" ")
    fits: list[tuple[bool, int, tuple[str, str]]] = []
    for index in range(1, len(words)):
        first, second = " ".join(words[:index]), " ".join(words[index:])
        if max(width(first), width(second)) <= LINE_WIDTH:
            # Balanced lines, and a break after punctuation before one elsewhere.
            fits.append((not first.endswith(_BREAK_AFTER), abs(width(first) - width(second)), (first, second)))
    if fits:
        near = min(unbalance for _, unbalance, _ in fits) + 12
        return min(one for one in fits if one[1] <= near)[2]
    lines: list[str] = []
    line = ""
    for char in text:  # no space to break at: Chinese, Japanese, or one endless word
        if width(line + char) > LINE_WIDTH:
            lines.append(line.strip())
            line = ""
        line += char
    return tuple(piece for piece in (*lines, line.strip()) if piece)


def _pieces(segment: Segment) -> list[_Piece]:
    """Return the segment's words as its text has them; without words, the text's own, spread over its time."""
    words: list[Word] = segment.words
    if not words:
        texts = segment.text.split()
        share = (segment.end - segment.start) / max(1, len(texts))
        words = [
            Word(word=text, start=segment.start + i * share, end=segment.start + (i + 1) * share, confidence=0)
            for i, text in enumerate(texts)
        ]
    pieces: list[_Piece] = []
    position = 0
    for word in words:
        found = segment.text.find(word.word, position)
        between = " " if found < 0 else segment.text[position:found]
        pieces.append(_Piece(between + word.word, word.start, word.end))
        if found >= 0:
            position = found + len(word.word)
    return pieces


def _groups(pieces: Sequence[_Piece]) -> Iterator[Sequence[_Piece]]:
    rest = list(pieces)
    while rest:
        count = 1
        while count < len(rest) and _fits(rest[: count + 1]):
            count += 1
        if count < len(rest):
            # More follows: cut after punctuation or at a pause in the second half, else where it is full.
            better = [
                cut
                for cut in range((count + 1) // 2, count + 1)
                if rest[cut - 1].text.endswith(_BREAK_AFTER) or rest[cut].start - rest[cut - 1].end > 0.3
            ]
            count = max(1, better[-1] if better else count)
        yield rest[:count]
        rest = rest[count:]


def _fits(group: Sequence[_Piece]) -> bool:
    lines = wrap("".join(piece.text for piece in group).strip())
    return (
        len(lines) <= LINES
        and all(width(line) <= LINE_WIDTH for line in lines)
        and group[-1].end - group[0].start <= MAX_CUE_SECONDS
    )
