"""Pages as people send them: a short one with known words, composed with what scanners, cameras and exporters do to it.

Strategies of hypothesis; `shown` is what the file's page shows, `write` makes the file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pikepdf
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, ImageFilter, ImageFont
from PIL.PngImagePlugin import PngInfo

from .render import FONTS

WORDS = ("The harbour office opens at nine.", "Ships wait outside until noon,", "and pier 27 stays closed today.")
TEXT = " ".join(WORDS)
_INCHES = (5.0, 2.2)
_SMALL_PRINT = 11
"""Points."""
Turn = Literal[0, 90, 180, 270]
_EXIF = {0: 1, 90: 6, 180: 3, 270: 8}
"""The orientation that says: turn it clockwise by so much."""
_PHOTOMETRIC = 262

PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBA white letters", "I;16", "L tRNS")
JPEG = ("L", "RGB", "CMYK")
TIFF = (
    "1", "1 min-is-white", "L", "L min-is-white", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I;16 twelve bits",
    "I;16 min-is-white", "I;16B", "F one", "F 255", "I",
)  # fmt: skip
PDF = ("L", "RGB", "1")
MODES = {"png": PNG, "jpg": JPEG, "tif": TIFF, "pdf": PDF, "webp": ("RGB",)}


@dataclass(frozen=True)
class Degraded:
    """One way to send the page."""

    container: str
    mode: str
    dpi: int
    header: int | None
    turn: Turn
    upright_by_tag: bool
    """Whether EXIF, or the PDF's own /Rotate, turns the page back."""
    skew: float
    blur: float
    noise: float
    quality: int
    margin: float
    """Inches of white around the page."""
    thumbnail: bool
    metadata: bool
    crop: bool
    """Of a PDF: the sheet is twice as wide, and its crop box shows the page alone."""


@st.composite
def degraded(draw: Any, *, readable: bool = False) -> Degraded:
    """Return ways to send the page; `readable`: in formats that are not refused."""
    container = draw(st.sampled_from(sorted(set(MODES) - ({"webp"} if readable else set()))))
    return Degraded(
        container=container,
        mode=draw(st.sampled_from(MODES[container])),
        dpi=draw(st.sampled_from((72, 100, 150, 200, 300, 600))),
        header=draw(st.sampled_from((None, 1, 72, 96, 200, 300, 600, 1200, 2400, 65535))),
        turn=draw(st.sampled_from((0, 90, 180, 270))),
        upright_by_tag=draw(st.booleans()),
        skew=draw(st.sampled_from((0.0, 0.0, -5.0, -1.5, 0.7, 3.0, 5.0))),
        blur=draw(st.sampled_from((0.0, 0.0, 0.5, 1.0))),
        noise=draw(st.sampled_from((0.0, 0.0, 6.0, 20.0))),
        quality=draw(st.sampled_from((30, 60, 92))),
        margin=draw(st.sampled_from((0.0, 0.5, 1.5))),
        thumbnail=draw(st.booleans()),
        metadata=draw(st.booleans()),
        crop=draw(st.booleans()),
    )


def clean(dpi: int) -> Image.Image:
    """Return the page as it was printed, in grey."""
    wide, high = (round(inches * dpi) for inches in _INCHES)
    image = Image.new("L", (wide, high), 255)
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(str(FONTS["en"]), round(_SMALL_PRINT * dpi / 72))
    for row, line in enumerate(WORDS):
        draw.text((0.35 * dpi, (0.45 + 0.45 * row) * dpi), line, fill=25, font=font)
    return image


def shown(way: Degraded, *, as_sent: bool = False) -> Image.Image:
    """Return what a viewer of the file shows, in grey: as it was printed, or `as_sent`, with its blur and noise."""
    image = clean(way.dpi)
    if way.margin:
        edge = round(way.margin * way.dpi)
        larger = Image.new("L", (image.width + 2 * edge, image.height + 2 * edge), 255)
        larger.paste(image, (edge, edge))
        image = larger
    image = image.rotate(way.skew, Image.Resampling.BICUBIC, fillcolor=255)
    if as_sent and way.blur:
        image = image.filter(ImageFilter.GaussianBlur(way.blur * way.dpi / 150))
    if as_sent and way.noise:
        pixels = np.asarray(image, dtype=np.float32)
        pixels = pixels + np.random.default_rng(1).normal(0, way.noise, pixels.shape)
        image = Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8))
    return image if is_upright(way) else image.rotate(-way.turn, expand=True)


def is_upright(way: Degraded) -> bool:
    """Return whether the page is shown upright: it lies so, or the file says how to turn it."""
    return way.turn == 0 or way.upright_by_tag


def write(way: Degraded, folder: Path) -> Path:
    """Write the file."""
    grey = shown(way, as_sent=True)
    if is_upright(way) and way.turn:
        grey = grey.rotate(way.turn, expand=True)  # the tag turns it back
    pixels = np.asarray(grey, dtype=np.float32)
    path = folder / f"page.{way.container}"
    _WRITERS[way.container](way, pixels, path)
    return path


def _in_mode(mode: str, pixels: np.ndarray) -> Image.Image:
    grey = Image.fromarray(pixels.astype(np.uint8))
    make = _MADE.get(mode)
    return make(grey, pixels) if make else grey.convert(mode)


def _on_nothing(mode: str, grey: Image.Image, ink: int) -> Image.Image:
    """Return letters on nothing."""
    image = Image.new("L", grey.size, ink).convert(mode)
    image.putalpha(Image.fromarray(255 - np.asarray(grey)))
    return image


def _lab(grey: Image.Image) -> Image.Image:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    made = ImageCms.applyTransform(grey.convert("RGB"), to_lab)
    assert made is not None
    return made


_BITONAL = [0] * 140 + [255] * 116
_MADE: dict[str, Callable[[Image.Image, np.ndarray], Image.Image]] = {
    "1": lambda grey, _: grey.point(_BITONAL).convert("1"),
    "1 min-is-white": lambda grey, _: grey.point([255 - value for value in _BITONAL[::-1]]).convert("1"),
    "L min-is-white": lambda grey, _: grey,
    "L tRNS": lambda grey, _: grey,
    "P": lambda grey, _: grey.convert("RGB").quantize(16),
    "LA": lambda grey, _: _on_nothing("LA", grey, 0),
    "RGBA": lambda grey, _: _on_nothing("RGBA", grey, 0),
    "RGBA white letters": lambda grey, _: _on_nothing("RGBA", grey, 255),
    "LAB": lambda grey, _: _lab(grey),
    "I;16": lambda _, pixels: Image.fromarray((pixels * 257).astype(np.uint16)),
    "I;16B": lambda _, pixels: Image.fromarray((pixels * 257).astype(np.uint16)),
    "I;16 twelve bits": lambda _, pixels: Image.fromarray((pixels * 4095 / 255).astype(np.uint16)),
    "I;16 min-is-white": lambda _, pixels: Image.fromarray(((255 - pixels) * 257).astype(np.uint16)),
    "I": lambda _, pixels: Image.fromarray((pixels * 257).astype(np.int32)),
    "F one": lambda _, pixels: Image.fromarray((pixels / 255).astype(np.float32)),
    "F 255": lambda _, pixels: Image.fromarray(pixels.astype(np.float32)),
}


def _orientation(way: Degraded) -> int:
    return _EXIF[way.turn] if way.upright_by_tag else 1


def _exif(way: Degraded) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = _orientation(way)
    return exif


def _dpi(way: Degraded) -> dict[str, Any]:
    return {} if way.header is None else {"dpi": (way.header, way.header)}


def _write_png(way: Degraded, pixels: np.ndarray, path: Path) -> None:
    info = PngInfo()
    if way.metadata:
        info.add_itxt("XML:com.adobe.xmp", "x" * 2_000_000, zip=True)
    image = _in_mode(way.mode, pixels)
    transparent: dict[str, Any] = {"transparency": 255} if way.mode == "L tRNS" else {}
    image.save(path, pnginfo=info, exif=_exif(way), compress_level=1, **_dpi(way), **transparent)


def _write_jpg(way: Degraded, pixels: np.ndarray, path: Path) -> None:
    comment: dict[str, Any] = {"comment": b"x" * 60_000} if way.metadata else {}
    image = _in_mode(way.mode, pixels)
    image.save(path, quality=way.quality, exif=_exif(way), progressive=way.crop, **_dpi(way), **comment)


def _write_tif(way: Degraded, pixels: np.ndarray, path: Path) -> None:
    min_is_white = "min-is-white" in way.mode
    if min_is_white and not way.mode.startswith("I"):
        pixels = 255 - pixels
    image = _in_mode(way.mode, pixels)
    tags: dict[int, Any] = {274: _orientation(way)}
    if way.metadata:
        tags[270] = "x" * 2_000_000
    if way.mode == "I;16B":
        big = np.asarray(image).astype(">u2").tobytes()
        image = Image.frombytes("I;16B", image.size, big)
    more = [image.resize((image.width // 5, image.height // 5))] if way.thumbnail and image.mode in ("L", "RGB") else []
    kept: dict[str, Any] = {"save_all": True, "append_images": more} if more else {}
    image.save(path, tiffinfo=tags, **_dpi(way), **kept)
    if min_is_white:
        path.write_bytes(_with_white_zero(path.read_bytes()))


def _with_white_zero(tiff: bytes) -> bytes:
    """Set PhotometricInterpretation to 0 in every directory of a little-endian TIFF."""
    data = bytearray(tiff)
    at = int.from_bytes(data[4:8], "little")
    while at:
        end = at + 2 + 12 * int.from_bytes(data[at : at + 2], "little")
        for start in range(at + 2, end, 12):
            if int.from_bytes(data[start : start + 2], "little") == _PHOTOMETRIC:
                data[start + 8 : start + 12] = bytes(4)
        at = int.from_bytes(data[end : end + 4], "little")
    return bytes(data)


def _write_pdf(way: Degraded, pixels: np.ndarray, path: Path) -> None:
    """Write a page that is one picture, as wide as the header says (if that is possible), cropped and turned."""
    buffer = io.BytesIO()
    quality: dict[str, Any] = {} if way.mode == "1" else {"quality": way.quality}
    resolution = min(max(way.header or 72, 20), 1200)
    _in_mode(way.mode, pixels).save(buffer, "PDF", resolution=resolution, **quality)
    with pikepdf.open(buffer) as pdf:
        page = pdf.pages[0]
        if way.crop:
            wide = float(page.MediaBox[2])
            page.contents_add(b"q 1 0 0 1 %d 0 cm" % math.ceil(wide), prepend=True)
            page.contents_add(b"Q")
            page.MediaBox[2] = 2 * math.ceil(wide)
            page.CropBox = [math.ceil(wide), 0, math.ceil(wide) + wide, page.MediaBox[3]]
        if way.upright_by_tag:
            page.Rotate = way.turn
        if way.metadata:
            pdf.Root.Metadata = pdf.make_stream(b"x" * 2_000_000)
        pdf.save(path)


def _write_webp(way: Degraded, pixels: np.ndarray, path: Path) -> None:
    _in_mode(way.mode, pixels).save(path, quality=way.quality)


_WRITERS = {"png": _write_png, "jpg": _write_jpg, "tif": _write_tif, "pdf": _write_pdf, "webp": _write_webp}
