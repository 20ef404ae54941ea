"""Pixels of any mode, depth and transparency as RGB of eight bits, with dark letters on light paper."""

from __future__ import annotations

import numpy as np
from PIL import Image

_FULL_SCALES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""White in floats, and in 8, 10, 12, 14 and 16 bits: scanners store fewer bits than their files have room for."""
_BRIGHTEST = 99.9
"""Percentile that is taken for white; single pixels may be anything."""
_LIGHT = 170
"""Luminance above which letters cannot be told from white paper."""
_OPAQUE = 128
_INK = 0.2
"""Percentile of the opaque pixels' luminance that is ink if there is any: a few words on a sheet are no more."""


def rgb(image: Image.Image, *, white_is_zero: bool = False) -> Image.Image:
    """Convert any mode to RGB: other depths are scaled to eight bits, transparency becomes a background.

    Args:
        image: of any mode.
        white_is_zero: whether 0 is white in a mode of more than eight bits; Pillow inverts the others itself.
    """
    if image.mode.startswith("I") or image.mode == "F":
        grey = _eight_bits(np.asarray(image, dtype=np.float32))
        return Image.fromarray(255 - grey if white_is_zero else grey).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        return _flattened(image.convert("RGBA"))
    if image.mode == "LAB":
        return image.getchannel("L").convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Return grey of 0 to 255 for values of any scale.

    The scale is the smallest one that holds the brightest pixels; where they do not even reach half of it, they are
    white.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.full(values.shape, 255, np.uint8)
    bottom = min(0.0, float(np.percentile(finite, 100 - _BRIGHTEST)))
    top = float(np.percentile(finite, _BRIGHTEST)) - bottom
    full = next((scale for scale in _FULL_SCALES if scale * 1.001 >= top), top)
    if top < full / 2:
        full = top or 1.0
    scaled = np.nan_to_num(values - bottom, nan=full, posinf=full, neginf=0.0) / full
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def _flattened(layers: Image.Image) -> Image.Image:
    """Return an image with transparency on white paper; light letters on nothing are inverted, or nobody saw them."""
    alpha = np.asarray(layers.getchannel("A"))
    opaque = np.asarray(layers.convert("L"))[alpha >= _OPAQUE]
    light = 0 < opaque.size < 0.9 * alpha.size and float(np.percentile(opaque, _INK)) > _LIGHT
    background = Image.new("RGBA", layers.size, "black" if light else "white")
    background.alpha_composite(layers)
    flat = background.convert("RGB")
    return Image.fromarray(255 - np.asarray(flat)) if light else flat
