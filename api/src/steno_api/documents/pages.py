"""The page document: what an OCRJob publishes as `pages.json`.

Its keys are snake_case like those of the transcript. Lengths are pixels of the page as a viewer shows it (EXIF and the
PDF's own `/Rotate` applied) at the page's `dpi`, counted from its top left corner.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from steno_api.documents.warnings import ResultWarning

SCHEMA_VERSION = "steno.dev/pages/v1"

EngineName = Literal["auto", "tesseract", "rapidocr", "paddleocr"]
"""An OCR engine, as documents, the REST API and the command line name it; `auto`: selected for each page."""

Point = tuple[int, int]
"""x to the right, y down, in pixels."""

Polygon = tuple[Point, Point, Point, Point]
"""Four corners: top left, top right, bottom right, bottom left, in the direction in which the text is read."""

Confidence = Annotated[float, Field(ge=0, le=1)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Word(_Document):
    """One word; in scripts without spaces, what the engine considers one."""

    polygon: Polygon
    text: str
    confidence: Confidence


class Line(_Document):
    """One line of text."""

    polygon: Polygon
    text: str
    confidence: Confidence
    words: tuple[Word, ...] = ()


class Region(_Document):
    """Lines that belong together, in reading order."""

    kind: Literal["heading", "paragraph"]
    polygon: Polygon
    lines: tuple[Line, ...]


class Page(_Document):
    """One page; a page that could not be read has `error` and no regions."""

    number: int = Field(ge=1)
    """Its number in the source, from 1."""
    width: int = Field(ge=0)
    height: int = Field(ge=0)
    dpi: int = Field(ge=0)
    """Dots per inch of `width` and `height`; 0: the source does not say."""
    rotation: Literal[0, 90, 180, 270] = 0
    """Degrees clockwise by which the page must be turned to be upright."""
    languages: tuple[str, ...] = ()
    """Languages it was read as (BCP 47)."""
    engine: str | None = None
    """`tesseract`, `rapidocr`, `paddleocr`; `embedded`: the text that the PDF itself contains."""
    engine_reason: str | None = None
    """Why this engine, for people."""
    confidence: Confidence = 0.0
    """Mean of its lines' confidences, weighted by their characters; 0 on a page without text."""
    regions: tuple[Region, ...] = ()
    text: str = ""
    """Its lines, one below the other; an empty line separates two regions."""
    error: str | None = None


class Pages(_Document):
    """The result of an OCRJob."""

    schema_version: Literal["steno.dev/pages/v1"] = SCHEMA_VERSION
    tenant_id: str
    document_id: str
    engine: str
    """The engine that was requested, possibly `auto`; each page names its own."""
    total_pages: int
    """Pages in this document, including failed ones."""
    failed_pages: int
    confidence: Confidence
    """Mean over the pages that were read, weighted by their characters."""
    processing_time: float
    """Seconds from the task's start to the finished document."""
    text: str
    """The pages' texts, separated by form feeds."""
    pages: tuple[Page, ...]
    metadata: dict[str, str] = {}
    """Free text of whoever asked for it: `spec.metadata`."""
    warnings: tuple[ResultWarning, ...] = ()
    """What was lost, doubted or guessed."""
