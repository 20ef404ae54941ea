"""Annotations of PDFs that draw text: stamps, signatures and free text of which only the appearance has it (O3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pikepdf
import pytest
from fpdf import FPDF

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
