"""Annotations that draw text, such as stamps and signatures, through PDFium: flattened, it is part of a page's text.

Form fields and free text have values (`pdf_forms`); links, pop-ups and notes show none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from steno_runtime.ocr.page import Picture
from steno_runtime.ocr.pdf_text import Box, TextLayer, clipped, device_box, read_text_layer

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

_MIN_OUTLINES = 6
"""Paths of a stamp that may be letters; fewer are a frame or a mark."""
_DEPTH = 4
"""Forms within forms that are looked into."""


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


def pictured_stamps(page: pdfium.PdfPage) -> dict[int, Box]:
    """Return the indices and places of stamps that have a picture, or letters drawn as outlines, instead of text.

    Places are left, bottom, right and top in the page's own coordinates.
    """
    found: dict[int, Box] = {}
    for index in range(pdfium_c.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        at = pdfium_c.FS_RECTF()
        if (
            pdfium_c.FPDFAnnot_GetSubtype(annotation) == pdfium_c.FPDF_ANNOT_STAMP
            and not pdfium_c.FPDFAnnot_GetFlags(annotation) & _UNSEEN
            and pdfium_c.FPDFAnnot_GetRect(annotation, at)
            and _is_pictured(annotation)
        ):
            found[index] = (at.left, at.bottom, at.right, at.top)
        pdfium_c.FPDFPage_CloseAnnot(annotation)
    return found


def render_stamps(path: Path, number: int, stamps: Mapping[int, Box], scale: float) -> list[Picture]:
    """Return stamps as pictures, without the page that lies beneath them.

    The PDF is opened once more: taking things off a page changes it.

    Args:
        path: of the PDF.
        number: of the page, from 1.
        stamps: indices of the annotations, and their places.
        scale: pixels of the page's rendering per point.
    """
    copy = pdfium.PdfDocument(path)
    try:
        page = copy[number - 1]
        for drawn in list(page.get_objects(max_depth=1)):
            page.remove_obj(drawn)
        for index in reversed(range(pdfium_c.FPDFPage_GetAnnotCount(page))):
            if index not in stamps:
                pdfium_c.FPDFPage_RemoveAnnot(page, index)
        pixels = rendered(page, scale)
        height, width = pixels.shape[:2]
        pictures: list[Picture] = []
        for place in stamps.values():
            left, top, right, bottom = map(int, clipped(device_box(page, place, width, height), width, height))
            pictures.append(Picture(left, top, pixels[top : bottom + 1, left : right + 1].copy()))
        page.close()
        return pictures
    finally:
        copy.close()


def rendered(page: pdfium.PdfPage, scale: float) -> np.ndarray:
    """Return the pixels of a page (height, width, 3; RGB), with what its annotations and form fields show."""
    wanted: Any = scale  # typed int by its default
    bitmap = page.render(scale=wanted, rev_byteorder=True, prefer_bgrx=False)
    try:
        drawn = bitmap.to_numpy()
        return np.array(drawn[:, :, :3] if bitmap.n_channels > 1 else np.stack([drawn.squeeze()] * 3, -1))
    finally:
        bitmap.close()


def _is_pictured(annotation: Any) -> bool:
    count = pdfium_c.FPDFAnnot_GetObjectCount(annotation)
    objects = [pdfium_c.FPDFAnnot_GetObject(annotation, index) for index in range(count)]
    kinds = Counter(kind for drawn in objects for kind in _kinds(drawn, _DEPTH))
    outlines = kinds[pdfium_c.FPDF_PAGEOBJ_PATH]
    return not kinds[pdfium_c.FPDF_PAGEOBJ_TEXT] and (
        kinds[pdfium_c.FPDF_PAGEOBJ_IMAGE] > 0 or outlines >= _MIN_OUTLINES
    )


def _kinds(drawn: Any, depth: int) -> Iterator[int]:
    """Yield the kind of an object, or those of what a form is made of."""
    kind = pdfium_c.FPDFPageObj_GetType(drawn)
    if kind != pdfium_c.FPDF_PAGEOBJ_FORM or not depth:
        yield kind
        return
    for index in range(pdfium_c.FPDFFormObj_CountObjects(drawn)):
        yield from _kinds(pdfium_c.FPDFFormObj_GetObject(drawn, index), depth - 1)


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
