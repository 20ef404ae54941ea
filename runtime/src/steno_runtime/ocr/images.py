"""Page source for PNG, JPEG and multi-page TIFF; one page is in memory at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from steno_api.documents.warnings import ResultWarning
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.page import Limits, PageError, PageInput

FORMATS = ("PNG", "JPEG", "TIFF")
_ORIENTATION = 0x0112
"""The EXIF tag."""


class ImageSource:
    """The pages of an image file."""

    kind = "image"
    warnings: tuple[ResultWarning, ...] = ()

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        Image.MAX_IMAGE_PIXELS = None  # sizes are checked here, before any pixel is decoded
        try:
            self._image = Image.open(path, formats=FORMATS)
            self.pages = getattr(self._image, "n_frames", 1) if self._image.format == "TIFF" else 1
        except Exception as error:  # Pillow's readers raise anything on a damaged header
            raise WorkError(
                FailureReason.UNSUPPORTED_MEDIA,
                "The file is damaged: it begins as an image but cannot be opened as one.",
            ) from error

    def load(self, number: int) -> PageInput:
        """Decode page `number` (from 1), turned upright as its EXIF says.

        Raises:
            PageError: it is damaged, cut short or too large.
        """
        try:
            if self.pages > 1 or self._image.format == "TIFF":
                self._image.seek(number - 1)
            self._limits.check_pixels(*self._image.size)
            dpi = _dpi(self._image.info.get("dpi"))
            pixels = np.asarray(rgb(_upright(self._image)))
        except PageError:
            raise
        except Exception as error:  # as above, and also too little memory
            raise PageError("the image is damaged or cut short; save or scan it again") from error
        return PageInput(number, pixels.shape[1], pixels.shape[0], dpi, pixels=pixels)

    def untouched_jpeg(self) -> bytes | None:
        """Return the file's bytes if it is a JPEG that a PDF can embed as it is (upright, grey or RGB); else None."""
        image = self._image
        plain = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
        try:
            turned = image.getexif().get(_ORIENTATION, 1) != 1
        except Exception:  # noqa: BLE001 - damaged EXIF, which other readers would fail on too
            return None
        return self._path.read_bytes() if plain and not turned else None

    def close(self) -> None:
        """Close the file."""
        self._image.close()


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # errors of the pixels are the page's
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:  # unturned, the page would be read sideways
        raise
    except Exception:  # noqa: BLE001 - the pixels are there: damaged EXIF is no reason to refuse them
        return image


def rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16 bits are scaled down, transparency becomes a white background."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((np.clip(values / top, 0, 1) * 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layers = image.convert("RGBA")
        background = Image.new("RGBA", layers.size, "white")
        background.alpha_composite(layers)
        return background.convert("RGB")
    return image.convert("RGB")


def _dpi(value: object) -> int:
    """Return dots per inch if the file says something credible, else 0."""
    try:
        dpi = round(float(value[0]))  # type: ignore[index]
    except (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError):
        return 0
    return dpi if 50 <= dpi <= 2400 else 0
