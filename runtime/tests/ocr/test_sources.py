from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pikepdf
import pytest
from fpdf import FPDF
from PIL import Image

from steno_api.failures import FailureReason
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.ocr.engines.base import RecognizedLine
from steno_runtime.ocr.geometry import box
from steno_runtime.ocr.open import open_source
from steno_runtime.ocr.page import Limits, PageError
from steno_runtime.ocr.pdf_text import is_readable
from steno_runtime.ocr.pipeline import RecognitionOptions, recognize

from .render import FONTS, page

SMALL = Limits(max_pixels=4_000_000)


def load(path, number=1, *, limits=SMALL, reuse_text=True):
    source = open_source(path, limits, reuse_text=reuse_text)
    try:
        return source.load(number)
    finally:
        source.close()


def text_pdf(path, texts, *, rotation=0):
    pdf = FPDF(format="A4")
    pdf.add_font("nanum", fname=FONTS["ko"])
    pdf.set_font("nanum", size=12)
    for text in texts:
        pdf.add_page()
        pdf.multi_cell(0, 8, text)
    plain = path.with_suffix(".plain.pdf")
    pdf.output(str(plain))
    with pikepdf.open(plain) as document:
        for one in document.pages:
            one.rotate(rotation, relative=False)
        document.save(path)
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("a.png", mode) for mode in ("1", "L", "RGB", "RGBA", "P", "I;16")),
        *(("a.jpg", mode) for mode in ("L", "RGB", "CMYK")),
        *(("a.tif", mode) for mode in ("1", "L", "RGB", "RGBA", "P", "CMYK", "I;16")),
    ],
)
def test_every_mode_of_every_format_becomes_rgb(tmp_path, name, mode):
    picture = Image.new("L", (60, 40), 255)
    picture.paste(0, (10, 10, 50, 30))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    elif mode == "RGBA":  # black text on nothing: paper is white
        picture = Image.merge("RGBA", [Image.new("L", picture.size, 0)] * 3 + [picture.point(lambda v: 255 - v)])
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / name)
    pixels = load(tmp_path / name).pixels
    assert pixels.shape == (40, 60, 3)
    assert pixels.dtype == np.uint8
    assert pixels[20, 30].max() < 20
    assert pixels[2, 2].min() > 235


def test_exif_turns_the_page(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40), "white").save(tmp_path / "a.jpg", exif=exif)
    loaded = load(tmp_path / "a.jpg")
    assert (loaded.width, loaded.height) == (40, 60)


def test_a_picture_bomb_is_refused_before_it_is_decoded(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(PageError, match="megapixels"):
        load(tmp_path / "bomb.png")


def test_a_bomb_within_a_pdf_is_refused_before_it_is_decoded(tmp_path):
    with pikepdf.new() as pdf:
        pdf.add_blank_page(page_size=(595, 842))
        image = pdf.make_stream(b"\0" * 100)
        image.Type, image.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
        image.Width, image.Height, image.BitsPerComponent = 90_000, 90_000, 8
        image.ColorSpace = pikepdf.Name.DeviceGray
        pdf.pages[0].Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=image))
        pdf.pages[0].Contents = pdf.make_stream(b"q 595 0 0 842 0 0 cm /I Do Q")
        pdf.save(tmp_path / "bomb.pdf")
    with pytest.raises(PageError, match="megapixels"):
        load(tmp_path / "bomb.pdf")


def test_a_large_page_is_rendered_coarsely_and_a_huge_one_refused(tmp_path):
    with pikepdf.new() as pdf:
        pdf.add_blank_page(page_size=(72 * 20, 72 * 20))
        pdf.add_blank_page(page_size=(14_000, 14_000))
        pdf.save(tmp_path / "large.pdf")
    loaded = load(tmp_path / "large.pdf", 1)
    assert loaded.dpi == 100
    assert loaded.width * loaded.height <= SMALL.max_pixels
    with pytest.raises(PageError, match="inches"):
        load(tmp_path / "large.pdf", 2)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_embedded_text_is_where_it_is_shown(tmp_path, rotation):
    path = text_pdf(tmp_path / "a.pdf", ["Harbour office 항구 사무실"], rotation=rotation)
    loaded = load(path)
    assert [line.text for line in loaded.embedded] == ["Harbour office 항구 사무실"]
    ink = np.argwhere(load(path, reuse_text=False).pixels.min(axis=2) < 128)
    xs, ys = zip(*loaded.embedded[0].quad, strict=True)
    (top, left), (bottom, right) = ink.min(axis=0), ink.max(axis=0)
    assert min(xs) - 8 <= left <= right <= max(xs) + 8
    assert min(ys) - 30 <= top <= bottom <= max(ys) + 30
    assert max(ys) - min(ys) < 60 or max(xs) - min(xs) < 60


@pytest.mark.parametrize(
    ("text", "readable"), [("\ue000\ue001 abc", False), ("\x01\x02\x03", False), ("항구 abc", True)]
)
def test_text_without_meaning_is_not_reused(text, readable):
    assert is_readable([RecognizedLine(box(0, 0, 9, 9), text, 1.0)]) is readable


def test_a_scan_with_a_stamp_is_read(tmp_path):
    Image.new("RGB", (800, 1100), "white").save(tmp_path / "scan.png")
    pdf = FPDF(format="A4")
    pdf.set_font("helvetica", size=10)
    pdf.add_page()
    pdf.image(str(tmp_path / "scan.png"), 0, 0, 210, 297)
    pdf.text(20, 10, "FAX 2023-03-14 page 1")
    pdf.output(str(tmp_path / "stamped.pdf"))
    assert load(tmp_path / "stamped.pdf").pixels is not None


def reason_of(path, tmp_path, **options) -> tuple[FailureReason, str]:
    with pytest.raises(WorkError) as failed:
        recognize(path, RecognitionOptions(**options), scratch=tmp_path, on_progress=lambda *_: None)
    return failed.value.reason, failed.value.message


def test_an_encrypted_pdf_says_what_to_do(tmp_path):
    plain = text_pdf(tmp_path / "plain.pdf", ["secret"])
    with pikepdf.open(plain) as pdf:
        pdf.save(tmp_path / "locked.pdf", encryption=pikepdf.Encryption(owner="o", user="u"))
    reason, message = reason_of(tmp_path / "locked.pdf", tmp_path)
    assert reason is FailureReason.ENCRYPTED
    assert "qpdf --decrypt" in message


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"%PDF-1.7\nnothing", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\0", b"II*\0\x08\0\0\0"]
)
def test_what_is_not_a_document_is_unsupported(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    reason, message = reason_of(tmp_path / "x", tmp_path)
    assert reason is FailureReason.UNSUPPORTED_MEDIA
    assert message.endswith(".")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_picture_cut_short_is_unsupported(tmp_path, name):
    page("en", 0, sentences=4).image.save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    reason, message = reason_of(tmp_path / name, tmp_path, languages=("en",))
    assert reason is FailureReason.UNSUPPORTED_MEDIA
    assert "cut short" in message


def test_a_picture_of_one_pixel_is_a_page_without_text(tmp_path, read):
    Image.new("RGB", (1, 1), "white").save(tmp_path / "a.png")
    (only,) = read(tmp_path / "a.png", languages=("en",)).pages
    assert (only.width, only.height, only.text, only.error) == (1, 1, "", None)


def test_one_bad_page_does_not_fail_the_rest(tmp_path, read):
    with pikepdf.open(text_pdf(tmp_path / "a.pdf", ["one", "two", "three"])) as pdf:
        pdf.pages[1].MediaBox = [0, 0, 14_000, 14_000]
        pdf.save(tmp_path / "bad.pdf")
    result = read(tmp_path / "bad.pdf", limits=SMALL)
    assert [(p.number, p.text, p.error is None) for p in result.pages] == [
        (1, "one", True),
        (2, "", False),
        (3, "three", True),
    ]
    assert (result.total_pages, result.failed_pages) == (3, 1)


def test_page_ranges_and_progress(tmp_path):
    updates = []
    path = text_pdf(tmp_path / "a.pdf", [f"page number {n}" for n in range(1, 8)])
    result = recognize(
        path,
        RecognitionOptions(pages="2-3,6"),
        scratch=tmp_path,
        on_progress=lambda update: updates.append((update.fraction, update.pages, update.message)),
    )
    assert [p.text for p in result.pages] == ["page number 2", "page number 3", "page number 6"]
    assert updates == [(n / 3, n, f"page {n} of 3") for n in range(4)]
    assert reason_of(path, tmp_path, limits=Limits(max_pages=3))[0] is FailureReason.TOO_LARGE
    assert reason_of(path, tmp_path, languages=("tlh",))[0] is FailureReason.INVALID_SPEC


def test_a_stop_is_obeyed_between_pages(tmp_path):
    path = text_pdf(tmp_path / "a.pdf", ["page"] * 5)
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        recognize(path, RecognitionOptions(), scratch=tmp_path, on_progress=lambda *_: None, check=check)


def test_a_language_without_data_names_its_package(tmp_path):
    page("en", 0, sentences=4).image.save(tmp_path / "a.png")
    reason, message = reason_of(tmp_path / "a.png", tmp_path, languages=("km",))
    assert reason is FailureReason.UNSUPPORTED_MEDIA
    assert "khm" in message


def test_a_16_bit_scan_keeps_its_greys():
    from steno_runtime.ocr.pixels import rgb

    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(buffer, "PNG")
    assert abs(int(np.asarray(rgb(Image.open(buffer)))[0, 0, 0]) - 128) <= 1
