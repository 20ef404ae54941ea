"""Page source for PDF, through PDFium: pages are rendered, or give the text that they carry if it is readable."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.engines.base import RecognizedLine, RecognizedWord
from steno_runtime.ocr.geometry import bounds, box
from steno_runtime.ocr.page import Limits, PageError, PageInput

_POINTS_PER_INCH = 72
_STAMP_CHARS = 80
"""A page that is one picture and carries no more text than this is a scan with a stamp or a fax header on it."""
_SCAN_COVER = 0.5


class PdfSource:
    """The pages of a PDF. PDFium is not thread-safe: one thread only."""

    kind = "pdf"

    def __init__(self, path: Path, limits: Limits, *, reuse_text: bool) -> None:
        self._limits = limits
        self._reuse_text = reuse_text
        try:
            self._document = pdfium.PdfDocument(path)
            self.pages = len(self._document)
        except pdfium.PdfiumError as error:
            if getattr(error, "err_code", None) == pdfium_c.FPDF_ERR_PASSWORD or "password" in str(error).lower():
                raise WorkError(
                    FailureReason.ENCRYPTED,
                    "The PDF is protected by a password; store a copy without one (`qpdf --decrypt --password=… in.pdf "
                    "out.pdf`).",
                ) from error
            raise WorkError(
                FailureReason.UNSUPPORTED_MEDIA,
                "The file is damaged: it begins as a PDF but cannot be opened as one; try `qpdf in.pdf out.pdf`.",
            ) from error
        if not self.pages:
            raise WorkError(FailureReason.UNSUPPORTED_MEDIA, "The PDF has no pages.")

    def load(self, number: int) -> PageInput:
        """Render page `number` (from 1), or return the text that it carries.

        Raises:
            PageError: it is damaged or too large.
        """
        try:
            page = self._document[number - 1]
        except pdfium.PdfiumError as error:
            raise PageError("the page is damaged; repair the PDF, for example with `qpdf in.pdf out.pdf`") from error
        try:
            return self._load(page, number)
        except (pdfium.PdfiumError, MemoryError, ValueError) as error:
            raise PageError(
                "the page cannot be rendered; repair the PDF, for example with `qpdf in.pdf out.pdf`"
            ) from error
        finally:
            page.close()

    def _load(self, page: pdfium.PdfPage, number: int) -> PageInput:
        points_wide, points_high = page.get_size()
        if not (points_wide > 0 and points_high > 0 and math.isfinite(points_wide * points_high)):
            raise PageError("the page has no size")
        pictures = self._pictures(page)
        dpi = self._dpi(points_wide, points_high, pictures)
        width = max(1, round(points_wide * dpi / _POINTS_PER_INCH))
        height = max(1, round(points_high * dpi / _POINTS_PER_INCH))
        if self._reuse_text:
            lines = _embedded(page, width, height)
            characters = sum(len(line.text) for line in lines)
            covered = sum(area for _, area in pictures) > _SCAN_COVER * points_wide * points_high
            if characters and not (covered and characters <= _STAMP_CHARS) and _readable(lines):
                return PageInput(number, width, height, dpi, embedded=tuple(lines))
        scale: Any = dpi / _POINTS_PER_INCH  # typed int by its default
        bitmap = page.render(scale=scale, rev_byteorder=True, prefer_bgrx=False)
        try:
            pixels = np.array(
                bitmap.to_numpy()[:, :, :3]
                if bitmap.n_channels > 1
                else np.stack([bitmap.to_numpy().squeeze()] * 3, -1)
            )
        finally:
            bitmap.close()
        return PageInput(number, pixels.shape[1], pixels.shape[0], dpi, pixels=pixels)

    def _pictures(self, page: pdfium.PdfPage) -> list[tuple[float, float]]:
        """Return DPI and area (points²) of the page's pictures.

        Raises:
            PageError: one has too many pixels to be decoded.
        """
        found: list[tuple[float, float]] = []
        for picture in page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=3):
            wide, high = picture.get_px_size()  # type: ignore[attr-defined]
            self._limits.check_pixels(wide, high)
            left, bottom, right, top = picture.get_bounds()
            area = max(0.0, right - left) * max(0.0, top - bottom)
            if area:
                found.append((math.sqrt(wide * high / area) * _POINTS_PER_INCH, area))
        return found

    def _dpi(self, wide: float, high: float, pictures: list[tuple[float, float]]) -> int:
        """Return a scan's own resolution, else the default; less where the page would have too many pixels."""
        limits = self._limits
        dpi = float(limits.default_dpi)
        largest = max(pictures, key=lambda picture: picture[1], default=(0.0, 0.0))
        if largest[1] > _SCAN_COVER * wide * high:
            dpi = min(max(largest[0], dpi), limits.max_dpi)
        max_dpi = math.sqrt(limits.max_pixels / (wide * high)) * _POINTS_PER_INCH
        if max_dpi < limits.min_dpi:
            raise PageError(
                f"{wide / _POINTS_PER_INCH:.0f} x {high / _POINTS_PER_INCH:.0f} inches are too large a page even at "
                f"{limits.min_dpi} dpi; scale it down or cut it up"
            )
        return math.floor(min(dpi, max_dpi))

    def close(self) -> None:
        """Close the document."""
        self._document.close()


def _embedded(page: pdfium.PdfPage, width: int, height: int) -> list[RecognizedLine]:
    """Return the page's own text, in its own order: lines of words in pixels of a `width` by `height` rendering."""
    text_page = page.get_textpage()
    try:
        lines: list[RecognizedLine] = []
        words: list[RecognizedWord] = []
        letters: list[str] = []
        boxes: list[tuple[float, float, float, float]] = []

        def end_word() -> None:
            if letters and boxes:
                left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
                right, bottom = max(b[2] for b in boxes), max(b[3] for b in boxes)
                words.append(RecognizedWord(box(left, top, right, bottom), "".join(letters), 1.0))
            letters.clear()
            boxes.clear()

        def end_line() -> None:
            end_word()
            if words:
                around = box(*bounds([word.quad for word in words]))
                lines.append(RecognizedLine(around, " ".join(word.text for word in words), 1.0, tuple(words)))
            words.clear()

        for index in range(text_page.count_chars()):
            code = pdfium_c.FPDFText_GetUnicode(text_page, index)
            letter = chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else ""
            if letter in ("\r", "\n"):
                end_line()
            elif not letter.strip():
                end_word()
            else:
                letters.append(letter)
                boxes.append(_char_box(page, text_page, index, width, height))
        end_line()
        return lines
    finally:
        text_page.close()


def _char_box(
    page: pdfium.PdfPage, text_page: pdfium.PdfTextPage, index: int, width: int, height: int
) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a character in pixels."""
    left, bottom, right, top = text_page.get_charbox(index, loose=True)
    x, y = ctypes.c_int(), ctypes.c_int()
    corners: list[tuple[int, int]] = []
    for across, up in ((left, top), (right, bottom)):
        pdfium_c.FPDF_PageToDevice(page, 0, 0, width, height, 0, across, up, x, y)
        corners.append((x.value, y.value))
    (x0, y0), (x1, y1) = corners
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _readable(lines: list[RecognizedLine]) -> bool:
    """Return whether the text is text: fonts without a Unicode map give control, private or replacement characters."""
    text = "".join(line.text for line in lines)
    odd = sum(c == "\ufffd" or ord(c) < 0x20 or 0xE000 <= ord(c) <= 0xF8FF or ord(c) >= 0xF0000 for c in text)
    return odd <= 0.05 * len(text)
