"""Rows of letters that no recognized line covers: what a page analysis has lost, found by connected components.

Beside rules, dashes and pictures Tesseract drops whole lines of a clean page, and says nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from steno_runtime.ocr.engines.base import RecognizedLine
from steno_runtime.ocr.geometry import bounds

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""

MAX_ROWS = 60
"""More are no lines that were lost, but the texture of a picture."""
_SHORTEST, _TALLEST = 0.6, 2.0
"""Heights of a letter, in heights of those that were read."""
_WIDEST = 2.5
_LEAST_INK, _MOST_INK = 0.35, 0.8
"""Share of ink of letters that blur joins to one wide mark; frames have less, bars and photographs more."""
_BETWEEN = 1.2
"""Heights of a letter that may be between two of a row: a space between words."""
_FEWEST = 3
_HIGHEST_ROW = 2.2
_MARKS = 0.35
"""Heights of a letter above and below a row that belong to it: commas, accents."""
_SPARE = 0.25
"""Share of its height by which a line covers more than its box."""


def unread_rows(image: np.ndarray, lines: Sequence[RecognizedLine]) -> list[Box]:
    """Return the rows of an image (height, width, 3; RGB) of dark print that look like text and were not read."""
    if not lines:
        return []
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    _, ink = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    _, _, stats, centres = cv2.connectedComponentsWithStats(ink)
    stats, centres = stats[1:], centres[1:].astype(int)
    covered = _covered(grey.shape, lines)[centres[:, 1], centres[:, 0]]
    high, wide = stats[:, cv2.CC_STAT_HEIGHT], stats[:, cv2.CC_STAT_WIDTH]
    read = high[covered & (high > 4)]
    if not len(read):
        return []
    letter = float(np.median(read))
    ink_share = stats[:, cv2.CC_STAT_AREA] / (high * wide)
    joined = (ink_share >= _LEAST_INK) & (ink_share <= _MOST_INK)
    alike = (high >= _SHORTEST * letter) & (high <= _TALLEST * letter) & ((wide <= _WIDEST * letter) | joined)
    return _grouped(stats[alike & ~covered], letter, grey.shape)


def _covered(shape: tuple[int, ...], lines: Sequence[RecognizedLine]) -> np.ndarray:
    """Return a mask of the pixels of lines that were read."""
    mask = np.zeros(shape[:2], bool)
    for line in lines:
        left, top, right, bottom = bounds([line.quad])
        spare = _SPARE * (bottom - top)
        rows = slice(max(0, int(top - spare)), int(bottom + spare) + 1)
        mask[rows, max(0, int(left - spare)) : int(right + spare) + 1] = True
    return mask


def _grouped(letters: np.ndarray, letter: float, shape: tuple[int, ...]) -> list[Box]:
    """Return the boxes of letters that stand in rows.

    Args:
        letters: left, top, width, height and area of each.
        letter: the usual height.
        shape: of the page.
    """
    reach = round(_BETWEEN * letter / 2)
    mask = np.zeros(shape[:2], np.uint8)
    for left, top, wide, high, _ in letters:
        mask[top : top + high, max(0, left - reach) : left + wide + reach] = 1
    count, labels, rows, _ = cv2.connectedComponentsWithStats(mask)
    middles = labels[letters[:, 1] + letters[:, 3] // 2, letters[:, 0] + letters[:, 2] // 2]
    numbers = np.bincount(middles, np.maximum(1, letters[:, 2] // round(letter)), minlength=count)
    marks = round(_MARKS * letter)
    found = [
        (max(0, left + reach), max(0, top - marks), left + wide - reach, top + high + marks)
        for (left, top, wide, high, _), number in zip(rows[1:].tolist(), numbers[1:], strict=True)
        if number >= _FEWEST and high <= _HIGHEST_ROW * letter
    ]
    return found if len(found) <= MAX_ROWS else []
