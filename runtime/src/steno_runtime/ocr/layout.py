"""Reading order: lines are grouped into rows, columns and regions, by their positions.

Pages in Arabic or Hebrew are arranged as if in a mirror; within a line engines give the logical order themselves.
Lines that run down or up, as in vertical writing, are arranged as the rows of a page that is turned.
"""

from __future__ import annotations

import math
import statistics
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product
from typing import Literal

from steno_runtime.ocr.engines.base import RecognizedLine, RecognizedWord
from steno_runtime.ocr.geometry import Quad, bounds, box, direction
from steno_runtime.ocr.vertical import laid_down, laid_down_from_up, stood_up, stood_up_again

_GUTTER = 0.9
"""A column gap is at least this many line heights wide."""
_NARROW, _MANY = 0.15, 6
"""A gap of this many line heights is one, too, between columns of at least so many lines: the detector's boxes reach
beyond their letters, and the ends of words do not stand below each other in so many lines by chance."""
_PROSE = 6.0
"""Columns hold lines of at least this many line heights on average; narrower cells are a table's, read by row."""
_MAX_STRIPS_WITHOUT_GUTTER = 6
"""A run of strips ends after this many without a common gutter."""
_MAX_OVERLAP = 0.25
"""Detected lines may overlap by this share of their height and still be one below the other."""
_PARAGRAPH_GAP = 0.75
"""A gap that is this many line heights more than the usual one begins a new region."""
_ROW_OFFSET = 0.3
"""Lines beside each other whose middles are further apart, in line heights, are not of one row."""
_BESIDE = 0.35
"""Lines are beside each other if they share this much of their height; boxes of neighbouring rows may overlap a bit."""
_ALIKE = 0.7
"""Only lines whose heights differ by no more than this factor are compared: a footnote's mark stands higher."""
_CELL_GAP = 0.3
"""The least gap, in line heights, between cells whose lines are not rows."""
_SPACE, _CUT = 0.6, 3
"""Where so many lines of an engine's blocks go on in another block after a gap of no more than this many line heights,
a space between words, the engine has taken chance for a gutter."""
_GUESSED = 0.1
"""Share of a page's characters, in lines beside each other that are neither rows nor columns, from which on the order
is named as a guess."""
_FIGURE_GAP = 1.0
"""The gap, in line heights, between cells of figures; between the parts of a number it is smaller."""
_HEADING = 1.35
"""A heading's letters are at least this many times as high as the page's usual ones."""


@dataclass(frozen=True)
class Block:
    """Lines of one region in reading order."""

    kind: Literal["heading", "paragraph"]
    lines: tuple[RecognizedLine, ...]


@dataclass(frozen=True)
class _Deskewed:
    """A line with its upright bounds once the page's skew is taken out; mirrored where the right is read first."""

    line: RecognizedLine
    left: float
    top: float
    right: float
    bottom: float
    mirrored: bool = False

    @property
    def height(self) -> float:
        return self.bottom - self.top


_Sides = tuple[list[_Deskewed], list[_Deskewed]]


def arrange(lines: Sequence[RecognizedLine]) -> list[Block]:
    """Return the regions of a page in reading order; every line is in exactly one, fragments of a row are joined.

    Lines whose engine numbered its blocks keep that order.
    """
    lines = [line for line in lines if line.text.strip()]
    if not lines:
        return []
    if any(line.vertical or (line.block is None and direction(line.quad) != "across") for line in lines):
        return _arrange_turned(lines)
    usual = statistics.median(_letter_height(line) for line in lines)
    angle = skew(lines)
    if all(line.block is not None for line in lines) and not _cuts_rows([_deskew(line, angle) for line in lines]):
        groups: dict[int | None, list[RecognizedLine]] = {}
        for line in lines:
            groups.setdefault(line.block, []).append(line)
        columns = [
            [_deskew(line, angle) for line in group] for _, group in sorted(groups.items(), key=lambda it: it[0] or 0)
        ]
    else:
        mirrored = _runs_right_to_left(lines)
        read = map(_figures_from_right, lines) if mirrored else lines
        parts = _columns([_deskew(line, angle, mirrored=mirrored) for line in read])
        columns = [_rows(cell) for part in parts for cell in _cells(part)]
    return [_block([row.line for row in group], usual) for rows in columns for group in _paragraphs(rows, usual)]


def _cuts_rows(lines: Sequence[_Deskewed]) -> bool:
    """Return whether the blocks of an engine cut rows of text in two."""
    pairs = (
        (one, other)
        for one, other in combinations(lines, 2)
        if one.line.block != other.line.block and (offset := _offset(one, other)) is not None and offset <= _ROW_OFFSET
    )
    gaps = (max(other.left - one.right, one.left - other.right) / one.height for one, other in pairs)
    return sum(gap <= _SPACE for gap in gaps) >= _CUT


def is_order_guessed(lines: Sequence[RecognizedLine]) -> bool:
    """Return whether much of a page's text is in lines beside each other that are neither rows nor columns.

    Lines that run up or down, and those whose engine numbered its blocks, are not looked at.
    """
    across = [line for line in lines if line.text.strip() and not line.vertical and direction(line.quad) == "across"]
    if any(line.block is not None for line in across):
        return False
    angle = skew(across)
    strips = [
        strip
        for part in _columns([_deskew(line, angle) for line in across])
        for cell in _cells(part)
        for strip in _strips(cell)
    ]
    unclear = sum(len(one.line.text) for strip in strips if _are_staggered(combinations(strip, 2)) for one in strip)
    return unclear > _GUESSED * sum(len(line.text) for line in across)


def _arrange_turned(lines: Sequence[RecognizedLine]) -> list[Block]:
    """Arrange rows, columns and lines that run up by themselves; what most of the text is comes first.

    Rows above columns, such as the title of a page, come before them.
    """
    columns = [line for line in lines if line.vertical]
    down = [line for line in lines if not line.vertical and direction(line.quad) == "down"]
    up = [line for line in lines if not line.vertical and direction(line.quad) == "up"]
    across = [line for line in lines if not line.vertical and direction(line.quad) == "across"]
    made: list[tuple[list[RecognizedLine], list[Block]]] = [
        (columns, _moved(arrange([laid_down(line) for line in columns]), lambda line: stood_up(line, vertical=True))),
        (down, _moved(arrange([laid_down(line) for line in down]), lambda line: stood_up(line, vertical=False))),
        (up, _moved(arrange([laid_down_from_up(line) for line in up]), stood_up_again)),
    ]
    made.sort(key=lambda part: -sum(len(line.text) for line in part[0]))
    turned, blocks = made[0]
    others = [block for _, part in made[1:] for block in part]
    if sum(len(line.text) for line in across) > sum(len(line.text) for line in turned):
        return [*arrange(across), *blocks, *others]
    top = bounds([line.quad for line in turned])[1]
    above = [line for line in across if bounds([line.quad])[3] <= top + _letter_height(line) / 2]
    return [*arrange(above), *blocks, *others, *arrange([line for line in across if line not in above])]


def _moved(blocks: list[Block], move: Callable[[RecognizedLine], RecognizedLine]) -> list[Block]:
    return [Block(block.kind, tuple(map(move, block.lines))) for block in blocks]


def skew(lines: Sequence[RecognizedLine]) -> float:
    """Return the page's skew in radians: the median slope of its wide lines' upper edges."""
    slopes = [
        math.atan2(b[1] - a[1], b[0] - a[0])
        for (a, b, _, d) in (line.quad for line in lines)
        if abs(b[0] - a[0]) > 4 * max(1.0, abs(d[1] - a[1]))
    ]
    return statistics.median(slopes) if slopes else 0.0


def _runs_right_to_left(lines: Sequence[RecognizedLine]) -> bool:
    """Return whether most letters of a page are written from right to left, as in Arabic and Hebrew."""
    directions = [unicodedata.bidirectional(letter) for line in lines for letter in line.text]
    to_left = sum(direction in ("R", "AL") for direction in directions)
    return to_left > sum(direction == "L" for direction in directions)


def _figures_from_right(line: RecognizedLine) -> RecognizedLine:
    """Return a row of figures, such as the years above a table, whose cells are read from the right like those below.

    The text layer of a PDF has them from the left, since no letter says otherwise.
    """
    if any(letter.isalpha() for letter in line.text):
        return line
    cells: list[list[RecognizedWord]] = []
    for word in line.words:
        before = cells[-1][-1].quad[1][0] if cells else -math.inf
        if word.quad[0][0] - before > _FIGURE_GAP * _letter_height(line):
            cells.append([])
        elif word.quad[0][0] < before - _letter_height(line):  # it is not written from the left
            return line
        cells[-1].append(word)
    words = tuple(word for cell in reversed(cells) for word in cell)
    return replace(line, words=words, text=" ".join(word.text for word in words)) if len(cells) > 1 else line


def _deskew(line: RecognizedLine, angle: float, *, mirrored: bool = False) -> _Deskewed:
    """Return a line with its upright bounds; `mirrored`, as in a mirror, where the right comes before the left."""
    cos, sin = math.cos(-angle), math.sin(-angle)
    corners = [(x * cos - y * sin, x * sin + y * cos) for x, y in line.quad]
    left, top, right, bottom = bounds([(corners[0], corners[1], corners[2], corners[3])])
    return (
        _Deskewed(line, -right, top, -left, bottom, mirrored) if mirrored else _Deskewed(line, left, top, right, bottom)
    )


def _letter_height(line: RecognizedLine) -> float:
    a, _, _, d = line.quad
    return math.hypot(d[0] - a[0], d[1] - a[1])


def _columns(deskewed: list[_Deskewed]) -> list[list[_Deskewed]]:
    """Split the page into columns in reading order, with what runs across them above, between and below.

    The page falls into strips at its blank rows; strips that share a gutter from top to bottom are columns.
    """
    if len(deskewed) < 4:
        return [deskewed]
    height = statistics.median(line.height for line in deskewed)
    strips = _strips(deskewed)
    parts: list[list[_Deskewed]] = [[]]
    index = 0
    while index < len(strips):
        sides, end = _widest_run(strips, index, height)
        if sides is None:
            parts[-1] += strips[index]
        else:
            parts += [*(part for side in sides for part in _columns(side)), []]
        index = end
    return [part for part in parts if part]


def _widest_run(strips: list[list[_Deskewed]], start: int, height: float) -> tuple[_Sides | None, int]:
    """Return the sides of the longest run of strips from `start` that shares a gutter, and the index after it."""
    sides: _Sides | None = None
    end = start + 1
    run: list[_Deskewed] = []
    for index in range(start, len(strips)):
        run = run + strips[index]
        wider = _split_at_gutter(run, height) if len(strips[start]) > 1 else None
        if wider:
            sides, end = wider, index + 1
        elif sides or index - start >= _MAX_STRIPS_WITHOUT_GUTTER:
            break
    return sides, end


def _split_at_gutter(deskewed: list[_Deskewed], height: float) -> _Sides | None:
    """Return the two sides of the widest gutter from top to bottom that has prose on both sides."""
    ordered = sorted(deskewed, key=lambda line: line.left)
    reach, best = -math.inf, (0.0, 0)
    for index, line in enumerate(ordered):
        if index and line.left - reach > best[0]:
            best = (line.left - reach, index)
        reach = max(reach, line.right)
    gap, index = best
    left, right = ordered[:index], ordered[index:]
    if gap < (_NARROW if min(len(left), len(right)) >= _MANY else _GUTTER) * height:
        return None
    for side in (left, right):
        if len(side) < 2 or statistics.mean(line.right - line.left for line in side) < _PROSE * height:
            return None
    return left, right


def _strips(deskewed: list[_Deskewed]) -> list[list[_Deskewed]]:
    """Return the lines between one blank row and the next, from top to bottom."""
    strips: list[list[_Deskewed]] = []
    reach = -math.inf
    for line in sorted(deskewed, key=lambda line: line.top):
        if line.top + _MAX_OVERLAP * line.height >= reach:
            strips.append([])
        strips[-1].append(line)
        reach = max(reach, line.bottom)
    return strips


def _cells(part: list[_Deskewed]) -> list[list[_Deskewed]]:
    """Cut the strips whose lines are not rows into cells: a label beside lines of text, a table's wrapped headings."""
    cells: list[list[_Deskewed]] = [[]]
    for strip in _strips(part):
        sides = _sides_of_cells(strip)
        if sides is None:
            cells[-1] += strip
        else:
            cells += [*(cell for side in sides for cell in _cells(side)), []]
    return [cell for cell in cells if cell]


def _sides_of_cells(strip: list[_Deskewed]) -> _Sides | None:
    """Return the two sides of the widest gap from top to bottom whose lines are not rows."""
    ordered = sorted(strip, key=lambda line: line.left)
    reach, widest = -math.inf, _CELL_GAP * statistics.median(line.height for line in strip)
    sides: _Sides | None = None
    for index, line in enumerate(ordered):
        if index and line.left - reach > widest and _are_staggered(product(ordered[:index], ordered[index:])):
            widest, sides = line.left - reach, (ordered[:index], ordered[index:])
        reach = max(reach, line.right)
    return sides


def _are_staggered(pairs: Iterable[tuple[_Deskewed, _Deskewed]]) -> bool:
    """Return whether most of the pairs that stand beside each other, two or more, are not of one row."""
    offsets = [offset for one, other in pairs if (offset := _offset(one, other)) is not None]
    staggered = sum(offset > _ROW_OFFSET for offset in offsets)
    return staggered > 1 and 2 * staggered > len(offsets)


def _offset(one: _Deskewed, other: _Deskewed) -> float | None:
    """Return how far apart the middles of two lines are, in line heights; None: they are not beside each other."""
    low, high = sorted((one.height, other.height))
    beside = one.right <= other.left or other.right <= one.left
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    if not beside or low < _ALIKE * high or shared <= _BESIDE * low:
        return None
    return abs(one.top + one.bottom - other.top - other.bottom) / 2 / low


def _rows(column: list[_Deskewed]) -> list[_Deskewed]:
    """Join fragments of one row, in reading order."""
    rows: list[list[_Deskewed]] = []
    for line in sorted(column, key=lambda line: (line.top + line.bottom) / 2):
        last = rows[-1] if rows else None
        if last and _same_row(last[-1], line):
            last.append(line)
        else:
            rows.append([line])
    return [_join(sorted(row, key=lambda line: line.left)) for row in rows]


def _same_row(one: _Deskewed, other: _Deskewed) -> bool:
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    beside = one.right <= other.left + one.height or other.right <= one.left + one.height
    return beside and shared > 0.5 * min(one.height, other.height)


def _join(row: list[_Deskewed]) -> _Deskewed:
    if len(row) == 1:
        return row[0]
    lines = [deskewed.line for deskewed in row]
    characters = sum(len(line.text) for line in lines)
    # From the leftmost to the rightmost one, whichever is read first.
    across = row[::-1] if row[0].mirrored else row
    joined = RecognizedLine(
        _around([deskewed.line.quad for deskewed in across]),
        " ".join(line.text for line in lines),
        sum(line.confidence * len(line.text) for line in lines) / characters,
        tuple(word for line in lines for word in line.words),
    )
    edges = zip(*((p.left, p.top, p.right, p.bottom) for p in row), strict=True)
    left, top, right, bottom = (tuple(edge) for edge in edges)
    return _Deskewed(joined, min(left), min(top), max(right), max(bottom), row[0].mirrored)


def _around(quads: list[Quad]) -> Quad:
    """Return the quad from the first one's left to the last one's right edge."""
    first, last = quads[0], quads[-1]
    return first[0], last[1], last[2], first[3]


def _paragraphs(rows: list[_Deskewed], usual: float) -> list[list[_Deskewed]]:
    gaps = [below.top - above.bottom for above, below in pairwise(rows)]
    common = statistics.median(gaps) if gaps else 0.0
    groups: list[list[_Deskewed]] = [rows[:1]]
    for gap, (above, below) in zip(gaps, pairwise(rows), strict=True):
        taller = max(above.height, below.height) > _HEADING * min(above.height, below.height)
        if gap - common > _PARAGRAPH_GAP * usual or (taller and gap >= 0):
            groups.append([])
        groups[-1].append(below)
    return groups


def _block(lines: list[RecognizedLine], usual: float) -> Block:
    heading = (
        len(lines) <= 2
        and min(_letter_height(line) for line in lines) >= _HEADING * usual
        and any(character.isalpha() for line in lines for character in line.text)
    )
    return Block("heading" if heading else "paragraph", tuple(lines))


def outline(lines: Sequence[RecognizedLine]) -> Quad:
    """Return the upright rectangle around `lines`."""
    return box(*bounds([line.quad for line in lines]))
