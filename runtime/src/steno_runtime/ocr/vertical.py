"""Vertical writing (tategaki): columns of upright letters, read from the top down and from the right to the left.

Seen after a quarter turn to the left, columns are rows from the top down: their order, fragments and tiers are found by
the same rules as those of rows. Separate because it only turns lines and knows nothing of their order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from steno_runtime.ocr.engines.base import RecognizedLine
from steno_runtime.ocr.engines.columns import is_written_in_columns
from steno_runtime.ocr.geometry import Corner, Quad, turned_left, turned_right

_BETWEEN = re.compile(r"(?<=\S) (?=\S)")


def laid_down(line: RecognizedLine) -> RecognizedLine:
    """Return a line that runs down as a row: the page is turned to the left by a quarter."""
    quad = turned_left(line.quad) if line.vertical else line.quad
    return replace(line, quad=_each(quad, lambda x, y: (y, -x)), vertical=False)


def stood_up(line: RecognizedLine, *, vertical: bool) -> RecognizedLine:
    """Return a row as the line that runs down again; parts that were joined have no space between."""
    quad = _each(line.quad, lambda x, y: (-y, x))
    if not vertical:
        return replace(line, quad=quad)
    text = _BETWEEN.sub("", line.text) if is_written_in_columns(line.text) else line.text
    return replace(line, quad=turned_right(quad), text=text, vertical=True)


def laid_down_from_up(line: RecognizedLine) -> RecognizedLine:
    """Return a line that runs up as a row: the page is turned to the right by a quarter."""
    return replace(line, quad=_each(line.quad, lambda x, y: (-y, x)))


def stood_up_again(line: RecognizedLine) -> RecognizedLine:
    """Return a row as the line that runs up again."""
    return replace(line, quad=_each(line.quad, lambda x, y: (y, -x)))


def _each(quad: Quad, move: Callable[[float, float], Corner]) -> Quad:
    a, b, c, d = (move(*corner) for corner in quad)
    return a, b, c, d
