"""Pages of PDFs that are scans, forms, large or tiny: what is rendered, at which resolution, and what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pikepdf
import pytest
from fpdf import FPDF
from PIL import Image

from steno_api.documents.warnings import WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.open import open_source
from steno_runtime.ocr.page import Limits, PageError, PageInput
from steno_runtime.ocr.pipeline import RecognitionOptions, recognize

Name = pikepdf.Name
PROSE = "The harbour authority closed the pier until further notice. " * 12


def load(path: Path, *, reuse_text: bool = True, limits: Limits | None = None) -> PageInput:
    source = open_source(path, limits or Limits(), reuse_text=reuse_text)
    try:
        return source.load(1)
    finally:
        source.close()


def reasons(page: PageInput) -> list[WarningReason]:
    return [warning.reason for warning in page.warnings]


def scan(path: Path) -> Path:
    Image.new("L", (1654, 2339), 255).save(path)
    return path


def test_o4_a_stamp_of_two_lines_does_not_stand_for_the_scan(tmp_path):
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.image(str(scan(tmp_path / "s.png")), 0, 0, 210, 297)
    pdf.set_font("helvetica", size=8)
    pdf.text(20, 6, "Case 3:19-bk-10001-XY Doc 12 Filed 02/03/21 Entered 02/03/21 09:15:00 Desc")
    pdf.text(80, 9, "Main Document Page 4 of 7")
    pdf.output(str(tmp_path / "stamped.pdf"))
    loaded = load(tmp_path / "stamped.pdf")
    assert loaded.pixels is not None
    assert reasons(loaded) == [WarningReason.TEXT_LAYER_REJECTED]


def test_o4_a_scan_within_a_form_xobject_is_a_scan(tmp_path):
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.set_font("helvetica", size=8)
    pdf.text(20, 6, "Bates no. 000417")
    pdf.output(str(tmp_path / "stamp.pdf"))
    with pikepdf.open(tmp_path / "stamp.pdf") as document:
        picture = document.make_stream(b"\xff" * (827 * 1170))
        picture.Type, picture.Subtype, picture.ColorSpace = Name.XObject, Name.Image, Name.DeviceGray
        picture.Width, picture.Height, picture.BitsPerComponent = 827, 1170, 8
        form = document.make_stream(b"/I Do")
        form.Type, form.Subtype, form.BBox = Name.XObject, Name.Form, [0, 0, 1, 1]
        form.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=picture))
        document.pages[0].contents_add(b"q 595 0 0 842 0 0 cm /Fm0 Do Q", prepend=True)
        document.pages[0].Resources.XObject = pikepdf.Dictionary(Fm0=form)
        document.save(tmp_path / "form.pdf")
    assert load(tmp_path / "form.pdf").pixels is not None


def test_o4_text_over_a_background_picture_is_text(tmp_path):
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.image(str(scan(tmp_path / "s.png")), 0, 0, 210, 297)
    pdf.set_font("helvetica", size=12)
    pdf.multi_cell(0, 8, PROSE)
    pdf.output(str(tmp_path / "letter.pdf"))
    loaded = load(tmp_path / "letter.pdf")
    assert loaded.pixels is None
    assert loaded.warnings == ()


def text_with_picture(path: Path, wide: int, high: int, *, cover: bool = False, fax: bool = False) -> Path:
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.set_font("helvetica", size=12)
    if not cover:
        pdf.multi_cell(0, 8, PROSE)
    pdf.output(str(path.with_suffix(".plain.pdf")))
    with pikepdf.open(path.with_suffix(".plain.pdf")) as document:
        picture = document.make_stream(b"\0" * 100)
        picture.Type, picture.Subtype, picture.ColorSpace = Name.XObject, Name.Image, Name.DeviceGray
        picture.Width, picture.Height, picture.BitsPerComponent = wide, high, 1
        if fax:
            picture.Filter = Name.CCITTFaxDecode
            picture.DecodeParms = pikepdf.Dictionary(K=-1, Columns=wide, Rows=high)
        document.pages[0].Resources.XObject = pikepdf.Dictionary(I=picture)
        size = (595, 842) if cover else (142, 106)
        document.pages[0].contents_add(b"q %d 0 0 %d 0 0 cm /I Do Q" % size)
        document.save(path)
    return path


def test_o5_a_very_large_picture_beside_text_is_not_decoded(tmp_path):
    loaded = load(text_with_picture(tmp_path / "brochure.pdf", 12_000, 9_000))
    assert " ".join(line.text for line in loaded.embedded).startswith("The harbour authority")


def test_o5_a_scan_that_is_too_large_says_so(tmp_path):
    path = text_with_picture(tmp_path / "huge.pdf", 40_000, 40_000, cover=True)
    with pytest.raises(PageError, match="megapixels"):
        load(path)
    with pytest.raises(WorkError) as failed:
        recognize(path, RecognitionOptions(), scratch=tmp_path, on_progress=lambda *_: None)
    assert failed.value.reason is FailureReason.TOO_LARGE


def test_o5_a_large_fax_is_small_in_memory_and_is_rendered(tmp_path):
    loaded = load(text_with_picture(tmp_path / "plan.pdf", 13_244, 18_724, cover=True, fax=True))
    assert loaded.pixels is not None
    assert loaded.dpi == 300


@pytest.mark.parametrize(
    ("pixels", "resolution", "expected"),
    [
        ((2851, 4032), 72, (2851, 4032)),  # O9: a photograph of which each pixel is a point
        ((1654, 2339), 1200, (1654, 2339)),  # O10: a sheet of A4 on an inch or two
        ((1654, 2339), 200, (1654, 2339)),
        ((2481, 3508), 300, (2481, 3508)),
        ((4962, 7016), 600, (2481, 3508)),  # finer than any engine needs
        ((595, 842), 72, (1653, 2339)),  # coarser: letters are read at 200 dpi
    ],
)
def test_o9_o10_a_scan_is_rendered_at_its_own_resolution(tmp_path, pixels, resolution, expected):
    Image.new("L", pixels, 255).save(tmp_path / "a.pdf", resolution=resolution)
    loaded = load(tmp_path / "a.pdf")
    assert loaded.width == pytest.approx(expected[0], abs=8)
    assert loaded.height == pytest.approx(expected[1], abs=12)
    assert loaded.warnings == ()


def test_a_page_that_is_read_coarsely_says_so(tmp_path):
    with pikepdf.new() as pdf:
        pdf.add_blank_page(page_size=(72 * 20, 72 * 20))
        pdf.save(tmp_path / "large.pdf")
    assert reasons(load(tmp_path / "large.pdf", limits=Limits(max_pixels=4_000_000))) == [
        WarningReason.REDUCED_RESOLUTION
    ]


def form_pdf(path: Path) -> Path:
    """Write a form that was filled in by computer: one field with an appearance, one without, a box that is ticked."""
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.set_font("helvetica", size=11)
    pdf.text(15, 30, "Name:")
    pdf.text(15, 40, "Date of birth:")
    pdf.text(15, 50, "I agree:")
    pdf.set_y(60)
    pdf.multi_cell(0, 6, PROSE)
    pdf.output(str(path.with_suffix(".plain.pdf")))
    with pikepdf.open(path.with_suffix(".plain.pdf")) as document:
        font = document.make_indirect(
            pikepdf.Dictionary(
                Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica, Encoding=Name.WinAnsiEncoding
            )
        )
        fonts = pikepdf.Dictionary(Font=pikepdf.Dictionary(Helv=font))
        shown = document.make_stream(b"/Tx BMC q BT /Helv 11 Tf 2 4 Td (Kim Minsu) Tj ET Q EMC")
        shown.Type, shown.Subtype, shown.BBox, shown.Resources = Name.XObject, Name.Form, [0, 0, 180, 15], fonts
        common: Any = {"Type": Name.Annot, "Subtype": Name.Widget, "F": 4}
        fields = [
            pikepdf.Dictionary(
                **common, FT=Name.Tx, T="name", V="Kim Minsu", DA="/Helv 11 Tf 0 g", Rect=[120, 752, 300, 767],
                AP=pikepdf.Dictionary(N=shown),
            ),
            pikepdf.Dictionary(
                **common, FT=Name.Tx, T="birth", V="1 May 1990", DA="/Helv 11 Tf 0 g", Rect=[120, 724, 300, 739]
            ),
            pikepdf.Dictionary(
                **common, FT=Name.Btn, T="agree", V=Name.Yes, AS=Name.Yes, DA="/ZaDb 11 Tf 0 g",
                MK=pikepdf.Dictionary(CA="4"), Rect=[120, 696, 135, 711],
            ),
            pikepdf.Dictionary(
                **common | {"F": 2}, FT=Name.Tx, T="hidden", V="nobody sees this", DA="/Helv 11 Tf 0 g",
                Rect=[120, 600, 300, 615],
            ),
            pikepdf.Dictionary(
                **common, FT=Name.Tx, Ff=1 << 13, T="password", V="secret", DA="/Helv 11 Tf 0 g",
                Rect=[120, 570, 300, 585],
            ),
        ]  # fmt: skip
        kept = pikepdf.Array([document.make_indirect(field) for field in fields])
        note = document.make_indirect(
            pikepdf.Dictionary(
                Type=Name.Annot, Subtype=Name.FreeText, F=4, Contents="seen by\rthe notary",
                DA="/Helv 11 Tf 0 g", Rect=[350, 752, 500, 780],
            )
        )  # fmt: skip
        document.pages[0].Annots = pikepdf.Array([*kept, note])
        document.Root.AcroForm = pikepdf.Dictionary(Fields=kept, NeedAppearances=True, DA="/Helv 11 Tf 0 g", DR=fonts)
        document.save(path)
    return path


def test_o3_what_is_filled_in_is_part_of_the_text(tmp_path):
    result = recognize(
        form_pdf(tmp_path / "form.pdf"), RecognitionOptions(), scratch=tmp_path, on_progress=lambda *_: None
    )
    (page,) = result.pages
    assert page.engine == "embedded"
    lines = page.text.splitlines()
    assert "Name: Kim Minsu" in page.text
    assert "Date of birth: 1 May 1990" in lines
    assert "I agree: ☒" in lines
    assert "the notary" in page.text
    assert "nobody" not in page.text
    assert "secret" not in page.text
    assert {region.kind for region in page.regions} == {"paragraph"}


def test_o3_what_is_filled_in_is_rendered(tmp_path):
    loaded = load(form_pdf(tmp_path / "form.pdf"), reuse_text=False)
    pixels: Any = loaded.pixels

    def ink(left: float, bottom: float, right: float, top: float) -> int:
        points = loaded.dpi / 72
        part = pixels[round((842 - top) * points) : round((842 - bottom) * points)]
        return int((part[:, round(left * points) : round(right * points)].min(axis=2) < 128).sum())

    assert ink(120, 752, 300, 767) > 100
    assert ink(120, 724, 300, 739) > 100
    assert ink(120, 696, 135, 711) > 20


def xfa_pdf(path: Path, text: str, packet: bytes, *, flagged: bool = False, widget: bool = False) -> Path:
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.set_font("helvetica", size=12)
    pdf.multi_cell(0, 8, text)
    pdf.output(str(path.with_suffix(".plain.pdf")))
    with pikepdf.open(path.with_suffix(".plain.pdf")) as document:
        fields = pikepdf.Array()
        if widget:
            field = pikepdf.Dictionary(
                Type=Name.Annot, Subtype=Name.Widget, FT=Name.Tx, T="a", V="Kim", Rect=[300, 700, 400, 720], F=4
            )
            fields.append(document.make_indirect(field))
            document.pages[0].Annots = fields
        document.Root.AcroForm = pikepdf.Dictionary(Fields=fields, XFA=document.make_stream(packet))
        if flagged:
            document.Root.NeedsRendering = True
        document.save(path)
    return path


_XDP = b"<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'>%s</xdp:xdp>"
_TEMPLATE = _XDP % b"<template><subform><field name='a'/></subform></template>"
_WITHOUT_FIELDS = _XDP % b"<template><subform><draw/></subform></template>"
_WAIT = "Please wait... If this message is not replaced, your PDF viewer may not be able to display this document."


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        (_WAIT, _TEMPLATE),
        (_WAIT, _XDP % b""),
        (_WAIT * 9, _TEMPLATE),
        ("Please open this file elsewhere.", _TEMPLATE),  # of no words that are known
    ],
)
def test_o15_a_placeholder_without_its_flag_is_not_the_document_either(tmp_path, text, packet):
    with pytest.raises(WorkError, match="XFA"):
        open_source(xfa_pdf(tmp_path / "a.pdf", text, packet), Limits(), reuse_text=True)


@pytest.mark.parametrize(
    ("text", "packet", "widget", "warned"),
    [
        ("Name:", _TEMPLATE, True, False),  # a static form: its field is on its page
        (PROSE, _TEMPLATE, False, True),
        ("Printed and flattened.", _WITHOUT_FIELDS, False, False),
    ],
)
def test_o15_a_page_of_its_own_is_read_though_there_is_a_form(tmp_path, text, packet, widget, warned):
    source = open_source(xfa_pdf(tmp_path / "a.pdf", text, packet, widget=widget), Limits(), reuse_text=True)
    assert [warning.reason for warning in source.warnings] == [WarningReason.DAMAGED_SOURCE] * warned
    assert source.load(1).embedded
    source.close()


@pytest.mark.parametrize("reuse_text", [True, False])
def test_o15_the_placeholder_of_an_xfa_form_is_not_the_document(tmp_path, reuse_text):
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.set_font("helvetica", size=12)
    pdf.text(20, 30, "This document needs another viewer.")
    pdf.output(str(tmp_path / "plain.pdf"))
    with pikepdf.open(tmp_path / "plain.pdf") as document:
        form = document.make_stream(b"<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'/>")
        document.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array(), XFA=form)
        document.Root.NeedsRendering = True
        document.save(tmp_path / "xfa.pdf")
    with pytest.raises(WorkError, match="XFA") as failed:
        open_source(tmp_path / "xfa.pdf", Limits(), reuse_text=reuse_text)
    assert failed.value.reason is FailureReason.UNSUPPORTED_MEDIA
    assert "print" in failed.value.message
