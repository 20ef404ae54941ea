"""Markdown of what stands on a page: paragraphs, headings and lists; nothing else comes about by accident."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from steno_api.documents.pages import Region

_INLINE = re.compile(r"([\\`*_\[\]<>|~]|&(?=#?\w+;))")
_START = re.compile(r"^([#+=-]|[0-9]{1,9}(?=[.)](?:\s|$)))")
_CLOSING = re.compile(r"(?:(?<=\s)|^)#(?=#*$)")
"""Where the number signs begin that would end a heading, and be dropped."""

_SURE = re.compile(r"[•◦▪‣]\s*(?=\S)")
_LIKELY = re.compile(r"([-\u2013—*+·●○■□])\s+(?=\S)")
"""Also a minus, a pause or a word broken by hand: a list's only where a region has two of the same."""
_NUMBER = re.compile(r"([1-9][0-9]{0,2})([.)])\s+(?=\S)")
"""Also a date or the end of a sentence: a list's only where the next number, or the one before, begins a line too."""


@dataclass(frozen=True)
class _Marker:
    """How an item begins."""

    length: int
    """Characters of the line that are the marker's."""
    number: int | None = None
    delimiter: str = ""


@dataclass(frozen=True)
class _Item:
    marker: _Marker | None
    """None: a paragraph."""
    text: str

    @property
    def list_kind(self) -> str | None:
        """Items of one kind that follow one another are one list."""
        return None if self.marker is None else self.marker.delimiter or "-"


def markdown(regions: Sequence[Region], joint: str) -> str:
    """Returns the Markdown (CommonMark) of a page's regions; all their text is in it.

    Lines of a paragraph are joined, and so are those of a list's item; each item has a line of its own. Bullets become
    `-`, numbers stay what they are.

    Args:
        regions: in reading order.
        joint: what stands between two lines that are joined: nothing in scripts that know no spaces.
    """
    blocks: list[str] = []
    last: _Item | None = None
    for region in regions:
        lines = [text for line in region.lines if (text := " ".join(line.text.splitlines()).strip())]
        if region.kind == "heading":
            blocks.extend([_heading(joint.join(lines))] if lines else [])
            last = None
            continue
        for kind, group in groupby(_items(lines, joint), key=lambda item: item.list_kind):
            for run in _runs(list(group)):
                if _would_go_on(last, run[0]):
                    blocks.append("<!-- another list -->")
                # Paragraphs never follow one another within a region: groupby and _runs part nothing else.
                blocks.append("\n".join(_line(item) for item in run) if kind else _escape(run[0].text))
                last = run[-1]
    return "\n\n".join(blocks)


def _heading(text: str) -> str:
    return "## " + _CLOSING.sub(r"\\#", _INLINE.sub(r"\\\1", text))


def _escape(text: str) -> str:
    """Escapes what would be more than text in a paragraph, or in an item."""
    text = _INLINE.sub(r"\\\1", text)
    return _START.sub(lambda found: f"{found[1]}\\" if found[1].isdigit() else f"\\{found[1]}", text)


def _line(item: _Item) -> str:
    marker = item.marker
    assert marker is not None  # noqa: S101 - a list has items only
    return f"{'-' if marker.number is None else f'{marker.number}{marker.delimiter}'} {_escape(item.text)}"


def _items(lines: Sequence[str], joint: str) -> Iterator[_Item]:
    markers = _markers(lines)
    begins = [index for index, marker in enumerate(markers) if marker is not None or index == 0]
    for begin, end in pairwise([*begins, len(lines)]):
        marker = markers[begin]
        first = lines[begin][marker.length if marker else 0 :]
        yield _Item(marker, joint.join([first, *lines[begin + 1 : end]]))


def _markers(lines: Sequence[str]) -> list[_Marker | None]:
    """Tells which lines begin an item; a region is looked at as a whole, since one line says too little."""
    likely = [found and found[1] for found in map(_LIKELY.match, lines)]
    numbers = [_NUMBER.match(line) for line in lines]
    numbered = [(index, int(found[1]), found[2]) for index, found in enumerate(numbers) if found]
    in_order: set[int] = set()
    for (index, number, delimiter), (after, following, same) in pairwise(numbered):
        if following == number + 1 and same == delimiter:
            in_order |= {index, after}
    markers: list[_Marker | None] = []
    for index, line in enumerate(lines):
        number = numbers[index]
        if found := _SURE.match(line):
            markers.append(_Marker(found.end()))
        elif likely[index] and likely.count(likely[index]) > 1:
            found = _LIKELY.match(line)
            markers.append(_Marker(found.end()) if found else None)
        elif number is not None and index in in_order:
            markers.append(_Marker(number.end(), int(number[1]), number[2]))
        else:
            markers.append(None)
    return markers


def _runs(items: list[_Item]) -> Iterator[list[_Item]]:
    """Parts items of one kind where numbers do not go on: Markdown numbers a list by its first item alone."""
    begin = 0
    for index in range(1, len(items) + 1):
        if index == len(items) or _would_go_on(items[index - 1], items[index]):
            yield items[begin:index]
            begin = index


def _would_go_on(before: _Item | None, item: _Item) -> bool:
    """Whether Markdown would take `item` for the next of a list in which it is not."""
    if before is None or before.marker is None or item.marker is None or item.marker.number is None:
        return False
    return before.list_kind == item.list_kind and item.marker.number != (before.marker.number or 0) + 1
