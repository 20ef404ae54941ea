"""AcroForm values and free text of a PDF's page, through PDFium: what was filled in is no part of a page's own text."""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from steno_runtime.ocr.engines.base import RecognizedLine, RecognizedWord
from steno_runtime.ocr.geometry import box
from steno_runtime.ocr.pdf_text import Box, device_box

_CHECKED = "☒"
_WRITTEN = (
    pdfium_c.FPDF_FORMFIELD_TEXTFIELD,
    pdfium_c.FPDF_FORMFIELD_COMBOBOX,
    pdfium_c.FPDF_FORMFIELD_LISTBOX,
)
_TICKED = (pdfium_c.FPDF_FORMFIELD_CHECKBOX, pdfium_c.FPDF_FORMFIELD_RADIOBUTTON)
_PASSWORD = 1 << 13
"""Flag of a text field: viewers show dots."""
_UNSEEN = pdfium_c.FPDF_ANNOT_FLAG_HIDDEN | pdfium_c.FPDF_ANNOT_FLAG_NOVIEW
_LETTER_HEIGHT = 12
"""Points; of a page without text of its own."""
_LETTER_WIDTH = 0.5
"""Of its height."""


def read_form(
    document: pdfium.PdfDocument, page: pdfium.PdfPage, width: int, height: int, lines: Sequence[RecognizedLine]
) -> list[RecognizedLine]:
    """Return what is filled in on a page: form fields with a value, boxes that are ticked, and free text.

    Args:
        document: with its form opened before the page was.
        page: which one.
        width: of its rendering, in pixels.
        height: of its rendering, in pixels.
        lines: of its own text; what is filled in is as high, so that it counts as part of it.
    """
    points_high = max(1.0, page.get_height())
    usual = statistics.median(
        [abs(line.quad[3][1] - line.quad[0][1]) for line in lines] or [_LETTER_HEIGHT * height / points_high]
    )
    return _placed(page, width, height, max(1.0, usual), lambda annotation: _text(document, annotation))


def read_undrawn(page: pdfium.PdfPage, width: int, height: int) -> list[RecognizedLine]:
    """Return the free text of a page that has no appearance: viewers draw it, but PDFium does not.

    Args:
        page: which one.
        width: of its rendering, in pixels.
        height: of its rendering, in pixels.
    """
    usual = max(1.0, _LETTER_HEIGHT * height / max(1.0, page.get_height()))
    return _placed(
        page, width, height, usual, lambda annotation: "" if _has_appearance(annotation) else _free(annotation)
    )


def _placed(
    page: pdfium.PdfPage, width: int, height: int, usual: float, text_of: Callable[[Any], str]
) -> list[RecognizedLine]:
    return [line for text, at in _filled(page, width, height, text_of) for line in _lines(text, at, usual)]


def _filled(page: pdfium.PdfPage, width: int, height: int, text_of: Callable[[Any], str]) -> Iterator[tuple[str, Box]]:
    for index in range(pdfium_c.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            rectangle = pdfium_c.FS_RECTF()
            if pdfium_c.FPDFAnnot_GetFlags(annotation) & _UNSEEN or not pdfium_c.FPDFAnnot_GetRect(
                annotation, rectangle
            ):
                continue
            text = text_of(annotation)
            if not text:
                continue
            corners = (rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
            left, top, right, bottom = device_box(page, corners, width, height)
            if 0 <= (left + right) / 2 <= width and 0 <= (top + bottom) / 2 <= height:
                yield text, (max(0, left), max(0, top), min(width, right), min(height, bottom))
        finally:
            pdfium_c.FPDFPage_CloseAnnot(annotation)


def _text(document: pdfium.PdfDocument, annotation: Any) -> str:
    kind = pdfium_c.FPDFAnnot_GetSubtype(annotation)
    if kind == pdfium_c.FPDF_ANNOT_FREETEXT:
        return _free(annotation)
    form = document.formenv
    if kind != pdfium_c.FPDF_ANNOT_WIDGET or form is None:
        return ""
    field = pdfium_c.FPDFAnnot_GetFormFieldType(form, annotation)
    if field in _TICKED:
        return _CHECKED if pdfium_c.FPDFAnnot_IsChecked(form, annotation) else ""
    if field not in _WRITTEN or pdfium_c.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
        return ""
    return _string(lambda buffer, size: pdfium_c.FPDFAnnot_GetFormFieldValue(form, annotation, buffer, size))


def _free(annotation: Any) -> str:
    if pdfium_c.FPDFAnnot_GetSubtype(annotation) != pdfium_c.FPDF_ANNOT_FREETEXT:
        return ""
    return _string(lambda buffer, size: pdfium_c.FPDFAnnot_GetStringValue(annotation, b"Contents", buffer, size))


def _has_appearance(annotation: Any) -> bool:
    normal = pdfium_c.FPDF_ANNOT_APPEARANCEMODE_NORMAL
    return pdfium_c.FPDFAnnot_GetAP(annotation, normal, None, 0) > len("\0".encode("utf-16-le"))


def _string(read: Callable[[Any, int], int]) -> str:
    """Return a string that PDFium writes as UTF-16 to a buffer of the size that it tells."""
    size = read(None, 0)
    buffer = ctypes.create_string_buffer(max(2, size))
    read(ctypes.cast(buffer, ctypes.POINTER(pdfium_c.FPDF_WCHAR)), size)
    text = buffer.raw[:size].decode("utf-16-le", "replace").rstrip("\0")
    return "".join(
        letter for letter in text.replace("\r\n", "\n").replace("\r", "\n") if letter >= " " or letter == "\n"
    )


def _lines(text: str, at: Box, usual: float) -> list[RecognizedLine]:
    """Return the lines of a field's value; a field of one line has it in the middle, any other one from the top."""
    left, top, right, bottom = at
    written = [words for line in text.split("\n") if (words := line.split())]
    pitch = (bottom - top) / len(written) if written else 0.0
    made: list[RecognizedLine] = []
    for row, words in enumerate(written):
        high = min(pitch, usual)
        upper = top + row * pitch + (pitch - high) / 2
        characters = sum(map(len, words)) + len(words) - 1
        step = min((right - left) / characters, _LETTER_WIDTH * usual)
        parts: list[RecognizedWord] = []
        x = float(left)
        for word in words:
            parts.append(RecognizedWord(box(x, upper, x + step * len(word), upper + high), word, 1.0))
            x += step * (len(word) + 1)
        around = box(left, upper, x - step, upper + high)
        made.append(RecognizedLine(around, " ".join(words), 1.0, tuple(parts)))
    return made
