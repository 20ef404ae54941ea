"""Searchable PDFs of scans that carry a form or a signature; the pages are scripted, no engine runs."""

from __future__ import annotations

from pathlib import Path

import pikepdf
import pytest

from steno_api.documents.pages import Line, Page, Region, Word
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.pipeline import RecognitionOptions, RecognitionResult
from steno_runtime.ocr.searchable import write_searchable
from steno_runtime.ocr.spool import PageSpool

from .render import page

Name = pikepdf.Name


def result_for(path: Path, folder: Path) -> RecognitionResult:
    """Return a result with one word, where `scan` has ink."""
    corners = (150, 150), (1500, 150), (1500, 400), (150, 400)
    word = Word(polygon=corners, text="harbour", confidence=0.9)
    line = Line(polygon=corners, text="harbour", confidence=0.9, words=(word,))
    pages = PageSpool(folder / "pages.jsonl")
    pages.add(
        Page(
            number=1, width=1654, height=2339, dpi=200, engine="tesseract", confidence=0.9, text="harbour",
            regions=(Region(kind="paragraph", polygon=corners, lines=(line,)),),
        )
    )  # fmt: skip
    return RecognitionResult(
        pages=pages, kind="pdf", source=path, options=RecognitionOptions(), total_pages=1, failed_pages=0,
        confidence=0.9, characters=7, engines={"tesseract": 1}, seconds=1.0,
    )  # fmt: skip


def scan_with_form(path: Path, *, flags: int = 0) -> Path:
    page("en", 0).image.save(path.with_suffix(".plain.pdf"), resolution=200)
    with pikepdf.open(path.with_suffix(".plain.pdf")) as document:
        field = document.make_indirect(
            pikepdf.Dictionary(
                FT=Name.Tx, T="name", V="Kim", Type=Name.Annot, Subtype=Name.Widget, Rect=[10, 10, 90, 30]
            )
        )
        document.pages[0].Annots = pikepdf.Array([field])
        document.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array([field]), SigFlags=flags)
        document.save(path)
    return path


def test_o2_the_searchable_pdf_of_a_scan_with_a_form_has_both(tmp_path):
    source = scan_with_form(tmp_path / "form-scan.pdf")
    write_searchable(result_for(source, tmp_path), tmp_path / "searchable.pdf")
    with pikepdf.open(tmp_path / "searchable.pdf") as document:
        (field,) = document.Root.AcroForm.Fields
        assert field.V == "Kim"
        assert document.pages[0].Annots[0].objgen == field.objgen
        assert "/StenoAcroForm" not in document.Root
    import pypdfium2

    searchable = pypdfium2.PdfDocument(tmp_path / "searchable.pdf")
    assert "harbour" in searchable[0].get_textpage().get_text_range()
    searchable.close()


def test_o2_a_signed_pdf_is_refused_for_its_signature(tmp_path):
    source = scan_with_form(tmp_path / "signed.pdf", flags=3)
    with pytest.raises(WorkError, match="signed") as failed:
        write_searchable(result_for(source, tmp_path), tmp_path / "searchable.pdf")
    assert failed.value.reason is FailureReason.UNSUPPORTED_MEDIA
    assert "qpdf" not in failed.value.message
