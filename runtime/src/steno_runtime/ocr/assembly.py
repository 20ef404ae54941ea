"""Pages as documents have them, made of the lines that were recognized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from steno_api.documents.pages import Line, Page, Polygon, Region, Word
from steno_runtime.ocr.engines.base import RecognizedLine, mean_confidence
from steno_runtime.ocr.geometry import Quad
from steno_runtime.ocr.layout import Block, arrange, outline
from steno_runtime.ocr.page import PageInput


def build_page(
    page: PageInput,
    lines: Sequence[RecognizedLine],
    *,
    engine: str | None,
    reason: str,
    blocks: Sequence[Block] | None = None,
    rotation: int = 0,
    languages: Sequence[str] = (),
) -> Page:
    """Return the page of a document.

    Args:
        page: what was read.
        lines: what was recognized on it.
        engine: the engine that recognized them; None: none was needed.
        reason: why that engine.
        blocks: the lines in reading order; None: they are arranged here.
        rotation: how far the page must be turned clockwise to be upright, in degrees.
        languages: BCP 47, that it was read as.
    """
    arranged = arrange(lines) if blocks is None else blocks
    regions = tuple(
        Region(kind=block.kind, polygon=_polygon(outline(block.lines)), lines=tuple(map(_line, block.lines)))
        for block in arranged
    )
    return Page(
        number=page.number,
        width=page.width,
        height=page.height,
        dpi=page.dpi,
        rotation=cast("Literal[0, 90, 180, 270]", rotation),
        languages=tuple(languages),
        engine=engine,
        engine_reason=reason,
        confidence=round(mean_confidence(lines), 4),
        regions=regions,
        text="\n\n".join("\n".join(line.text for line in region.lines) for region in regions),
    )


def failed_page(number: int, error: str) -> Page:
    """Return a page that could not be read; `error` is for the user."""
    return Page(number=number, width=0, height=0, dpi=0, error=error)


def _line(line: RecognizedLine) -> Line:
    words = tuple(
        Word(polygon=_polygon(word.quad), text=word.text, confidence=round(word.confidence, 4)) for word in line.words
    )
    return Line(polygon=_polygon(line.quad), text=line.text, confidence=round(line.confidence, 4), words=words)


def _polygon(quad: Quad) -> Polygon:
    a, b, c, d = ((round(x), round(y)) for x, y in quad)
    return a, b, c, d
