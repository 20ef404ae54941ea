"""Lines of a page in letters that its engine does not know, read by Tesseract in the script that suits them best.

Separate because it is about lines alone. A road sign names a town in two alphabets, and RapidOCR knows one of them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from steno_runtime.ocr.engines.base import RecognizedLine
from steno_runtime.ocr.engines.detector import straightened
from steno_runtime.ocr.engines.tesseract import TesseractEngine

_SURE = 0.75
"""Confidence that a line must be read with: whatever was no letters is read with less."""
_FEWEST = 2
"""Letters of such a line."""


def read_foreign(
    tesseract: TesseractEngine, image: np.ndarray, lines: Mapping[int, RecognizedLine], languages: Sequence[str]
) -> tuple[str, dict[int, RecognizedLine]] | None:
    """Return the language that most of `lines` are read in with confidence, and those lines; None: there is none.

    Args:
        tesseract: reads them.
        image: the page (height, width, 3; RGB, uint8).
        lines: those that another engine hardly read, by number.
        languages: one of each script to try.
    """
    crops = {number: straightened(image, line.quad) for number, line in lines.items()}
    found: dict[str, dict[int, RecognizedLine]] = {}
    for language in languages:
        read = {number: tesseract.read_line(quad, crop, language) for number, (quad, crop) in crops.items()}
        sure = {number: line for number, line in read.items() if line and line.confidence >= _SURE}
        found[language] = {number: line for number, line in sure.items() if _is_foreign(line.text)}
    best = max(found, key=lambda language: _score(found[language].values()), default=None)
    return (best, found[best]) if best and found[best] else None


def _score(lines: Iterable[RecognizedLine]) -> float:
    return sum(line.confidence**2 * len(line.text) for line in lines)


def _is_foreign(text: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    return len(letters) >= _FEWEST and not any(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
