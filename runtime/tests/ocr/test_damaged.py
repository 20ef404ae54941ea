"""Damaged documents: they give a page or a reason, never a defect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pikepdf
import pytest
from fpdf import FPDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.images import ImageSource
from steno_runtime.ocr.open import open_source
from steno_runtime.ocr.page import Limits, PageError
from steno_runtime.ocr.searchable import _run
from steno_runtime.ocr.writers import WRITERS, Header

LIMITS = Limits(max_pixels=4_000_000)
BROKEN_EXIF = b"Exif\0\0M/\0*\0\0\0\x08\0\0\0\0\0\0"


def picture() -> Image.Image:
    image = Image.new("RGB", (300, 100), "white")
    ImageDraw.Draw(image).text((20, 20), "Harbour repairs", fill="black")
    return image


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    exif = Image.Exif()
    exif[0x112] = 6
    picture().save(folder / "a.png")
    picture().save(folder / "a.jpg", exif=exif)
    picture().save(folder / "a.tif", compression="tiff_lzw", save_all=True, append_images=[picture().convert("L")])
    pdf = FPDF()
    pdf.set_font("helvetica", size=12)
    for text in ("Harbour repairs", "second page"):
        pdf.add_page()
        pdf.cell(0, 8, text)
    pdf.output(str(folder / "a.pdf"))
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


def test_a_tiff_without_its_dimensions_is_unsupported(documents, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(
        documents[".tif"].replace(b"\0\1\3\0\1\0\0\0", b"\0\2\3\0\1\0\0\0").replace(b"\0\1\4\0", b"\0\2\4\0")
    )
    with pytest.raises(WorkError) as caught:
        open_source(path, LIMITS, reuse_text=True)
    assert caught.value.reason is FailureReason.UNSUPPORTED_MEDIA


def test_a_picture_with_damaged_exif_is_read_as_it_lies(tmp_path):
    path = tmp_path / "a.jpg"
    picture().save(path, dpi=(200, 200), exif=BROKEN_EXIF)
    assert ImageSource(path, LIMITS).untouched_jpeg() is None
    pixels = ImageSource(path, LIMITS).load(1).pixels
    assert pixels is not None
    assert pixels.shape == (100, 300, 3)
    assert np.abs(pixels.astype(int) - np.asarray(picture()).astype(int)).mean() < 5


def test_a_page_that_cannot_be_turned_for_lack_of_memory_is_not_read_sideways(tmp_path, monkeypatch):
    def full(_: Image.Image) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr("steno_runtime.ocr.images.ImageOps.exif_transpose", full)
    path = tmp_path / "page.png"
    Image.new("L", (8, 8)).save(path)
    with pytest.raises(PageError):
        ImageSource(path, LIMITS).load(1)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_searchable_pdf_of_a_picture_of_one_pixel(tmp_path, read, name):
    Image.new("RGB", (1, 1), "white").save(tmp_path / name)
    result = read(tmp_path / name, languages=("en",))
    WRITERS["pdf"](result, Header("acme", "dot", 1.0), tmp_path / "dot.pdf")
    with pikepdf.open(tmp_path / "dot.pdf") as pdf:
        assert len(pdf.pages) == 1


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Create the searchable PDF of a document while OCRmyPDF fails."""

    def stumble(*_: object, **__: object) -> None:
        raise AttributeError("'PdfInfo' object has no attribute '_pages'")

    def make(data: bytes) -> None:
        monkeypatch.setattr("ocrmypdf.ocr", stumble)
        (tmp_path / "a.pdf").write_bytes(data)
        _run(tmp_path / "a.pdf", tmp_path / "out.pdf", lambda _: None, pages=[1], force=False)

    return make


def test_an_error_of_ocrmypdf_on_a_damaged_pdf_is_the_pdfs_fault(documents, failing):
    cut = documents[".pdf"].replace(b"/FlateDecode", b"/FlateDecodf")
    assert cut != documents[".pdf"]
    with pytest.raises(WorkError, match="qpdf") as caught:
        failing(cut[: cut.rindex(b"startxref")])
    assert caught.value.reason is FailureReason.UNSUPPORTED_MEDIA


def test_an_error_of_ocrmypdf_on_a_sound_pdf_is_a_defect(documents, failing):
    with pytest.raises(AttributeError):
        failing(documents[".pdf"])


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 600) | st.integers(-300, -1) | st.integers(0, 2**31),
        st.integers(0, 40),
        st.sampled_from([b"", b"\0", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"9999"])
        | st.binary(max_size=8),
    ),
    min_size=1,
    max_size=4,
)
"""Where, how many bytes go, and what comes in their place."""


def damaged(data: bytes, mutations: list[tuple[int, int, bytes]]) -> bytes:
    for at, gone, new in mutations:
        begin = at % max(1, len(data))
        data = data[:begin] + new + data[begin + gone :]
    return data


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".pdf"])
@given(mutations=MUTATIONS, reuse_text=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_document_gives_pages_or_a_reason(documents, tmp_path: Path, suffix, mutations, reuse_text):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(damaged(documents[suffix], mutations))
    try:
        source = open_source(path, LIMITS, reuse_text=reuse_text)
    except WorkError as error:
        assert error.reason is not FailureReason.INTERNAL  # noqa: PT017
        return
    for number in range(1, min(source.pages, 3) + 1):
        try:
            page = source.load(number)
        except PageError:
            continue
        assert page.pixels is None or page.pixels.shape == (page.height, page.width, 3)
    source.close()
