"""Columns of upright letters (tategaki) among the lines that an engine read: which of the tall ones they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np

from steno_runtime.ocr.engines.base import RecognizedLine
from steno_runtime.ocr.geometry import bounds, turned_left

_TALL = 1.5
"""Times its width that a column is high; the detector turns the crops of such boxes."""
_LOOKED_AT = 3
_ALIKE = 0.5
"""Share of the letters of a column that are read once more when they are set in a row as they stand; where a page lies
on its side, hardly one is."""


def is_ideographic(letter: str) -> bool:
    """Return whether a letter takes a square of its own in Chinese and Japanese."""
    return unicodedata.east_asian_width(letter) in ("W", "F") and not "\uac00" <= letter <= "\ud7a3"


def is_written_in_columns(text: str) -> bool:
    """Return whether text of two letters or more may be a column: most of them are Han or kana."""
    letters = [letter for letter in text if not letter.isspace()]
    return len(letters) > 1 and 2 * sum(map(is_ideographic, letters)) > len(letters)


def columns_marked(
    image: np.ndarray, lines: Sequence[RecognizedLine], read: Callable[[np.ndarray], str]
) -> list[RecognizedLine]:
    """Return `lines`, with those marked that are columns of upright letters.

    The recognizer reads a column and a row that lies on its side alike. Only the letters of a column are read again as
    they stand.

    Args:
        image: the page (height, width, 3).
        lines: with the places of their letters, as words.
        read: reads the picture of a row.
    """
    tall = [line for line in lines if _is_tall(line) and len(line.text) > 1]
    possible = [line for line in tall if is_written_in_columns(line.text)]
    longest = sorted((line for line in possible if line.words), key=lambda line: -len(line.text))[:_LOOKED_AT]
    alike = [
        SequenceMatcher(None, line.text, read(_as_row(image, line)), autojunk=False).ratio() >= _ALIKE
        for line in longest
    ]
    upright = 2 * sum(alike) > len(alike)
    return [
        replace(line, vertical=True)
        if upright and line in possible
        else replace(line, quad=turned_left(line.quad))
        if line in tall
        else line
        for line in lines
    ]


def _is_tall(line: RecognizedLine) -> bool:
    (ax, ay), (bx, by), _, (dx, dy) = line.quad
    return float(np.hypot(dx - ax, dy - ay)) >= _TALL * float(np.hypot(bx - ax, by - ay))


def _as_row(image: np.ndarray, column: RecognizedLine) -> np.ndarray:
    """Return the letters of a column side by side, as they stand."""
    cells: list[np.ndarray] = []
    for word in column.words:
        left, top, right, bottom = (max(0, round(edge)) for edge in bounds([word.quad]))
        if right > left and bottom > top:
            cells.append(image[top:bottom, left:right])
    high = max((cell.shape[0] for cell in cells), default=1)
    paper = np.median(image.reshape(-1, 3)[:: max(1, image.size // 30_000)], axis=0).astype(np.uint8)
    row = [np.full((high, 4, 3), paper)]
    for cell in cells:
        padded = np.full((high, cell.shape[1] + 4, 3), paper)
        padded[: cell.shape[0], : cell.shape[1]] = cell
        row.append(padded)
    return np.concatenate(row, axis=1)
