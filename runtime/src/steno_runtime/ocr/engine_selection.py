"""`engine: auto`: the engines that are tried on a page, best first, by the page's quality and its languages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from steno_runtime.ocr.engines.base import PageQuality
from steno_runtime.ocr.languages import script

MIN_CONFIDENCE = 0.75
"""A page read with less confidence than this is read again: upright, or by the next engine."""

_PRINT = ("tesseract", "rapidocr", "paddleocr")
_PHOTOGRAPH = ("rapidocr", "paddleocr", "tesseract")
_HAN = ("rapidocr", "paddleocr", "tesseract")
_BLOCKS = 24
"""Blocks along each side of a page whose background is measured."""


@dataclass(frozen=True)
class EngineSelection:
    """The engines to try, best first, and the reason for the first of them."""

    engines: tuple[str, ...]
    reason: str


def assess_page(image: np.ndarray, dpi: int = 0) -> PageQuality:
    """Measure the background of `image` (height, width, 3; RGB, uint8) block by block.

    A block's background is its 80th percentile of luminance, since text covers less than a fifth of it.
    """
    height, width = image.shape[:2]
    scale = min(1.0, 480 / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    step_y, step_x = max(1, grey.shape[0] // _BLOCKS), max(1, grey.shape[1] // _BLOCKS)
    blocks = np.array(
        [
            np.percentile(grey[y : y + step_y, x : x + step_x], 80)
            for y in range(0, grey.shape[0], step_y)
            for x in range(0, grey.shape[1], step_x)
        ]
    )
    background = float(np.median(blocks))
    uniformity = float(np.mean(np.abs(blocks - background) <= 24))
    return PageQuality(background=round(background), uniformity=uniformity, dpi=dpi)


def select_engine(quality: PageQuality, languages: Sequence[str], available: Collection[str]) -> EngineSelection:
    """Order the engines for a page.

    Clean print in an alphabet goes to Tesseract (faster, and as good or better); photographs go to the PP-OCR models,
    which tolerate shadow and perspective; Chinese and Japanese always go to them.

    Args:
        quality: of the page.
        languages: BCP 47 tags of the page's languages.
        available: names of the engines that read all of `languages`.

    Returns:
        All of `available`, best first; none where none is available.
    """
    scripts = sorted({script(language) for language in languages})
    if {"Hani", "Jpan"} & set(scripts):
        order, why = _HAN, "Chinese or Japanese"
    elif quality.is_print:
        order, why = _PRINT, "clean print"
    else:
        order, why = _PHOTOGRAPH, "photograph or uneven background"
    engines = tuple(engine for engine in order if engine in available)
    reason = f"{why} in {'+'.join(scripts)}"
    if engines and engines[0] != order[0]:
        reason += f"; {order[0]} does not read {', '.join(languages)} here"
    return EngineSelection(engines, reason)
