"""Skew of a page by its projection profile (Postl): turned upright, the rows of its text have the sharpest edges.

Separate because it looks at pixels alone: engines and layout know nothing of it.
"""

from __future__ import annotations

import cv2
import numpy as np

from steno_runtime.ocr.geometry import Quad

_SIDE = 900
"""Pixels along the longer side of the picture that is measured."""
_REACH, _COARSE, _FINE = 8.0, 0.5, 0.1
"""Degrees: skew is looked for up to the first one, in steps of the second and then the third."""
_LEAST = 0.7
"""Degrees up to which Tesseract's page analysis copes by itself."""
_SHARPER = 1.15
"""Times the sharpness of the rows as they lie; less is no skew, but pictures and rules."""


def measure_skew(pixels: np.ndarray) -> float:
    """Return how far a page (height, width, 3; RGB) must be turned, in degrees counter-clockwise; 0 if hardly."""
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    _, ink = cv2.threshold(small, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    coarse = np.arange(-_REACH, _REACH + _COARSE / 2, _COARSE)
    near = _sharpest(ink, coarse)
    angle = _sharpest(ink, np.arange(near - _COARSE, near + _COARSE + _FINE / 2, _FINE))
    if abs(angle) < _LEAST or _sharpness(ink, angle) <= _SHARPER * _sharpness(ink, 0.0):
        return 0.0
    return float(angle)


def _sharpest(ink: np.ndarray, angles: np.ndarray) -> float:
    return float(max(angles, key=lambda angle: _sharpness(ink, float(angle))))


def _sharpness(ink: np.ndarray, angle: float) -> float:
    height, width = ink.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    rows = cv2.warpAffine(ink, turn, (width, height), flags=cv2.INTER_NEAREST).sum(axis=1, dtype=np.float64)
    return float(np.square(np.diff(rows)).sum())


class Deskewed:
    """A page turned upright, and the way back to where its lines are on the page itself."""

    def __init__(self, pixels: np.ndarray, angle: float) -> None:
        """Turn a page (height, width, 3; RGB) by `angle`, in degrees counter-clockwise; its corners are its paper."""
        height, width = pixels.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
        cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
        wide, high = round(width * cos + height * sin), round(width * sin + height * cos)
        turn[:, 2] += (wide - width) / 2, (high - height) / 2
        paper = [float(np.percentile(pixels[::8, ::8, channel], 80)) for channel in range(3)]
        self.pixels = cv2.warpAffine(pixels, turn, (wide, high), flags=cv2.INTER_CUBIC, borderValue=paper)
        self._back = cv2.invertAffineTransform(turn)

    def on_page(self, quad: Quad) -> Quad:
        """Return where a quad of the upright page is on the page itself."""
        a, b, c, d = ((float(x), float(y)) for x, y in np.array(quad) @ self._back[:, :2].T + self._back[:, 2])
        return a, b, c, d
