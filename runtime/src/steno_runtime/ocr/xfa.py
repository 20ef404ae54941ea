"""XFA forms (Adobe LiveCycle) through PDFium: whether the pages of a PDF are its form, or ask for another viewer.

The pages of a static form have its fields as widgets. A dynamic one is laid out by Adobe's viewers alone: its page is a
placeholder, and the flag that says so, NeedsRendering, is often missing.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from enum import Enum

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

_PAGES_LOOKED_AT = 10
_FIELD = re.compile(rb"<(?:\w+:)?field[\s>/]")
_TEMPLATE = re.compile(rb"<(?:\w+:)?template[\s>/]")
_VIEWERS = re.compile(r"adobe|acrobat|\breader\b|\bviewer|livecycle|\bxfa\b", re.IGNORECASE)
_SHORT, _LONG = 400, 4000
"""Characters: a placeholder is a few sentences, in several languages at most."""


class Xfa(Enum):
    """What the pages of a PDF say of its XFA form."""

    NONE = "none, or all of it"
    DOUBTFUL = "text of their own, but none of its fields"
    PLACEHOLDER = "that another viewer is needed"


def assess_xfa(document: pdfium.PdfDocument) -> Xfa:
    """Return what the pages of a PDF show of its XFA form."""
    form = document.get_formtype()
    if form == pdfium_c.FORMTYPE_XFA_FULL:
        return Xfa.PLACEHOLDER
    if form != pdfium_c.FORMTYPE_XFA_FOREGROUND:
        return Xfa.NONE
    text = ""
    for index in range(min(len(document), _PAGES_LOOKED_AT)):
        page = document[index]
        try:
            if _has_widget(page):
                return Xfa.NONE
            text += " " + _text(page)
        finally:
            page.close()
    packets = b"".join(_packets(document))
    has_fields = bool(_FIELD.search(packets))
    knows_no_better = has_fields or not _TEMPLATE.search(packets)
    if (len(text) < _LONG and _VIEWERS.search(text)) or (len(text) < _SHORT and knows_no_better):
        return Xfa.PLACEHOLDER
    return Xfa.DOUBTFUL if has_fields else Xfa.NONE


def _has_widget(page: pdfium.PdfPage) -> bool:
    for index in range(pdfium_c.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, index)
        kind = pdfium_c.FPDFAnnot_GetSubtype(annotation)
        pdfium_c.FPDFPage_CloseAnnot(annotation)
        if kind == pdfium_c.FPDF_ANNOT_WIDGET:
            return True
    return False


def _text(page: pdfium.PdfPage) -> str:
    text_page = page.get_textpage()
    try:
        return " ".join(text_page.get_text_range().split())
    finally:
        text_page.close()


def _packets(document: pdfium.PdfDocument) -> Iterator[bytes]:
    for index in range(max(0, pdfium_c.FPDF_GetXFAPacketCount(document))):
        size = ctypes.c_ulong()
        if pdfium_c.FPDF_GetXFAPacketContent(document, index, None, 0, size) and size.value:
            buffer = ctypes.create_string_buffer(size.value)
            pdfium_c.FPDF_GetXFAPacketContent(document, index, buffer, size.value, size)
            yield buffer.raw
