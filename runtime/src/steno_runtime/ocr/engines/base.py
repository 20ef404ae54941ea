"""The OCR engine interface: one page image in, recognized lines out, in pixels of that image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from steno_runtime.ocr.geometry import Quad, rotate_back

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class RecognizedWord:
    """One word; `confidence` is from 0 to 1."""

    quad: Quad
    text: str
    confidence: float


@dataclass(frozen=True)
class RecognizedLine:
    """One line of text.

    Attributes:
        quad: its corners, in pixels.
        text: its words, joined by spaces; empty: it was found, but nothing was read.
        confidence: mean over its characters, from 0 to 1.
        words: its words, where the engine finds them.
        block: the engine's own block that it belongs to, numbered in reading order; None: the engine has no blocks.
        vertical: whether it is a column of upright letters, as in Japanese books.
    """

    quad: Quad
    text: str
    confidence: float
    words: tuple[RecognizedWord, ...] = ()
    block: int | None = None
    vertical: bool = False


@dataclass(frozen=True)
class PageQuality:
    """What the pixels of a page say about it before it is read.

    Attributes:
        background: luminance of the page's background, 0 to 255.
        uniformity: share of the page whose background is like the rest, 0 to 1.
        dpi: 0 where unknown.
    """

    background: int
    uniformity: float
    dpi: int = 0

    @property
    def is_print(self) -> bool:
        """Whether it is dark text on a uniform, bright background: a scan or a rendered page, not a photograph."""
        return self.background >= 170 and self.uniformity >= 0.85


class RecognitionEngine(Protocol):
    """Reads one page image. An instance belongs to one thread."""

    name: str

    def reads(self, languages: Sequence[str]) -> bool:
        """Return whether it is installed and reads all of `languages` (BCP 47)."""
        ...

    def recognize(self, image: np.ndarray, languages: Sequence[str], quality: PageQuality) -> list[RecognizedLine]:
        """Read a page image.

        Args:
            image: (height, width, 3; RGB, uint8).
            languages: BCP 47, the main one first.
            quality: of `image`.

        Returns:
            The lines, in any order unless they have a block.
        """
        ...


def map_to_page(
    line: RecognizedLine, *, scale: float = 1.0, degrees: int = 0, width: float = 0, height: float = 0
) -> RecognizedLine:
    """Map a line on a scaled, then rotated image to the page that the image was made of.

    Args:
        line: on the image.
        scale: pixels of the image per pixel of the page.
        degrees: how far the scaled image was rotated, clockwise.
        width: of the page in pixels.
        height: of the page in pixels.
    """

    def move(quad: Quad) -> Quad:
        (a, b), (c, d), (e, f), (g, h) = quad
        scaled = (a / scale, b / scale), (c / scale, d / scale), (e / scale, f / scale), (g / scale, h / scale)
        return rotate_back(scaled, degrees, width, height)

    return moved(line, move)


def moved(line: RecognizedLine, move: Callable[[Quad], Quad]) -> RecognizedLine:
    """Return a line whose quad, and those of its words, are elsewhere."""
    words = tuple(replace(word, quad=move(word.quad)) for word in line.words)
    return replace(line, quad=move(line.quad), words=words)


def mean_confidence(lines: Sequence[RecognizedLine]) -> float:
    """Return the mean over `lines`, weighted by their characters; 0 without text."""
    characters = sum(len(line.text) for line in lines)
    return sum(line.confidence * len(line.text) for line in lines) / characters if characters else 0.0
