"""Quadrilaterals on a page, in pixels: corners run clockwise from the top left, as a reader of the text sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Corner = tuple[float, float]
Quad = tuple[Corner, Corner, Corner, Corner]
"""Top left, top right, bottom right, bottom left, as a reader of the text sees them."""


def box(left: float, top: float, right: float, bottom: float) -> Quad:
    """Return an upright rectangle as a quad.

    Args:
        left: x of its left edge.
        top: y of its top edge.
        right: x of its right edge.
        bottom: y of its bottom edge.
    """
    return (left, top), (right, top), (right, bottom), (left, bottom)


def direction(quad: Quad) -> Literal["across", "down", "up"]:
    """Return where text runs that is read from the quad's left to its right side."""
    (left, top), (right, low) = quad[:2]
    if abs(low - top) <= abs(right - left):
        return "across"
    return "down" if low > top else "up"


def turned_left(quad: Quad) -> Quad:
    """Return the corners of the same place for text that runs down, if the letters of `quad` stand upright."""
    a, b, c, d = quad
    return b, c, d, a


def turned_right(quad: Quad) -> Quad:
    """Return the corners of the same place for text that runs up, if the letters of `quad` stand upright."""
    a, b, c, d = quad
    return d, a, b, c


def bounds(quads: Sequence[Quad]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom around all of `quads`."""
    xs = [x for quad in quads for x, _ in quad]
    ys = [y for quad in quads for _, y in quad]
    return min(xs), min(ys), max(xs), max(ys)


def shifted(quad: Quad, right: float, down: float) -> Quad:
    """Return the corners of a quad that is moved.

    Args:
        quad: before.
        right: pixels to the right.
        down: pixels down.
    """
    (a, b), (c, d), (e, f), (g, h) = quad
    return (a + right, b + down), (c + right, d + down), (e + right, f + down), (g + right, h + down)


def rotate_back(quad: Quad, degrees: int, width: float, height: float) -> Quad:
    """Map a quad on a rotated page back onto the page before its rotation.

    Args:
        quad: on the rotated page.
        degrees: how far the page was rotated, clockwise: 0, 90, 180 or 270.
        width: of the page before its rotation.
        height: of the page before its rotation.
    """

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
