"""What an engine says about a page, in pixels of the image it was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

Corner = tuple[float, float]
Quad = tuple[Corner, Corner, Corner, Corner]
"""Top left, top right, bottom right, bottom left, as one who reads the text sees them."""


@dataclass(frozen=True)
class SeenWord:
    """One word."""

    quad: Quad
    text: str
    confidence: float


@dataclass(frozen=True)
class SeenLine:
    """One line; `block` numbers the engine's own blocks in reading order, None if it has no idea of them."""

    quad: Quad
    text: str
    confidence: float
    words: tuple[SeenWord, ...] = ()
    block: int | None = None


@dataclass(frozen=True)
class Look:
    """What can be told of a page before it is read.

    Attributes:
        paper: luminance of the page's ground, 0 to 255.
        even: share of the page whose ground is like the rest.
        dpi: 0 where unknown.
    """

    paper: int
    even: float
    dpi: int = 0

    @property
    def print_like(self) -> bool:
        """Dark text on an even, bright ground: a scan or a rendered page, no photograph."""
        return self.paper >= 170 and self.even >= 0.85


class Engine(Protocol):
    """Reads one page image. An instance belongs to one thread."""

    name: str

    def reads(self, languages: Sequence[str]) -> bool:
        """Whether it is installed and reads all of `languages` (BCP 47)."""
        ...

    def recognise(self, image: np.ndarray, languages: Sequence[str], look: Look) -> list[SeenLine]:
        """Reads `image` (height, width, 3; RGB, uint8); lines come in any order unless they have a block."""
        ...


def box(left: float, top: float, right: float, bottom: float) -> Quad:
    """The upright rectangle as a quad."""
    return (left, top), (right, top), (right, bottom), (left, bottom)


def bounds(quads: Sequence[Quad]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom around all of `quads`."""
    xs = [x for quad in quads for x, _ in quad]
    ys = [y for quad in quads for _, y in quad]
    return min(xs), min(ys), max(xs), max(ys)


def turn(quad: Quad, degrees: int, width: float, height: float) -> Quad:
    """Maps `quad` on a page turned clockwise by `degrees` back onto the page before; `width`, `height` are of that."""

    def back(x: float, y: float) -> Corner:
        match degrees:
            case 90:
                return y, height - x
            case 180:
                return width - x, height - y
            case 270:
                return width - y, x
            case _:
                return x, y

    a, b, c, d = quad
    return back(*a), back(*b), back(*c), back(*d)


def placed(line: SeenLine, *, scale: float = 1.0, degrees: int = 0, width: float = 0, height: float = 0) -> SeenLine:
    """Moves a line seen on a scaled, then turned image to the page it was made of (`width` by `height`)."""

    def move(quad: Quad) -> Quad:
        (a, b), (c, d), (e, f), (g, h) = quad
        scaled = (a / scale, b / scale), (c / scale, d / scale), (e / scale, f / scale), (g / scale, h / scale)
        return turn(scaled, degrees, width, height)

    words = tuple(replace(word, quad=move(word.quad)) for word in line.words)
    return replace(line, quad=move(line.quad), words=words)


def mean_confidence(lines: Sequence[SeenLine]) -> float:
    """Mean over `lines`, weighted by their characters; 0 without text."""
    characters = sum(len(line.text) for line in lines)
    return sum(line.confidence * len(line.text) for line in lines) / characters if characters else 0.0
