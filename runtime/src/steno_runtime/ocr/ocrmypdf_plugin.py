"""OCRmyPDF plugin with Steno's engines: `ocrmypdf --plugin steno_runtime.ocr.ocrmypdf_plugin in.pdf out.pdf`.

Run by `searchable`, it returns the pages that were read already; run by itself, it reads each page as it comes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from ocrmypdf import hookimpl
from ocrmypdf.hocrtransform import Baseline, BoundingBox, OcrClass, OcrElement
from ocrmypdf.pluginspec import OcrEngine, OrientationConfidence
from PIL import Image

from steno_api.documents.pages import Line, Page, Polygon
from steno_runtime.ocr.geometry import Quad, rotate_back
from steno_runtime.ocr.languages import LANGUAGES, tesseract_names
from steno_runtime.ocr.page import PageError, PageInput
from steno_runtime.ocr.pixels import rgb
from steno_runtime.ocr.reader import PageReader

_ORIENTATION_CONFIDENCE = 15.0
"""OCRmyPDF's scale of orientation confidence ends about here."""
_DESCENT = 0.2
"""Share of a line's height below its baseline."""
_COLUMN = 1.5
"""Times its width that a column of upright letters is high."""
_HANGUL = re.compile("[\u1100-\u11ff\uac00-\ud7af]")
_LEVEL = 0.035
"""Two degrees: text laid level over a line skewed by less is near enough, and read in order by every extractor."""
_BLANK = 250
"""OCRmyPDF paints text that stays visible white before OCR; a word as bright as this was painted over."""

PageLookup = Callable[[int], Page | None]
"""Returns the page at an index (from 0) of the PDF, as it was read before."""

_pages_by_pdf: dict[Path, PageLookup] = {}
_local = threading.local()


def register(pdf: Path, pages: PageLookup) -> None:
    """Make OCRmyPDF's run over `pdf` use `pages`."""
    _pages_by_pdf[pdf] = pages


def unregister(pdf: Path) -> None:
    """Undo `register`."""
    _pages_by_pdf.pop(pdf, None)


class StenoOcrEngine(OcrEngine):
    """The interface that OCRmyPDF calls."""

    @staticmethod
    def version() -> str:
        """Return the version of the plugin's page format."""
        return "1"

    @staticmethod
    def creator_tag(options: Any) -> str:  # noqa: ARG004
        """Return the creator for the PDF's metadata."""
        return "Steno"

    def __str__(self) -> str:
        return "Steno"

    @staticmethod
    def languages(options: Any) -> set[str]:  # noqa: ARG004
        """Return Tesseract's names of the languages, as OCRmyPDF's `-l` expects them."""
        return set(tesseract_names(sorted(LANGUAGES)))

    @staticmethod
    def get_orientation(input_file: Path, options: Any) -> OrientationConfidence:
        """Return how far the page must be turned."""
        match = re.match(r"(\d+)_", input_file.name)  # OCRmyPDF's files of a page begin with its number
        page = _page_read_before(options, int(match[1]) - 1) if match else None
        return OrientationConfidence(page.rotation if page else 0, _ORIENTATION_CONFIDENCE)

    @staticmethod
    def supports_generate_ocr() -> bool:
        """Return True: it returns element trees rather than hOCR."""
        return True

    @staticmethod
    def generate_ocr(input_file: Path, options: Any, page_number: int = 0) -> tuple[OcrElement, str]:
        """Return the page as elements in pixels of `input_file`, and its text."""
        with Image.open(input_file) as image:
            pixels = np.asarray(rgb(image))
            dpi = float(image.info.get("dpi", (200, 200))[0])
        page = _page_read_before(options, page_number)
        if page is None:
            page = _read_now(pixels, round(dpi), page_number, options)
        return element(page, pixels, dpi, page_number), page.text

    @staticmethod
    def generate_hocr(input_file: Path, output_hocr: Path, output_text: Path, options: Any) -> None:
        """Not called for an engine that returns elements."""
        raise NotImplementedError

    @staticmethod
    def generate_pdf(input_file: Path, output_pdf: Path, output_text: Path, options: Any) -> None:
        """Not called for an engine that returns elements."""
        raise NotImplementedError


@hookimpl
def get_ocr_engine(options: Any) -> StenoOcrEngine:  # noqa: ARG001
    """Register the engine, before OCRmyPDF's own."""
    return StenoOcrEngine()


def _page_read_before(options: Any, index: int) -> Page | None:
    lookup = _pages_by_pdf.get(Path(str(options.input_file)))
    return lookup(index) if lookup else None


def _read_now(pixels: np.ndarray, dpi: int, index: int, options: Any) -> Page:
    reader: PageReader | None = getattr(_local, "reader", None)
    if reader is None:
        asked = {name: key for key in sorted(LANGUAGES, reverse=True) for name in tesseract_names([key])}
        languages = [asked[name] for name in options.languages if name in asked]
        reader = _local.reader = PageReader(engine="auto", languages=languages, model_store=None, threads=1)
    page = PageInput(index + 1, pixels.shape[1], pixels.shape[0], dpi, pixels=pixels)
    try:
        return reader.read(page)
    except PageError:
        return Page(number=index + 1, width=page.width, height=page.height, dpi=dpi)


def element(page: Page, pixels: np.ndarray, dpi: float, index: int) -> OcrElement:
    """Return the element tree of a page on an upright image of it, which may have another size.

    Words that the image does not show are left out.

    Args:
        page: as it was read.
        pixels: of the image (height, width, 3; RGB, uint8).
        dpi: of the image.
        index: of the page in the PDF, from 0.
    """
    height, width = pixels.shape[:2]
    across, down = (page.height, page.width) if page.rotation in (90, 270) else (page.width, page.height)
    scale = width / max(1, across), height / max(1, down)
    grey = pixels.max(axis=2)

    def place(polygon: Polygon) -> Quad:
        # `rotate_back` maps back from a page turned by r; turning forth by r is turning back by 360 - r.
        upright = rotate_back(polygon, (360 - page.rotation) % 360, across, down)
        a, b, c, d = ((x * scale[0], y * scale[1]) for x, y in upright)
        return a, b, c, d

    def shown(quad: Quad) -> bool:
        box = _box(quad)
        part = grey[int(box.top) : int(box.bottom) + 1, int(box.left) : int(box.right) + 1]
        return part.size > 0 and int(part.min()) < _BLANK

    def line_element(line: Line) -> OcrElement | None:
        words = [(word, quad) for word in line.words or [line] if shown(quad := place(word.polygon))]
        if not words:
            return None
        seen = [quad for _, quad in words]
        children = [
            OcrElement(OcrClass.WORD, bbox=_box(quad), text=_spaced(word.text), confidence=word.confidence)
            for word, quad in words
        ]
        top_left, top_right, low_right, low_left = place(line.polygon)
        # The renderer takes the letters' size from the box's height and the first letter's place from its lower left
        # corner: on a skewed line the box around all of it would be too high for either.
        size = max(1.0, min(low_left[1] - top_left[1], 1.5 * median(_box(quad).height for quad in seen)))
        left, right = (top_left[1] + low_left[1]) / 2, (top_right[1] + low_right[1]) / 2
        slope = (right - left) / max(1.0, low_right[0] - low_left[0])
        if abs(slope) < _LEVEL:
            left, slope = (left + right) / 2, 0.0
        low = left + size / 2
        box = BoundingBox(low_left[0], max(0.0, low - size), max(low_left[0], low_right[0]), low)
        return OcrElement(OcrClass.LINE, bbox=box, baseline=Baseline(slope, -_DESCENT * size), children=children)

    paragraphs = [
        OcrElement(OcrClass.PARAGRAPH, bbox=_box(place(region.polygon)), children=children)
        for region in page.regions
        if (children := [made for line in region.lines for part in _letters(line) if (made := line_element(part))])
    ]
    whole = BoundingBox(0, 0, width, height)
    return OcrElement(OcrClass.PAGE, bbox=whole, dpi=dpi, page_number=index, children=paragraphs)


def _letters(line: Line) -> list[Line]:
    """Return the letters of a column of upright letters as lines of their own, since rows are all that is written."""
    (_, top), (_, right), _, (_, low) = line.polygon
    (left, _), (end, _) = line.polygon[:2]
    column = top == right or abs(right - top) < abs(end - left)
    if not column or low - top < _COLUMN * (end - left) or len(line.words) < 2:
        return [line]
    return [Line(polygon=word.polygon, text=word.text, confidence=word.confidence) for word in line.words]


def _spaced(text: str) -> str:
    """Add a space to a word of Hangul: OCRmyPDF writes none between such words, as if they were Han."""
    return f"{text} " if _HANGUL.search(text) else text


def _box(quad: Quad) -> BoundingBox:
    xs, ys = [max(0.0, x) for x, _ in quad], [max(0.0, y) for _, y in quad]
    return BoundingBox(min(xs), min(ys), max(xs), max(ys))
