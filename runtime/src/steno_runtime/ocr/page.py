"""A page as a source gives it, and the limits that keep a hostile one from eating the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.words import SeenLine

if TYPE_CHECKING:
    import numpy as np


class PageError(Exception):
    """One page cannot be read; the rest of the document can. Its text is for the user."""


@dataclass(frozen=True)
class Limits:
    """What is taken on, at most."""

    max_pixels: int = 100_000_000
    """Of one page."""
    max_pages: int = 5_000
    """Read of one document."""
    max_dpi: int = 300
    """A PDF's page is rendered at most so finely."""
    min_dpi: int = 72
    default_dpi: int = 200
    """Of a PDF's page that says nothing itself."""

    def check_pixels(self, width: int, height: int) -> None:
        """Refuses a page before it is decoded.

        Raises:
            PageError: it has more than `max_pixels`.
        """
        if width * height > self.max_pixels:
            raise PageError(
                f"{width} x {height} pixels are more than the {self.max_pixels // 1_000_000} megapixels allowed; "
                "scale the image down or cut it up"
            )


@dataclass(frozen=True)
class PageInput:
    """One page: its pixels (height, width, 3; RGB), or the lines of text it carries itself."""

    number: int
    width: int
    height: int
    dpi: int
    pixels: np.ndarray | None = None
    embedded: tuple[SeenLine, ...] = ()


class Source(Protocol):
    """A document that gives its pages one at a time. It is used from one thread only."""

    kind: str
    pages: int

    def load(self, number: int) -> PageInput:
        """Loads page `number` (from 1). Raises PageError when only this page is bad."""
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...


def open_source(path: Path, limits: Limits, *, reuse_text: bool) -> Source:
    """Opens `path` by what it is, whatever its name says.

    Args:
        path: a local file.
        limits: what is refused.
        reuse_text: whether pages of a PDF that carry text give that instead of pixels.

    Raises:
        WorkError: `UnsupportedMedia` or `Encrypted`.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    if b"%PDF-" in head:
        from steno_runtime.ocr.pdf import PdfSource

        source: Source = PdfSource(path, limits, reuse_text=reuse_text)
    elif head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        from steno_runtime.ocr.images import ImageSource

        source = ImageSource(path, limits)
    else:
        what = "is empty" if not head else "is neither PNG, JPEG, TIFF nor PDF"
        raise WorkError(FailureReason.UNSUPPORTED_MEDIA, f"The source {what}; convert it to one of these.")
    return source
