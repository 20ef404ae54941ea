"""Markdown (CommonMark) of a page: paragraphs, headings and lists; all other markup in its text is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from steno_api.documents.pages import Region

_INLINE = re.compile(r"([\\`*_\[\]<>|~]|&(?=#?\w+;))")
_START = re.compile(r"^([#+=-]|[0-9]{1,9}(?=[.)](?:\s|$)))")
_CLOSING = re.compile(r"(?:(?<=\s)|^)#(?=#*$)")
"""Where trailing number signs begin, which Markdown would drop as the end of a heading."""

_BULLET = re.compile(r"[•◦▪‣]\s*(?=\S)")
_POSSIBLE_BULLET = re.compile(r"([-\u2013—*+·●○■□])\s+(?=\S)")
"""Also a minus, a pause or a hyphen: a list only where a region has two of the same."""
_NUMBER = re.compile(r"([1-9][0-9]{0,2})([.)])\s+(?=\S)")
"""Also a date or the end of a sentence: a list only where the next or the previous number begins a line too."""


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
        """Return the kind of list; consecutive items of one kind are one list."""
        return None if self.marker is None else self.marker.delimiter or "-"


def markdown(regions: Sequence[Region], separator: str) -> str:
    """Return the Markdown of a page's regions; all their text is in it.

    Lines of a paragraph or of a list's item are joined; each item has a line of its own. Bullets become `-`, numbers
    stay.

    Args:
        regions: in reading order.
        separator: put between two lines that are joined; empty in scripts without spaces.
    """
    blocks: list[str] = []
    last: _Item | None = None
    for region in regions:
        lines = [text for line in region.lines if (text := " ".join(line.text.splitlines()).strip())]
        if region.kind == "heading":
            blocks.extend([_heading(separator.join(lines))] if lines else [])
            last = None
            continue
        for kind, group in groupby(_items(lines, separator), key=lambda item: item.list_kind):
            for run in _runs(list(group)):
                if _would_continue(last, run[0]):
                    blocks.append("<!-- another list -->")
                # Paragraphs never follow one another within a region: groupby and _runs part nothing else.
                blocks.append("\n".join(_line(item) for item in run) if kind else _escape(run[0].text))
                last = run[-1]
    return "\n\n".join(blocks)


def _heading(text: str) -> str:
    return "## " + _CLOSING.sub(r"\\#", _INLINE.sub(r"\\\1", text))


def _escape(text: str) -> str:
    """Escape what would be markup in a paragraph or an item."""
    text = _INLINE.sub(r"\\\1", text)
    return _START.sub(lambda found: f"{found[1]}\\" if found[1].isdigit() else f"\\{found[1]}", text)


def _line(item: _Item) -> str:
    marker = item.marker
    assert marker is not None  # noqa: S101 - a list has items only
    return f"{'-' if marker.number is None else f'{marker.number}{marker.delimiter}'} {_escape(item.text)}"


def _items(lines: Sequence[str], separator: str) -> Iterator[_Item]:
    markers = _markers(lines)
    begins = [index for index, marker in enumerate(markers) if marker is not None or index == 0]
    for begin, end in pairwise([*begins, len(lines)]):
        marker = markers[begin]
        first = lines[begin][marker.length if marker else 0 :]
        yield _Item(marker, separator.join([first, *lines[begin + 1 : end]]))


def _markers(lines: Sequence[str]) -> list[_Marker | None]:
    """Return the marker of each line that begins an item; it takes the whole region, as one line says too little."""
    possible = [found and found[1] for found in map(_POSSIBLE_BULLET.match, lines)]
    numbers = [_NUMBER.match(line) for line in lines]
    numbered = [(index, int(found[1]), found[2]) for index, found in enumerate(numbers) if found]
    in_order: set[int] = set()
    for (index, number, delimiter), (after, following, same) in pairwise(numbered):
        if following == number + 1 and same == delimiter:
            in_order |= {index, after}
    markers: list[_Marker | None] = []
    for index, line in enumerate(lines):
        number = numbers[index]
        if found := _BULLET.match(line):
            markers.append(_Marker(found.end()))
        elif possible[index] and possible.count(possible[index]) > 1:
            found = _POSSIBLE_BULLET.match(line)
            markers.append(_Marker(found.end()) if found else None)
        elif number is not None and index in in_order:
            markers.append(_Marker(number.end(), int(number[1]), number[2]))
        else:
            markers.append(None)
    return markers


def _runs(items: list[_Item]) -> Iterator[list[_Item]]:
    """Split items of one kind where the numbers are not consecutive: Markdown numbers a list by its first item only."""
    begin = 0
    for index in range(1, len(items) + 1):
        if index == len(items) or _would_continue(items[index - 1], items[index]):
            yield items[begin:index]
            begin = index


def _would_continue(before: _Item | None, item: _Item) -> bool:
    """Return whether Markdown would take `item` as the next one of a list that it does not belong to."""
    if before is None or before.marker is None or item.marker is None or item.marker.number is None:
        return False
    return before.list_kind == item.list_kind and item.marker.number != (before.marker.number or 0) + 1
