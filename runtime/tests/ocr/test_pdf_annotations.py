"""Annotations of PDFs that draw text: stamps, signatures and free text of which only the appearance has it (O3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pikepdf
import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from steno_api.documents.warnings import WarningReason

from .render import FONTS
from .test_pdf_pages import PROSE, load

Name = pikepdf.Name


def annotated(path: Path, text: str, subtype: pikepdf.Name, **entries: Any) -> Path:
    """Write a page of prose with an annotation at its foot whose appearance has `text`."""
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.set_font("helvetica", size=11)
    pdf.multi_cell(0, 6, PROSE)
    pdf.output(str(path.with_suffix(".plain.pdf")))
    with pikepdf.open(path.with_suffix(".plain.pdf")) as document:
        font = pikepdf.Dictionary(
            Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica, Encoding=Name.WinAnsiEncoding
        )
        shown = document.make_stream(b"q BT /Helv 14 Tf 4 6 Td (%s) Tj ET Q" % text.encode())
        shown.Type, shown.Subtype, shown.BBox = Name.XObject, Name.Form, [0, 0, 200, 24]
        shown.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(Helv=document.make_indirect(font)))
        drawn = pikepdf.Dictionary(
            Type=Name.Annot, Subtype=subtype, Rect=[100, 120, 300, 144], AP=pikepdf.Dictionary(N=shown),
            **{"F": 4, **entries},
        )  # fmt: skip
        note = pikepdf.Dictionary(Type=Name.Annot, Subtype=Name.Text, Rect=[400, 120, 420, 140], Contents="a remark")
        document.pages[0].Annots = pikepdf.Array([document.make_indirect(note), document.make_indirect(drawn)])
        if subtype == Name.Widget:
            fields = pikepdf.Array([document.pages[0].Annots[1]])
            document.Root.AcroForm = pikepdf.Dictionary(Fields=fields)
        document.save(path)
    return path


@pytest.mark.parametrize(
    ("subtype", "entries"),
    [
        (Name.Stamp, {}),
        (Name.Stamp, {"Contents": "said in the list of comments"}),
        (Name.Watermark, {}),
        (Name.FreeText, {}),
        (Name.FreeText, {"Contents": ""}),
        (Name.Widget, {"FT": Name.Sig, "T": "signature"}),
    ],
)
def test_o3_text_that_an_annotation_draws_is_part_of_the_page(tmp_path, subtype, entries):
    loaded = load(annotated(tmp_path / "a.pdf", "APPROVED by Kim Minsu", subtype, **entries))
    lines = [line for line in loaded.embedded if "APPROVED" in line.text]
    assert [line.text for line in lines] == ["APPROVED by Kim Minsu"]
    left, top = lines[0].quad[0]
    points = 72 / loaded.dpi
    assert (left * points, 842 - top * points) == pytest.approx((104, 140), abs=8)
    text = " ".join(line.text for line in loaded.embedded)
    assert text.startswith("The harbour authority")
    assert "remark" not in text
    assert "comments" not in text


@pytest.mark.parametrize("flags", [2, 32])
def test_o3_hidden_annotations_are_not_read(tmp_path, flags):
    loaded = load(annotated(tmp_path / "a.pdf", "DRAFT", Name.Stamp, F=flags))
    assert "DRAFT" not in " ".join(line.text for line in loaded.embedded)


def test_o3_free_text_with_contents_and_appearance_is_read_once(tmp_path):
    loaded = load(annotated(tmp_path / "a.pdf", "seen by the notary", Name.FreeText, Contents="seen by the notary"))
    assert " ".join(line.text for line in loaded.embedded).count("notary") == 1


def stamped(path: Path, text: str, *, legible: bool = True) -> Path:
    """Write a page of prose with a stamp at its foot of which only a picture has the text."""
    image = Image.new("L", (800, 96), 255)
    font = ImageFont.truetype(str(FONTS["en"]), 52)
    ImageDraw.Draw(image).text((24, 12), text, fill=30, font=font)
    if not legible:
        image = image.filter(ImageFilter.GaussianBlur(11))
    annotated(path, "", Name.Stamp)
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        picture = document.make_stream(image.tobytes())
        picture.Type, picture.Subtype, picture.Width, picture.Height = Name.XObject, Name.Image, *image.size
        picture.ColorSpace, picture.BitsPerComponent = Name.DeviceGray, 8
        shown = document.make_stream(b"q 200 0 0 24 0 0 cm /Im0 Do Q")
        shown.Type, shown.Subtype, shown.BBox = Name.XObject, Name.Form, [0, 0, 200, 24]
        shown.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Im0=picture))
        document.pages[0].Annots[1].AP.N = document.make_indirect(shown)
        document.save(path)
    return path


def test_o3_a_stamp_that_is_a_picture_is_read(tmp_path, read):
    result = read(stamped(tmp_path / "a.pdf", "RECEIVED 14 March"), languages=("en",))
    [page] = result.pages
    lines = [line for region in page.regions for line in region.lines if "RECEIVED" in line.text]
    assert [line.text for line in lines] == ["RECEIVED 14 March"]
    (left, top), points = lines[0].polygon[0], 72 / page.dpi
    assert (left * points, 842 - top * points) == pytest.approx((106, 140), abs=10)
    assert page.engine == "embedded"
    assert page.text.startswith("The harbour authority")
    assert not result.warnings


def test_o3_a_stamp_on_the_text_itself_does_not_repeat_it(tmp_path, read):
    path = stamped(tmp_path / "a.pdf", "RECEIVED 14 March")
    [alone] = read(path, languages=("en",)).pages
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        document.pages[0].Annots[1].Rect = [60, 780, 260, 804]
        document.save(path)
    [over] = read(path, languages=("en",)).pages
    assert sorted(over.text.split()) == sorted(alone.text.split())


def test_o3_a_stamp_that_cannot_be_read_is_named(tmp_path, read):
    result = read(stamped(tmp_path / "a.pdf", "RECEIVED 14 March", legible=False), languages=("en",))
    assert [warning.reason for warning in result.warnings] == [WarningReason.LOW_CONFIDENCE]
    assert "harbour" in next(iter(result.pages)).text


@pytest.mark.parametrize("mode", ["redo", "force"])
def test_o3_free_text_without_an_appearance_is_on_a_page_that_is_read(tmp_path, read, mode):
    path = annotated(tmp_path / "a.pdf", "", Name.FreeText, Contents="seen by the notary")
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        del document.pages[0].Annots[1].AP
        document.save(path)
    [page] = read(path, languages=("en",), mode=mode).pages
    assert page.engine == "tesseract"
    assert page.text.count("seen by the notary") == 1
    drawn = annotated(tmp_path / "b.pdf", "seen by the notary", Name.FreeText, Contents="seen by the notary")
    [page] = read(drawn, languages=("en",), mode=mode).pages
    assert page.text.count("seen by the notary") == 1
