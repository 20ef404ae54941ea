"""Page source for PNG, JPEG and multi-page TIFF; one page is in memory at a time."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.page import Limits, PageError, PageInput
from steno_runtime.ocr.pixels import rgb
from steno_runtime.ocr.png import without_metadata

FORMATS = ("PNG", "JPEG", "TIFF")
_ORIENTATION = 0x0112
"""The EXIF tag."""
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _PHOTOMETRIC = 254, 255, 262
_X_RESOLUTION, _RESOLUTION_UNIT = 282, 296
_OLD_REDUCED = 2
_REDUCED_OR_MASK = 0b101
"""Bits of NewSubfileType: a smaller copy of another image, or its transparency mask."""
_BYTES_PER_PIXEL = 3
"""Of the pages that `max_pixels` is meant for: one of grey or black and white may have as many times the pixels."""
_DRAFTED = ("JPEG", "MPO")
_BAND_ROWS = 2048
_SAME = 0.95
"""Correlation above which a small image shows the same as a large one."""
_HALF, _SHAPE = 0.55, 0.03
"""A smaller copy is at most about half as large, and of the same shape."""
_MIN_DPI, _MAX_DPI = 50, 2400
_SCREEN_DPI, _SCREEN_INCHES = 100, 24.0
"""A resolution up to this is a program's default rather than a measure if it makes a page larger than this."""
_FINE_DPI, _MIN_INCHES = 360, 3.0
"""One above this is not believed either if it makes a page smaller than this."""
_MAX_INCHES = 60.0

# 16 bits with white as zero, big-endian: Pillow has the little-endian one only.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))


class ImageSource:
    """The pages of an image file."""

    kind = "image"
    warnings: tuple[ResultWarning, ...] = ()

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        Image.MAX_IMAGE_PIXELS = None  # sizes are checked here, before any pixel is decoded
        try:
            self._image = _open(path)
            self._frames = _pages(self._image, limits) if self._image.format == "TIFF" else [0]
        except Exception as error:  # Pillow's readers raise anything on a damaged header
            raise WorkError(
                FailureReason.UNSUPPORTED_MEDIA,
                "The file is damaged: it begins as an image but cannot be opened as one.",
            ) from error
        self._full_size = self._image.size
        self.pages = len(self._frames)
        if skipped := getattr(self._image, "n_frames", 1) - self.pages if self._image.format == "TIFF" else 0:
            message = f"{skipped} image(s) of the TIFF are smaller copies or masks of its pages, and were left out."
            self.warnings = (ResultWarning(reason=WarningReason.PAGES_SKIPPED, message=message),)

    def load(self, number: int) -> PageInput:
        """Decode page `number` (from 1), turned upright as its EXIF says.

        Raises:
            PageError: it is damaged, cut short or too large.
        """
        try:
            if self._image.format == "TIFF":
                self._image.seek(self._frames[number - 1])
            dpi = _dpi(self._image, self._size())
            image, times = self._decoded()
            pixels = np.asarray(rgb(_upright(image), white_is_zero=_white_is_zero(self._image)))
        except PageError:
            raise
        except Exception as error:  # as above, and also too little memory
            raise PageError("the image is damaged or cut short; save or scan it again") from error
        page = PageInput(number, pixels.shape[1], pixels.shape[0], round(dpi / times), pixels=pixels)
        if times == 1:
            return page
        message = f"Page {number} is so large that it was read at 1/{times} of its resolution: check small print."
        return page.warned(WarningReason.REDUCED_RESOLUTION, message)

    def _size(self) -> tuple[int, int]:
        """Return width and height of the current frame as the file has it; a JPEG that was drafted has another."""
        return self._image.size if self._image.format == "TIFF" else self._full_size

    def _decoded(self) -> tuple[Image.Image, int]:
        """Return the current frame, shrunk while it is decoded if it has too many pixels, and how many times.

        Raises:
            PageError: it would need too much memory even so.
        """
        image, most = self._image, self._limits.max_pixels
        wide, high = self._size()
        if wide * high > most and image.format in _DRAFTED:
            times = 2 ** math.ceil(math.log2(wide * high / most) / 2)
            image.draft(None, (wide // times, high // times))
            self._limits.check_pixels(*image.size)
            return image, times
        if wide * high > most and image.mode in ("1", "L") and wide * high <= _BYTES_PER_PIXEL * most:
            times = math.ceil(math.sqrt(wide * high / most))
            return _reduced(image, times), times
        self._limits.check_pixels(wide, high)
        return image, 1

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


def _open(path: Path) -> Image.Image:
    with path.open("rb") as file:
        is_png = file.read(4) == b"\x89PNG"
    source: Path | io.BytesIO = (without_metadata(path) or path) if is_png else path
    image = Image.open(source, formats=FORMATS)
    # Pillow maps uncompressed pixels from a file it knows by name, but by the size that the image has once its
    # orientation is applied: a TIFF that lies on its side becomes slanted stripes.
    image.filename = ""
    return image


def _pages(image: Image.Image, limits: Limits) -> list[int]:
    """Return the frames of a TIFF that are pages: not the smaller copies of pyramids and previews, nor masks."""
    total = getattr(image, "n_frames", 1)
    pages: list[int] = []
    for frame in range(total):
        image.seek(frame)
        tags = _tags(image)
        marked = int(tags.get(_NEW_SUBFILE_TYPE, 0)) & _REDUCED_OR_MASK or tags.get(_SUBFILE_TYPE) == _OLD_REDUCED
        if not marked and not _repeats_smaller(image, frame, pages, limits):
            pages.append(frame)
    image.seek(pages[0] if pages else 0)
    return pages or list(range(total))


def _repeats_smaller(image: Image.Image, frame: int, pages: list[int], limits: Limits) -> bool:
    """Return whether the current frame shows the page before it once more, at half its size or less."""
    if not pages:
        return False
    size = image.size
    image.seek(pages[-1])
    large = image.size
    try:
        across, down = size[0] / large[0], size[1] / large[1]
        if max(across, down) > _HALF or abs(across - down) > _SHAPE * max(across, down):
            return False
        if large[0] * large[1] > limits.max_pixels:
            return False
        one = _sample(image)
        image.seek(frame)
        return bool(np.corrcoef(one, _sample(image))[0, 1] > _SAME)
    except Exception:  # noqa: BLE001 - damaged pixels: each frame is a page of its own, and says so
        return False
    finally:
        image.seek(frame)


def _sample(image: Image.Image) -> np.ndarray:
    small = rgb(image, white_is_zero=_white_is_zero(image)).convert("L").resize((24, 24), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel()


def _reduced(image: Image.Image, times: int) -> Image.Image:
    """Return an image in grey at a fraction of its size, shrunk band by band."""
    image.load()
    wide, high = image.size
    rows = _BAND_ROWS * times
    small = Image.new("L", (math.ceil(wide / times), math.ceil(high / times)))
    for top in range(0, high, rows):
        band = image.crop((0, top, wide, min(high, top + rows))).convert("L").reduce(times)
        small.paste(band, (0, top // times))
    return small


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # errors of the pixels are the page's
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:  # unturned, the page would be read sideways
        raise
    except Exception:  # noqa: BLE001 - the pixels are there: damaged EXIF is no reason to refuse them
        return image


def _tags(image: Image.Image) -> dict[int, Any]:
    """Return the tags of a TIFF's current frame, else none."""
    return dict(getattr(image, "tag_v2", {}))


def _white_is_zero(image: Image.Image) -> bool:
    return image.mode[0] in "IF" and _tags(image).get(_PHOTOMETRIC) == 0


def _dpi(image: Image.Image, size: tuple[int, int]) -> int:
    """Return dots per inch if the file says something credible for an image of `size`, else 0."""
    try:
        if image.format == "TIFF":  # `info` keeps what the frame before it said
            unit = _tags(image).get(_RESOLUTION_UNIT, 2)
            return credible_dpi(float(_tags(image)[_X_RESOLUTION]) * {2: 1.0, 3: 2.54}.get(unit, 0.0), size)
        return credible_dpi(float(image.info["dpi"][0]), size)
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError):
        return 0


def credible_dpi(dpi: float, size: tuple[int, int]) -> int:
    """Return a header's resolution if it makes a sheet of paper of an image of `size`, else 0.

    A sheet of an inch, or of many feet, is a default of the program that wrote the header.
    """
    if not _MIN_DPI <= dpi <= _MAX_DPI:
        return 0
    inches = max(size) / dpi
    of_screen = dpi <= _SCREEN_DPI and inches > _SCREEN_INCHES
    return 0 if of_screen or inches > _MAX_INCHES or (dpi > _FINE_DPI and inches < _MIN_INCHES) else round(dpi)
