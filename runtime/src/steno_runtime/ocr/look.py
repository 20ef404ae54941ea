"""A cheap look at a page before it is read: is it print on even paper, or a photograph?"""

from __future__ import annotations

import cv2
import numpy as np

from steno_runtime.ocr.words import Look

_BLOCKS = 24
"""The page is judged in so many blocks along each side."""


def look_at(image: np.ndarray, dpi: int = 0) -> Look:
    """Judges the ground of `image` (RGB): a block's ground is its 80th percentile of luminance (text covers less)."""
    height, width = image.shape[:2]
    scale = min(1.0, 480 / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    step_y, step_x = max(1, grey.shape[0] // _BLOCKS), max(1, grey.shape[1] // _BLOCKS)
    grounds = np.array(
        [
            np.percentile(grey[y : y + step_y, x : x + step_x], 80)
            for y in range(0, grey.shape[0], step_y)
            for x in range(0, grey.shape[1], step_x)
        ]
    )
    paper = float(np.median(grounds))
    return Look(paper=round(paper), even=float(np.mean(np.abs(grounds - paper) <= 24)), dpi=dpi)
