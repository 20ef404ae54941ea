"""Letters of a page, found by connected components before any engine runs: their height, and whether there are any.

Their height decides how far a page is scaled down. Headers are written by programs that do not know: the same
photograph comes with 72, 300 or 2,400 dots per inch.
"""

from __future__ import annotations

import cv2
import numpy as np

_FINE_SIDE = 3508
"""Pixels: the longer side of a sheet of A4 at 300 dpi. No page is scaled down to less for its size alone."""
_LARGE_SIDE = 4200
"""Engines get slower on larger pages, not better; below this, scaling is not worth it."""
_LETTER = 20
"""Height of small letters in print of 10 points at 300 dpi, in pixels."""
_A4_INCHES = 11.7
_MIN_DPI, _MAX_DPI = 150, 300
_TILE, _TILES = 1024, 3
"""Letters are measured on as many tiles along each side."""
_MIN_LETTERS = 60
_CONTRAST = 60
_SMALL_SIDE = 200
_PAPER_SIDE = 101
"""Pixels around a mark whose mean is its paper."""
_FAINT = 22
"""Letters differ from their paper by more: show-through and the grain of a scan do not."""
_STREAK, _SPECK = 12, 5
_SHORTEST, _TALLEST = 6, 250
"""Heights of what may be a letter; the rest is noise, rules and pictures."""


def scale_for_reading(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Scale a large page (height, width, 3; RGB) down as far as its letters allow; return it and the factor."""
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= _LARGE_SIDE:
        return pixels, 1.0
    letter = letter_height(pixels)
    scale = max(_FINE_SIDE / longest, min(1.0, _LETTER / letter) if letter else 0.0)
    if scale >= 1:
        return pixels, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), scale


def assumed_dpi(pixels: np.ndarray) -> int:
    """Return the resolution that engines are told: as if the page (height, width, 3) were a sheet of A4."""
    return round(min(_MAX_DPI, max(_MIN_DPI, max(pixels.shape[:2]) / _A4_INCHES)))


def letter_height(pixels: np.ndarray) -> float | None:
    """Return the height of a page's small letters in pixels: the lower quartile; None if it has hardly any."""
    heights = np.concatenate([_heights(tile) for tile in _tiles(pixels)])
    return float(np.percentile(heights, 25)) if heights.size >= _MIN_LETTERS else None


def _tiles(pixels: np.ndarray) -> list[np.ndarray]:
    height, width = pixels.shape[:2]
    tops, lefts = (
        sorted({round(at) for at in np.linspace(0, max(0, side - _TILE), _TILES)}) for side in (height, width)
    )
    return [pixels[top : top + _TILE, left : left + _TILE] for top in tops for left in lefts]


def _heights(tile: np.ndarray) -> np.ndarray:
    grey = cv2.medianBlur(cv2.cvtColor(np.ascontiguousarray(tile), cv2.COLOR_RGB2GRAY), 3)
    _, ink = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    dark = ink > 0
    if not dark.any() or dark.all() or float(grey[~dark].mean() - grey[dark].mean()) < _CONTRAST:
        return np.empty(0, np.int32)  # paper alone
    if dark.mean() > 0.5:
        ink = cv2.bitwise_not(ink)
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink)
    wide, high = stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT]
    return high[(high >= _SHORTEST) & (high <= _TALLEST) & (wide <= 3 * high)]


def is_blank(pixels: np.ndarray) -> bool:
    """Return whether a page (height, width, 3; RGB) certainly has no letters: paper, grain, specks, show-through.

    A streak of the scanner is none either. Engines read words into all of these. Small pictures are never blank.
    """
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if min(height, width) < _SMALL_SIDE:
        return False
    if longest > _FINE_SIDE:
        factor = _FINE_SIDE / longest
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    grey = cv2.medianBlur(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY), 3)
    paper = cv2.blur(grey, (_PAPER_SIDE, _PAPER_SIDE))
    marks = (cv2.absdiff(grey, paper) > _FAINT).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(marks)
    wide, high = stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT]
    long, short = np.maximum(wide, high), np.minimum(wide, high)
    streak = (long > 0.5 * max(grey.shape)) & (short <= _STREAK)
    return not bool(((long >= _SPECK) & ~streak).any())
