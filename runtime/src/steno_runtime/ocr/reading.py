"""What one engine read on one page, and how good that is: which of two readings is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steno_runtime.ocr.engines.base import RecognizedLine, mean_confidence
from steno_runtime.ocr.geometry import bounds

_TURNED_BETTER = 1.2
"""Times the score that a page has the other way round, if only its text says how it lies."""
_MIN_TURNED_LETTERS = 4
"""Of a page that is turned for its text alone: digits read well upside down."""
_WHOLE_PAGE, _LARGE = 0.8, 500
"""Share of a page's sides that no word has, on pages of more pixels than this; noise read as one has."""


@dataclass(frozen=True)
class Reading:
    """The lines that an engine recognized on a page, and why that engine."""

    lines: tuple[RecognizedLine, ...]
    engine: str
    reason: str
    rotation: int = 0

    @property
    def confidence(self) -> float:
        """Mean over the whole page, from 0 to 1."""
        return mean_confidence(self.lines)

    @property
    def characters(self) -> int:
        """Of all lines."""
        return sum(len(line.text) for line in self.lines)

    @property
    def vertical(self) -> bool:
        """Whether most of its text are columns of upright letters."""
        return 2 * sum(len(line.text) for line in self.lines if line.vertical) > self.characters

    @property
    def sideways(self) -> bool:
        """Whether most lines run up or down. Tesseract reads such a page too, but its layout is better upright."""
        long = [bounds([line.quad]) for line in self.lines if len(line.text) > 3 and not line.vertical]
        upright = sum(right - left >= bottom - top for left, top, right, bottom in long)
        if sum(line.vertical for line in self.lines) > len(long):
            return False
        return bool(long) and upright * 2 < len(long)


def score(reading: Reading) -> float:
    """Return the number of characters, weighted by the square of their confidence."""
    return sum(line.confidence**2 * len(line.text) for line in reading.lines)


def is_upright(turned: Reading, reading: Reading) -> bool:
    """Return whether a page reads so much better when it is turned that this is how it lies."""
    letters = sum(letter.isalpha() for line in turned.lines for letter in line.text)
    better = score(turned) > _TURNED_BETTER * score(reading) or (reading.sideways and not turned.sideways)
    return letters >= _MIN_TURNED_LETTERS and better


def is_noise(line: RecognizedLine, pixels: np.ndarray) -> bool:
    """Return whether a line is a few characters as large as the page: the paper itself, read as a word."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = bounds([line.quad])
    whole = bottom - top > _WHOLE_PAGE * height and right - left > _WHOLE_PAGE * width
    return whole and min(height, width) > _LARGE and len(line.text.split()) <= 1
