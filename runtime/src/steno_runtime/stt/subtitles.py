"""Subtitle cues: words grouped so that each cue fits two lines and can be read in time. Pure."""

from __future__ import annotations

import bisect
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise

from steno_api.documents.transcript import Segment
from steno_runtime.stt.segments import separate
from steno_runtime.stt.typography import break_penalty, can_break, joined

LINE_WIDTH = 42
"""Columns of a line; wide characters (Hangul, kanji) take two."""
LINES = 2
MAX_CUE_SECONDS = 7.0
MIN_CUE_SECONDS = 1.0
"""How long a cue is shown at least, if the next one and the end of the audio leave the time."""
_SHORTEST_CUE_SECONDS = 0.01
"""What is left to a cue where there is room for none."""
_LONG_PAUSE_SECONDS = 0.3
_NEAR_COLUMNS = 12
"""How much more uneven lines may be for the sake of a better place to break."""


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


@dataclass(frozen=True)
class _Group:
    """The pieces of a cue."""

    pieces: tuple[_Piece, ...]
    speaker: str | None
    prefix: str = ""
    """A label that may stand in front of the text."""

    @property
    def start(self) -> float:
        return self.pieces[0].start

    @property
    def end(self) -> float:
        return max(piece.end for piece in self.pieces)

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces).strip()

    def fits(self) -> bool:
        if self.end - self.start > MAX_CUE_SECONDS:
            return False
        text = self.prefix + self.text
        return width(text) <= LINES * LINE_WIDTH + 1 and len(wrap(text)) <= LINES  # the 1: a space between the lines


def width(text: str) -> int:
    """Return the columns that a text takes."""
    return sum(_columns(char) for char in text)


@lru_cache(4096)
def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cues(segments: Sequence[Segment], *, end: float = 0.0, labelled: bool = False) -> list[Cue]:
    """Cut segments into cues.

    Each has at most two lines of 42 columns (a single longer word is alone in its cue) and lasts 7 s at most; cuts
    fall after punctuation or at pauses where one is near. A cue is shown for a second if there is room, and joined
    with its neighbour of the same speaker if there is not. No cue begins before the previous one ends, unless people
    speak at once, and none ends after the audio.

    Args:
        segments: in any order.
        end: of the audio, in seconds; 0: not known.
        labelled: whether the first line of a cue begins with its speaker where that changes.
    """
    limit = end if end > 0 and all(segment.start <= end for segment in segments) else math.inf
    groups = _joined_groups(list(_all_groups(segments)), limit)
    made: list[Cue] = []
    previous: str | None = None
    for (start, stop), group in sorted(zip(_times(groups, limit), groups, strict=True), key=lambda pair: pair[0]):
        label = _label(group.speaker) if labelled and group.speaker != previous else ""
        made.append(Cue(start, stop, wrap(label + group.text), group.speaker))
        previous = group.speaker
    return made


def wrap(text: str) -> tuple[str, ...]:
    """Break a text that does not fit one line into lines of about equal width, where the script may be broken."""
    edges = list(accumulate((_columns(char) for char in text), initial=0))
    if edges[-1] <= LINE_WIDTH:
        return (text,) if text else ()
    fits: list[tuple[int, int, tuple[str, str]]] = []
    for at in range(1, len(text)):
        if max(edges[at], edges[-1] - edges[at]) > LINE_WIDTH + 1 or not _may_break(text, at):  # 1: a space at the end
            continue
        first, second = text[:at].rstrip(), text[at:].lstrip()
        if max(width(first), width(second)) <= LINE_WIDTH:
            # Balanced lines, and a better place to break before a worse one.
            penalty = break_penalty(text[:at], text[at:])
            fits.append((penalty, abs(width(first) - width(second)), (first, second)))
    if fits:
        near = min(unevenness for _, unevenness, _ in fits) + _NEAR_COLUMNS
        return min(one for one in fits if one[1] <= near)[2]
    lines: list[str] = []
    begin = 0
    while edges[-1] - edges[begin] > LINE_WIDTH:
        full = max(begin + 1, bisect.bisect_right(edges, edges[begin] + LINE_WIDTH) - 1)
        cut = next((at for at in range(full, begin, -1) if _may_break(text, at)), full)  # one endless word: anywhere
        lines.append(text[begin:cut].strip())
        begin = cut
    return tuple(line for line in (*lines, text[begin:].strip()) if line)


def _may_break(text: str, at: int) -> bool:
    return can_break(text[max(0, at - 2) : at], text[at : at + 2])


def _label(speaker: str | None) -> str:
    return "" if speaker is None else f"[{speaker}] "


def _all_groups(segments: Sequence[Segment]) -> Iterator[_Group]:
    """Yield the groups of pieces that make a cue each, by the segments' beginnings.

    There is room for a speaker's label wherever one may be shown, so that all formats have the same cues.
    """
    ordered = sorted(segments, key=lambda segment: segment.start)
    previous: str | None = None
    latest = 0.0
    for index, segment in enumerate(ordered):
        pieces = _pieces(segment)
        if not pieces:
            continue
        following = ordered[index + 1].start if index + 1 < len(ordered) else math.inf
        at_once = segment.start < latest or following < segment.end  # cues of others may come between its own
        latest = max(latest, segment.end)
        label = _label(segment.speaker)
        first = label if at_once or segment.speaker != previous else ""
        yield from _groups(pieces, segment.speaker, first, label if at_once else "")
        previous = segment.speaker


def _pieces(segment: Segment) -> list[_Piece]:
    """Return the segment's words as its text has them; without words, the text's own, spread over its time."""
    if not segment.words:
        return _spread(segment)
    pieces: list[_Piece] = []
    position = 0
    for word in segment.words:
        found = segment.text.find(word.word, position)
        between = " " if found < 0 else segment.text[position:found]
        pieces.append(_Piece(between + word.word, word.start, word.end))
        if found >= 0:
            position = found + len(word.word)
    return pieces


def _spread(segment: Segment) -> list[_Piece]:
    text = " ".join(segment.text.split())
    edges = [0, *(at for at in range(1, len(text)) if text[at - 1] != " " and can_break(text[at - 1], text[at]))]
    share = (segment.end - segment.start) / max(1, len(text))
    return [
        _Piece(text[begin:stop], segment.start + begin * share, segment.start + stop * share)
        for begin, stop in pairwise([*edges, len(text)])
        if text
    ]


def _groups(pieces: Sequence[_Piece], speaker: str | None, prefix: str, later_prefix: str) -> Iterator[_Group]:
    rest = tuple(pieces)
    while rest:
        count = _most(rest, width(prefix))
        while count > 1 and not _Group(rest[:count], speaker, prefix).fits():
            count -= 1
        if count < len(rest):
            count = _best_cut(rest, count)
        yield _Group(rest[:count], speaker, prefix)
        rest, prefix = rest[count:], later_prefix


def _most(pieces: Sequence[_Piece], columns: int) -> int:
    """Return how many pieces fit a cue at most, by their widths alone; at least one.

    Args:
        pieces: all that are left.
        columns: that are taken already.
    """
    for count, piece in enumerate(pieces):
        columns += width(piece.text)
        if columns > LINES * LINE_WIDTH + 2:  # the 2: spaces at the beginning and between the lines
            return max(1, count)
    return len(pieces)


def _best_cut(pieces: Sequence[_Piece], most: int) -> int:
    """Return how many pieces a cue takes: up to punctuation or a pause in the second half, else until it is full.

    Args:
        pieces: more than the cue has room for.
        most: how many it has room for.
    """
    allowed = [cut for cut in range(1, most + 1) if can_break(pieces[cut - 1].text, pieces[cut].text)]
    if not allowed:
        return most
    later = [cut for cut in allowed if cut >= (most + 1) // 2] or allowed[-1:]

    def penalty(cut: int) -> int:
        last, following = pieces[cut - 1], pieces[cut]
        if following.start - last.end > _LONG_PAUSE_SECONDS:
            return 0
        return break_penalty(last.text, following.text)

    return min(later, key=lambda cut: (penalty(cut), -cut))


def _joined_groups(groups: Sequence[_Group], limit: float) -> list[_Group]:
    """Join groups that would be shown too short with a neighbour of the same speaker, where they fit into one cue."""
    made: list[_Group] = []
    for index, group in enumerate(groups):
        last = made[-1] if made else None
        following = groups[index + 1].start if index + 1 < len(groups) else limit
        if (
            last is not None
            and last.speaker == group.speaker
            and min(group.start - last.start, following - group.start) < MIN_CUE_SECONDS
            and group.start - last.end <= MIN_CUE_SECONDS
        ):
            glue = joined((last.text, group.text))[len(last.text) : -len(group.text)] if group.text else ""
            first, *others = group.pieces
            whole = replace(last, pieces=(*last.pieces, replace(first, text=glue + first.text.lstrip()), *others))
            if whole.fits():
                made[-1] = whole
                continue
        made.append(group)
    return made


def _times(groups: Sequence[_Group], limit: float) -> list[tuple[float, float]]:
    """Return when each group is shown, in seconds."""
    times = [(group.start, min(group.end, group.start + MAX_CUE_SECONDS)) for group in groups]
    for speaker in {group.speaker for group in groups}:  # only different people speak at once
        own = [index for index, group in enumerate(groups) if group.speaker == speaker]
        for index, span in zip(own, separate([times[i] for i in own], _SHORTEST_CUE_SECONDS, limit), strict=True):
            times[index] = span
    order = sorted(range(len(times)), key=lambda index: times[index])
    busy = 0.0
    for place, index in enumerate(order, 1):
        start, end = times[index]
        following = times[order[place]][0] if place < len(order) else limit
        until = max(end, min(start + MIN_CUE_SECONDS, following, limit))
        # The last words are shown a little earlier rather than for an instant.
        begin = min(start, max(busy, until - MIN_CUE_SECONDS)) if until == limit else start
        times[index] = begin, until
        busy = max(busy, until)
    return times
