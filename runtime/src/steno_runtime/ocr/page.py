"""A page as a source gives it, the page ranges that users write, and the limits on hostile documents."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.engines.base import RecognizedLine

if TYPE_CHECKING:
    import numpy as np

_RANGE = re.compile(r"\s*(?:(?P<one>\d+)|(?P<first>\d+)?\s*-\s*(?P<last>\d+)?)\s*")


class PageError(Exception):
    """One page cannot be read, but the rest of the document can. Its text is for the user."""

    def __init__(self, message: str, reason: FailureReason = FailureReason.UNSUPPORTED_MEDIA) -> None:
        """Set the text, and the reason of the document's failure if no page can be read."""
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """Upper bounds on a document.

    Attributes:
        max_pixels: of one page.
        max_pages: read of one document.
        remedy: what to do with a document of more.
        max_dpi: at which a page of a PDF is rendered.
        min_dpi: at which a page of a PDF is rendered; a page that is too large for it is refused.
        default_dpi: of a PDF's page that does not say itself.
    """

    max_pixels: int = 100_000_000
    max_pages: int = 5_000
    remedy: str = "split the document or name fewer `pages`"
    max_dpi: int = 300
    min_dpi: int = 72
    default_dpi: int = 200

    def check_pixels(self, width: int, height: int) -> None:
        """Refuse a page before it is decoded.

        Raises:
            PageError: it has more than `max_pixels`.
        """
        if width * height > self.max_pixels:
            raise PageError(
                f"{width} x {height} pixels are more than the {self.max_pixels // 1_000_000} megapixels allowed; "
                "scale the image down or cut it up",
                FailureReason.TOO_LARGE,
            )


@dataclass(frozen=True)
class Picture:
    """A part of a page that is to be read: its pixels (height, width, 3; RGB, uint8), and where it is on the page."""

    left: int
    top: int
    pixels: np.ndarray


@dataclass(frozen=True)
class PageInput:
    """One page: its pixels (height, width, 3; RGB, uint8), or the lines of text that it carries itself.

    Attributes:
        embedded: lines of its own text; of a page with pixels: those that the pixels do not show.
        pictures: parts to be read, of a page that carries the text of the rest.
    """

    number: int
    width: int
    height: int
    dpi: int
    pixels: np.ndarray | None = None
    embedded: tuple[RecognizedLine, ...] = ()
    pictures: tuple[Picture, ...] = ()
    warnings: tuple[ResultWarning, ...] = ()

    def warned(self, reason: WarningReason, message: str) -> PageInput:
        """Return the page with another warning."""
        return replace(self, warnings=(*self.warnings, ResultWarning(reason=reason, message=message, page=self.number)))


class PageSource(Protocol):
    """A document that gives its pages one at a time. It is used from one thread only."""

    kind: str
    pages: int
    warnings: tuple[ResultWarning, ...]
    """Of the document as a whole."""

    def load(self, number: int) -> PageInput:
        """Load page `number` (from 1).

        Raises:
            PageError: only this page cannot be read.
        """
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


def select_pages(spec: str | None, total: int) -> list[int]:
    """Return the numbers (from 1, ascending, each once) of the pages that `spec` names; all of them without one.

    Ranges are written as `1-20,25`, `3-` or `-4`. A range may end past the last page, as with a printer.

    Raises:
        WorkError: `InvalidSpec`: it is malformed, or names no page of this document.
    """
    if spec is None or not spec.strip():
        return list(range(1, total + 1))
    chosen: set[int] = set()
    for part in spec.split(","):
        match = _RANGE.fullmatch(part)
        if match is None or not any(match.groups()):
            raise WorkError(
                FailureReason.INVALID_SPEC,
                f"pages: {part.strip()!r} is not a page range; write for example 1-20,25 or 3-.",
            )
        if match["one"]:
            first = last = int(match["one"])
        else:
            first, last = int(match["first"] or 1), int(match["last"] or total)
            if match["first"] and match["last"] and last < first:
                raise WorkError(FailureReason.INVALID_SPEC, f"pages: {part.strip()!r} ends before it begins.")
        if first < 1:
            raise WorkError(FailureReason.INVALID_SPEC, "pages: the first page is 1.")
        chosen.update(range(first, min(last, total) + 1))
    if not chosen:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"pages: {spec!r} names no page of this document; it has {total} page(s).",
        )
    return sorted(chosen)
