"""Annotations that draw text, such as stamps and signatures, through PDFium: flattened, it is part of a page's text.

Form fields and free text have values (`pdf_forms`); links, pop-ups and notes show none.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from steno_runtime.ocr.pdf_text import TextLayer, read_text_layer

_DRAWN = frozenset(
    {
        pdfium_c.FPDF_ANNOT_STAMP,
        pdfium_c.FPDF_ANNOT_WATERMARK,
        pdfium_c.FPDF_ANNOT_LINE,
        pdfium_c.FPDF_ANNOT_SQUARE,
        pdfium_c.FPDF_ANNOT_CIRCLE,
        pdfium_c.FPDF_ANNOT_POLYGON,
        pdfium_c.FPDF_ANNOT_POLYLINE,
        pdfium_c.FPDF_ANNOT_INK,
        pdfium_c.FPDF_ANNOT_CARET,
        pdfium_c.FPDF_ANNOT_REDACT,
    }
)
_UNSEEN = pdfium_c.FPDF_ANNOT_FLAG_HIDDEN | pdfium_c.FPDF_ANNOT_FLAG_NOVIEW


def drawn_annotations(document: pdfium.PdfDocument, page: pdfium.PdfPage) -> frozenset[int]:
    """Return the indices of a page's annotations whose text, if any, is in their appearance alone."""
    found: set[int] = set()
    for index in range(pdfium_c.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, index)
        if annotation:
            if not pdfium_c.FPDFAnnot_GetFlags(annotation) & _UNSEEN and _is_drawn(document, annotation):
                found.add(index)
            pdfium_c.FPDFPage_CloseAnnot(annotation)
    return frozenset(found)


def _is_drawn(document: pdfium.PdfDocument, annotation: Any) -> bool:
    kind = pdfium_c.FPDFAnnot_GetSubtype(annotation)
    if kind == pdfium_c.FPDF_ANNOT_FREETEXT:  # of rich text alone
        return pdfium_c.FPDFAnnot_GetStringValue(annotation, b"Contents", None, 0) <= len("\0".encode("utf-16-le"))
    if kind == pdfium_c.FPDF_ANNOT_WIDGET:
        form = document.formenv
        signature = pdfium_c.FPDF_FORMFIELD_SIGNATURE
        return form is not None and pdfium_c.FPDFAnnot_GetFormFieldType(form, annotation) == signature
    return kind in _DRAWN


def read_flattened(path: Path, number: int, kept: Collection[int], *, width: int, height: int) -> TextLayer:
    """Return the text of a page with that of some annotations.

    The PDF is opened once more: flattening a page changes it.

    Args:
        path: of the PDF.
        number: of the page, from 1.
        kept: indices of the annotations.
        width: of the page's rendering, in pixels.
        height: of the page's rendering, in pixels.
    """
    copy = pdfium.PdfDocument(path)
    try:
        page = copy[number - 1]
        for index in reversed(range(pdfium_c.FPDFPage_GetAnnotCount(page))):
            if index not in kept:
                pdfium_c.FPDFPage_RemoveAnnot(page, index)
        pdfium_c.FPDFPage_Flatten(page, pdfium_c.FLAT_NORMALDISPLAY)
        page.close()
        page = copy[number - 1]
        try:
            return read_text_layer(page, width, height)
        finally:
            page.close()
    finally:
        copy.close()
