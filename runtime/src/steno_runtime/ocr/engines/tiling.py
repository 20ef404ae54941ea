"""Tiled detection: large pages are looked at in overlapping tiles, whose boxes are merged where they overlap.

A detector that sees a page of any size at a fixed one loses the letters of a long screenshot or a large sheet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_LARGE_SIDE, _LONG_SIDE, _LONG = 4500, 2400, 2.5
"""Pages with a side of more pixels than the first, or than the second if they are that many times as long as wide.
Sheets of A4 at 300 dpi and photographs of 12 megapixels are neither: they are seen well as a whole."""
_MAX_TILES = 64
_LOST = 5.5
"""Pixels of a letter in the detector's picture; smaller ones are missed."""
_SEEN = 8.0
"""Pixels that letters have on tiles."""
_OVERLAP = 6
"""Heights of a letter by which tiles overlap: more than a line, so that each line is whole on one of them."""
_SAME_ROW = 0.6

Tile = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the page."""


def may_need_tiles(width: int, height: int) -> bool:
    """Return whether a page is so large, or so long, that it is worth measuring its letters."""
    longest = max(width, height)
    return longest > _LARGE_SIDE or (longest > _LONG_SIDE and longest > _LONG * min(width, height))


def loses_letters(width: int, height: int, letter: float | None, side: int) -> bool:
    """Return whether letters are too small in the detector's picture of a whole page.

    Args:
        width: of the page.
        height: of the page.
        letter: height of its small letters; None: it has hardly any.
        side: the detector's picture has this many pixels along its longer side.
    """
    return letter is not None and letter * side / max(width, height) < _LOST


def tiles(width: int, height: int, letter: float | None, side: int) -> list[Tile]:
    """Return the tiles to look at, the whole page as one where its letters are large enough.

    Args:
        width: of the page.
        height: of the page.
        letter: height of its small letters; None: it has hardly any.
        side: the detector's picture has this many pixels along its longer side.
    """
    if letter is None or not loses_letters(width, height, letter, side):
        return [(0, 0, width, height)]
    reach = max(side, round(side * letter / _SEEN), math.ceil(1.2 * math.sqrt(width * height / _MAX_TILES)))
    overlap = min(reach // 2, round(_OVERLAP * letter))
    return [
        (left, top, right, bottom)
        for top, bottom in _spans(height, reach, overlap)
        for left, right in _spans(width, reach, overlap)
    ]


def _spans(length: int, reach: int, overlap: int) -> list[tuple[int, int]]:
    """Return equal parts of a side, of at most `reach`, each with `overlap` in common with the next."""
    if length <= reach:
        return [(0, length)]
    count = -(-(length - overlap) // (reach - overlap))
    starts = [round(at) for at in np.linspace(0, length - reach, count)]
    return [(start, start + reach) for start in starts]


def merge(found: Sequence[np.ndarray]) -> np.ndarray:
    """Return each line's corners (lines, 4, 2) once.

    Boxes of different tiles that lie in one row and overlap are one line: seen twice, or cut by a tile's edge.

    Args:
        found: of each tile, the corners of its lines (lines, 4, 2), on the page.
    """
    merged: list[np.ndarray] = []
    for boxes in found:
        fresh: list[np.ndarray] = []
        for box in boxes:
            line = box
            for other in [known for known in merged if _is_one_line(line, known)]:
                merged = [known for known in merged if known is not other]
                line = _joined(line, other)
            fresh.append(line)
        merged += fresh
    return np.array(merged, dtype=np.float32).reshape(-1, 4, 2)


def _is_one_line(one: np.ndarray, other: np.ndarray) -> bool:
    (left, top), (right, bottom) = one.min(axis=0), one.max(axis=0)
    (left2, top2), (right2, bottom2) = other.min(axis=0), other.max(axis=0)
    shared = min(bottom, bottom2) - max(top, top2)
    return min(right, right2) > max(left, left2) and shared > _SAME_ROW * min(bottom - top, bottom2 - top2)


def _joined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the larger of two views of a line, or what is around both if neither has all of it."""
    (left, top), (right, bottom) = (
        np.minimum(one.min(axis=0), other.min(axis=0)),
        np.maximum(one.max(axis=0), other.max(axis=0)),
    )
    for whole in (one, other):
        if np.ptp(whole[:, 0]) > 0.98 * (right - left) and np.ptp(whole[:, 1]) > 0.9 * (bottom - top):
            return whole
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float32)
