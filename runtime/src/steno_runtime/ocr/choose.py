"""`engine: auto`: which engine reads a page, and why. Pure: it is told what there is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from steno_runtime.ocr.languages import script
from steno_runtime.ocr.words import Look

DOUBT = 0.75
"""A page read with less confidence than this is read again, turned upright or by the next engine."""

_PRINT = ("tesseract", "rapidocr", "paddleocr")
_PHOTOGRAPH = ("rapidocr", "paddleocr", "tesseract")
_HAN = ("rapidocr", "paddleocr", "tesseract")


@dataclass(frozen=True)
class Choice:
    """The engines to try, the best first, and why that one."""

    engines: tuple[str, ...]
    reason: str


def choose(look: Look, languages: Sequence[str], able: Collection[str]) -> Choice:
    """Orders the engines that are `able` to read `languages` for a page of this look; none is an empty choice.

    Clean print in an alphabet goes to Tesseract (faster, and as good or better); photographs go to the PP-OCR models,
    which stand shadow and perspective; Chinese and Japanese go to them always.
    """
    scripts = sorted({script(language) for language in languages})
    if {"Hani", "Jpan"} & set(scripts):
        order, why = _HAN, "Chinese or Japanese"
    elif look.print_like:
        order, why = _PRINT, "clean print"
    else:
        order, why = _PHOTOGRAPH, "photograph or uneven ground"
    engines = tuple(engine for engine in order if engine in able)
    reason = f"{why} in {'+'.join(scripts)}"
    if engines and engines[0] != order[0]:
        reason += f"; {order[0]} does not read {', '.join(languages)} here"
    return Choice(engines, reason)
