"""Page source for PDF, through PDFium: pages are rendered, or give the text that they carry if it is readable."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.page import Limits, PageError, PageInput
from steno_runtime.ocr.pdf_annotations import (
    drawn_annotations,
    pictured_stamps,
    read_flattened,
    render_stamps,
    rendered,
)
from steno_runtime.ocr.pdf_forms import read_form, read_undrawn
from steno_runtime.ocr.pdf_text import TextLayer, read_text_layer
from steno_runtime.ocr.xfa import Xfa, assess_xfa

_POINTS_PER_INCH = 72
_SCAN_COVER = 0.5
"""A page is a scan if pictures cover more of it than this."""
_STAMP_COVER = 0.05
"""Text that covers less of a scan than this is a stamp, a fax header or a Bates number on it, not its text."""
_OCR_CHARS = 80
"""More invisible characters than this are the layer of an earlier OCR, however little of the page they cover."""
_SHARP_SIDE, _FINE_SIDE = 2339, 3508
"""Pixels of the longer side of a sheet of A4 at 200 and at 300 dpi, between which scans are rendered."""
_BITONAL = 6
"""A picture of one bit a pixel may have this many times the pixels of any other one."""
_BITONAL_FILTERS = frozenset({"CCITTFaxDecode", "JBIG2Decode"})
_ROUNDING = 0.05
"""Of the resolution of a picture, whose place is given with few digits."""
_DAMAGED = "repair the PDF, for example with `qpdf in.pdf out.pdf`"


@dataclass(frozen=True)
class _Picture:
    """A picture on a page: its pixels, the points² that it takes, and those of them that the crop box shows."""

    wide: int
    high: int
    bitonal: bool
    area: float
    shown: float

    @property
    def dpi(self) -> float:
        return math.sqrt(self.wide * self.high / self.area) * _POINTS_PER_INCH


class PdfSource:
    """The pages of a PDF. PDFium is not thread-safe: one thread only."""

    kind = "pdf"
    warnings: tuple[ResultWarning, ...] = ()

    def __init__(self, path: Path, limits: Limits, *, reuse_text: bool) -> None:
        self._path = path
        self._limits = limits
        self._reuse_text = reuse_text
        try:
            self._document = pdfium.PdfDocument(path)
            self.pages = len(self._document)
            form = self._document.get_formtype()
            if form != pdfium_c.FORMTYPE_NONE:
                self._document.init_forms()  # before any page is loaded, or its fields are not drawn
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
        xfa = assess_xfa(self._document)
        if xfa is Xfa.PLACEHOLDER:
            self.close()
            raise WorkError(
                FailureReason.UNSUPPORTED_MEDIA,
                "The PDF is a dynamic XFA form (Adobe LiveCycle): its pages only say that another viewer is needed. "
                "Open it in Adobe Acrobat or Reader, and print it to a PDF.",
            )
        if xfa is Xfa.DOUBTFUL:
            message = (
                "The PDF has an XFA form (Adobe LiveCycle) whose fields are on none of its pages: what is filled in is "
                "missing. Open it in Adobe Acrobat or Reader, and print it to a PDF."
            )
            self.warnings = (ResultWarning(reason=WarningReason.DAMAGED_SOURCE, message=message),)

    def load(self, number: int) -> PageInput:
        """Render page `number` (from 1), or return the text that it carries.

        Raises:
            PageError: it is damaged or too large.
        """
        try:
            page = self._document[number - 1]
        except pdfium.PdfiumError as error:
            raise PageError(f"the page is damaged; {_DAMAGED}") from error
        try:
            return self._load(page, number)
        except (pdfium.PdfiumError, MemoryError, ValueError) as error:
            raise PageError(f"the page cannot be rendered; {_DAMAGED}") from error
        finally:
            page.close()

    def _load(self, page: pdfium.PdfPage, number: int) -> PageInput:
        points_wide, points_high = page.get_size()
        if not (points_wide > 0 and points_high > 0 and math.isfinite(points_wide * points_high)):
            raise PageError("the page has no size")
        pictures = _pictures(page)
        covered = min(sum(picture.shown for picture in pictures), points_wide * points_high)
        scan = covered > _SCAN_COVER * points_wide * points_high
        dpi, wanted = self._dpi(points_wide, points_high, pictures if scan else [])
        scale = dpi / _POINTS_PER_INCH
        width = max(1, round(points_wide * scale))
        height = max(1, round(points_high * scale))
        loaded = PageInput(number, width, height, dpi)
        if self._reuse_text:
            layer = read_text_layer(page, width, height)
            doubt = _doubt(layer, covered * scale**2 if scan else 0.0)
            if layer.lines and doubt is None:
                if drawn := drawn_annotations(self._document, page):
                    layer = read_flattened(self._path, number, drawn, width=width, height=height)
                filled = read_form(self._document, page, width, height, layer.lines)
                stamps = pictured_stamps(page) if drawn else {}
                shown = render_stamps(self._path, number, stamps, scale) if stamps else ()
                return replace(loaded, embedded=(*layer.lines, *filled), pictures=tuple(shown))
            if layer.characters and doubt:
                message = f"The PDF's own text of page {number} {doubt}, so the page was read."
                loaded = loaded.warned(WarningReason.TEXT_LAYER_REJECTED, message)
        if dpi < min(wanted, self._limits.default_dpi):
            message = f"Page {number} is so large that it was read at {dpi} dpi: check small print, or cut it up."
            loaded = loaded.warned(WarningReason.REDUCED_RESOLUTION, message)
        for picture in pictures:
            self._check_picture(picture)
        pixels = rendered(page, scale)
        high, wide = pixels.shape[:2]
        return replace(loaded, width=wide, height=high, pixels=pixels, embedded=tuple(read_undrawn(page, wide, high)))

    def _check_picture(self, picture: _Picture) -> None:
        """Refuse a picture before it is decoded.

        Raises:
            PageError: it has too many pixels.
        """
        most = self._limits.max_pixels
        if not picture.bitonal or picture.wide * picture.high > _BITONAL * most:
            self._limits.check_pixels(picture.wide, picture.high)

    def _dpi(self, wide: float, high: float, scans: list[_Picture]) -> tuple[int, float]:
        """Return the resolution to render a page at, and the one that it should have: less where it is too large.

        A scan has its own, whatever the paper: the size of a page says as little of the size of its letters as the
        header of a picture does.
        """
        limits = self._limits
        wanted = float(limits.default_dpi)
        inches = max(wide, high) / _POINTS_PER_INCH
        if scans:
            own = max(scans, key=lambda picture: picture.shown).dpi
            wanted = min(max(own, min(wanted, _SHARP_SIDE / inches)), max(limits.max_dpi, _FINE_SIDE / inches))
        max_dpi = math.sqrt(limits.max_pixels / (wide * high)) * _POINTS_PER_INCH
        if max_dpi < min(limits.min_dpi, wanted):
            raise PageError(
                f"{wide / _POINTS_PER_INCH:.0f} x {high / _POINTS_PER_INCH:.0f} inches are too large a page even at "
                f"{limits.min_dpi} dpi; scale it down or cut it up",
                FailureReason.TOO_LARGE,
            )
        return max(1, math.floor(min(wanted + _ROUNDING, max_dpi))), wanted

    def close(self) -> None:
        """Close the document."""
        self._document.close()


def _doubt(layer: TextLayer, scan: float) -> str | None:
    """Return why a page is read although it carries text, as the end of a sentence; None if it need not be.

    Args:
        layer: its text.
        scan: pixels² of the pictures beneath it; 0: the page is no scan.
    """
    if not layer.readable:
        return "is made of characters without a meaning"
    if layer.area < _STAMP_COVER * scan and layer.invisible <= _OCR_CHARS:
        return "is only a stamp or a header on a scan"
    return None


def _pictures(page: pdfium.PdfPage) -> list[_Picture]:
    """Return the pictures of a page that have a size."""
    left, bottom, right, top = page.get_bbox()
    found: list[_Picture] = []
    for picture in page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        wide, high = picture.get_px_size()  # type: ignore[attr-defined]
        matrix, outer = picture.get_matrix(), picture.container
        while outer is not None:  # the position of an object within a form is the form's own
            matrix = matrix.multiply(outer.get_matrix())
            outer = outer.container
        area = abs(matrix.a * matrix.d - matrix.b * matrix.c)
        corners = [matrix.on_point(x, y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        across = min(right, max(xs)) - max(left, min(xs))
        up = min(top, max(ys)) - max(bottom, min(ys))
        if area > 0 and math.isfinite(area):
            bitonal = not _BITONAL_FILTERS.isdisjoint(picture.get_filters())  # type: ignore[attr-defined]
            found.append(_Picture(wide, high, bitonal, area, min(area, max(0.0, across) * max(0.0, up))))
    return found
