"""Pictures as people send them: odd depths, transparency, thumbnails, metadata, sizes, and headers that lie."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from steno_api.documents.warnings import WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.images import credible_dpi
from steno_runtime.ocr.open import open_source
from steno_runtime.ocr.page import Limits, PageError, PageInput
from steno_runtime.ocr.pipeline import RecognitionOptions, recognize
from steno_runtime.ocr.pixels import rgb
from steno_runtime.ocr.reader import PageReader
from steno_runtime.ocr.resolution import assumed_dpi, letter_height, scale_for_reading

from .render import FONTS, page

SMALL = Limits(max_pixels=1_000_000)


def load(path: Path, number: int = 1, *, limits: Limits = SMALL) -> PageInput:
    source = open_source(path, limits, reuse_text=True)
    try:
        return source.load(number)
    finally:
        source.close()


def reasons(loaded: PageInput) -> list[WarningReason]:
    return [warning.reason for warning in loaded.warnings]


def letters(size: tuple[int, int] = (600, 400), *, ink: Any = 0, paper: Any = 255, mode: str = "L") -> Image.Image:
    image = Image.new(mode, size, paper)
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(FONTS["en"], size[1] // 12)
    for row in range(7):
        draw.text(
            (size[0] // 20, size[1] // 20 + row * size[1] // 8), f"Harbour office, pier {row}", fill=ink, font=font
        )
    return image


def assert_reads_like(path: Path, grey: np.ndarray) -> None:
    pixels: Any = load(path).pixels
    assert np.abs(pixels[:, :, 0].astype(int) - grey.astype(int)).max() <= 8


def big_endian(grey: np.ndarray, *, photometric: int) -> bytes:
    data = grey.astype(">u2").tobytes()
    height, width = grey.shape
    entries = [
        (256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (277, 3, 1),
        (278, 3, height), (279, 4, len(data)),
    ]  # fmt: skip
    directory = b"".join(
        struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
        for tag, kind, value in entries
    )
    return b"MM\0*" + struct.pack(">I", 8 + len(data)) + data + struct.pack(">H", len(entries)) + directory + bytes(4)


def test_o11_grey_of_any_depth_is_grey(tmp_path):
    image = letters()
    grey = np.asarray(image)
    wide = grey.astype(np.uint16)
    Image.fromarray(wide << 2).save(tmp_path / "10.tif")
    Image.fromarray(wide << 4).save(tmp_path / "12.tif")
    Image.fromarray(wide << 6).save(tmp_path / "14.tif")
    Image.fromarray(wide * 257).save(tmp_path / "16.tif")
    Image.fromarray(65535 - wide * 257).save(tmp_path / "16-white-is-zero.tif", tiffinfo={262: 0})
    (tmp_path / "big.tif").write_bytes(big_endian(wide * 257, photometric=1))
    (tmp_path / "big-white-is-zero.tif").write_bytes(big_endian(65535 - wide * 257, photometric=0))
    Image.fromarray((grey / 255).astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "float-255.tif")
    Image.fromarray(((grey / 255) - 0.5).astype(np.float32)).save(tmp_path / "float-signed.tif")
    Image.fromarray(grey.astype(np.int32) * 8_421_504).save(tmp_path / "32.tif")
    assert len(list(tmp_path.glob("*.tif"))) == 11
    for path in tmp_path.glob("*.tif"):
        assert_reads_like(path, grey)


@given(
    bits=st.integers(9, 16),
    dark=st.floats(0, 0.3),
    light=st.floats(0.7, 1),
    odd=st.sampled_from([float("nan"), float("inf"), None]),
)
@settings(max_examples=60, deadline=None)
def test_o11_paper_is_light_and_ink_dark_at_any_depth(bits, dark, light, odd):
    values = np.full((40, 60), light * (2**bits - 1), np.float32)
    values[10:30, 10:50] = dark * (2**bits - 1)
    if odd is not None:
        values[0, 0] = odd
    else:
        values = values.astype(np.uint16)
    pixels = np.asarray(rgb(Image.fromarray(values)))
    assert pixels[35, 55].min() > 160
    assert pixels[20, 30].max() < pixels[35, 55].min() - 80


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_light_letters_on_nothing_are_seen(tmp_path, mode):
    mask = letters(ink=255, paper=0)
    image = Image.merge("RGBA", [Image.new("L", mask.size, 255)] * 3 + [mask])
    if mode == "P":
        image = Image.new("P", mask.size, 0)
        image.putpalette([255, 0, 255, 255, 255, 255])
        image.paste(1, mask=mask.point([255 * (value > 127) for value in range(256)]))
        image.save(tmp_path / "a.png", transparency=0)
    else:
        image.convert(mode).save(tmp_path / "a.png")
    pixels: Any = load(tmp_path / "a.png").pixels
    ink = np.asarray(mask) > 250
    assert pixels[ink].max() < 20
    assert pixels[np.asarray(mask) == 0].min() > 235


def test_dark_letters_and_white_paper_with_a_transparent_margin_stay(tmp_path):
    paper = letters()
    image = Image.new("RGBA", (1000, 800), (0, 0, 0, 0))
    image.paste(paper.convert("RGBA"), (200, 200))
    image.save(tmp_path / "a.png")
    pixels: Any = load(tmp_path / "a.png").pixels
    assert (pixels[200:600, 200:800, 0] == np.asarray(paper)).all()
    assert pixels[:150].min() == 255


def test_a_few_words_on_a_noisy_sheet_whose_white_is_transparent_stay_dark(tmp_path):
    paper = np.clip(np.random.default_rng(0).normal(255, 6, (700, 900)), 0, 255).astype(np.uint8)
    paper[300:306, 400:900] = 25  # half a percent
    Image.fromarray(paper).save(tmp_path / "a.png", transparency=255)
    pixels: Any = load(tmp_path / "a.png").pixels
    assert (pixels[..., 0] == paper).all()


def tiff(path: Path, *frames: tuple[Image.Image, dict[int, int]]) -> Path:
    first, *rest = [frame for frame, _ in frames]
    for frame, tags in frames:
        frame.encoderinfo = {"tiffinfo": tags}
    first.save(path, save_all=True, append_images=rest, tiffinfo=frames[0][1])
    return path


@pytest.mark.parametrize("marked", [True, False])
def test_smaller_copies_of_a_page_are_no_pages(tmp_path, marked):
    large = letters((800, 600))
    copies = [(large.resize((800 // times, 600 // times)), {254: 1} if marked else {}) for times in (2, 4, 8)]
    frames = [(large, {}), *copies, (letters((600, 800)), {})]
    source = open_source(tiff(tmp_path / "a.tif", *frames), SMALL, reuse_text=True)
    assert source.pages == 2
    assert (source.load(1).width, source.load(2).width) == (800, 600)
    (warning,) = source.warnings
    assert warning.reason is WarningReason.PAGES_SKIPPED
    assert "3 image" in warning.message
    source.close()


def test_a_page_that_is_merely_smaller_is_a_page(tmp_path):
    other = Image.new("L", (400, 300), 255)
    ImageDraw.Draw(other).rectangle((200, 150, 390, 290), fill=0)
    source = open_source(tiff(tmp_path / "a.tif", (letters((800, 600)), {}), (other, {})), SMALL, reuse_text=True)
    assert (source.pages, source.warnings) == (2, ())
    source.close()


def test_a_tiffs_second_page_does_not_have_the_resolution_of_its_first(tmp_path):
    one, two = letters(), letters((500, 400))
    one.save(tmp_path / "a.tif", save_all=True, append_images=[two], dpi=(200, 200))
    data = (tmp_path / "a.tif").read_bytes()
    entry = struct.pack("<HHI", 282, 5, 1)
    second = data.rindex(entry)
    (tmp_path / "b.tif").write_bytes(data[:second] + struct.pack("<H", 65_000) + data[second + 2 :])
    assert (load(tmp_path / "b.tif", 1).dpi, load(tmp_path / "b.tif", 2).dpi) == (200, 0)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("where", ["before", "after"])
def test_o14_large_metadata_is_no_damage(tmp_path, where):
    info = PngInfo()
    info.add(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * 2_000_000), after_idat=where == "after")
    letters().save(tmp_path / "a.png", pnginfo=info, dpi=(200, 200))
    assert_reads_like(tmp_path / "a.png", np.asarray(letters()))
    assert load(tmp_path / "a.png").dpi == 200


def test_o14_a_large_profile_and_a_wrong_checksum_are_no_damage(tmp_path):
    buffer = io.BytesIO()
    letters().save(buffer, "PNG")
    data = buffer.getvalue()
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(3_000_000)))
    wrong = chunk(b"tIME", b"\x07\xe7\1\1\1\1\1")[:-4] + b"\0\0\0\0"
    (tmp_path / "a.png").write_bytes(data[:33] + profile + wrong + data[33:])
    assert_reads_like(tmp_path / "a.png", np.asarray(letters()))


def test_o5_a_large_photograph_is_decoded_at_a_fraction(tmp_path):
    letters((3000, 2000)).convert("RGB").save(tmp_path / "a.jpg", quality=90, dpi=(300, 300))
    loaded = load(tmp_path / "a.jpg")
    assert (loaded.width, loaded.height, loaded.dpi) == (750, 500, 75)
    assert reasons(loaded) == [WarningReason.REDUCED_RESOLUTION]


def test_o5_a_large_plan_of_one_bit_is_read_at_a_fraction(tmp_path):
    letters((2000, 1400)).convert("1").save(tmp_path / "a.tif", compression="group4", dpi=(400, 400))
    loaded = load(tmp_path / "a.tif")
    assert (loaded.width, loaded.height, loaded.dpi) == (1000, 700, 200)
    pixels: Any = loaded.pixels
    assert pixels.min() < 100
    assert reasons(loaded) == [WarningReason.REDUCED_RESOLUTION]


def test_o5_what_is_too_large_says_so(tmp_path):
    Image.new("RGB", (1500, 1000)).save(tmp_path / "a.png")
    with pytest.raises(PageError, match="megapixels"):
        load(tmp_path / "a.png")
    with pytest.raises(WorkError) as failed:
        recognize(tmp_path / "a.png", RecognitionOptions(limits=SMALL), scratch=tmp_path, on_progress=lambda *_: None)
    assert failed.value.reason is FailureReason.TOO_LARGE


@pytest.mark.parametrize(
    ("size", "header", "believed"),
    [
        ((1240, 1754), 150, 150), ((1240, 1754), 300, 300), ((1240, 1754), 600, 0), ((1240, 1754), 2400, 0),
        ((4960, 7016), 600, 600), ((2979, 4213), 72, 0), ((1240, 1754), 96, 96), ((13_244, 18_724), 400, 400),
        ((1240, 1754), 1, 0),
    ],
)  # fmt: skip
def test_o8_a_resolution_that_makes_no_paper_is_not_believed(size, header, believed):
    assert credible_dpi(header, size) == believed


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_o8_a_header_that_lies_is_left_out(tmp_path, name):
    for header, believed in ((150, 150), (2400, 0)):
        letters((1240, 800)).save(tmp_path / name, dpi=(header, header))
        assert load(tmp_path / name).dpi == believed


def test_o8_what_an_engine_is_given_does_not_depend_on_the_header(tmp_path, monkeypatch):
    seen: list[tuple[tuple[int, ...], int]] = []

    class Scripted:
        name = "tesseract"

        def reads(self, _: object) -> bool:
            return True

        def recognize(self, image: np.ndarray, languages: object, quality: Any) -> list[Any]:  # noqa: ARG002
            seen.append((image.shape, quality.dpi))
            return []

    reader = PageReader(engine="tesseract", languages=["en"], model_store=None, threads=1)
    monkeypatch.setattr(reader, "_engines", {"tesseract": Scripted()})
    monkeypatch.setattr(reader._tesseract, "orientation", lambda _: None)
    image = page("en", 0).image.resize((1240, 1754))
    for header in (None, 72, 96, 150, 300, 600, 1200, 2400):
        options: Any = {"dpi": (header, header)} if header else {}
        image.save(tmp_path / "a.png", **options)
        reader.read(load(tmp_path / "a.png", limits=Limits()))
    assert set(seen) == {((1754, 1240, 3), 150)}


def test_o8_a_page_is_scaled_by_the_height_of_its_letters():
    fine = np.asarray(page("en", 0).image.convert("RGB").resize((4962, 7017)))
    scaled, scale = scale_for_reading(fine)
    assert scale == pytest.approx(0.5, abs=0.01)
    assert scaled.shape[0] == pytest.approx(3508, abs=2)
    newspaper = np.tile(np.asarray(page("en", 0).image.convert("RGB")), (3, 3, 1))
    assert 10 < (letter_height(newspaper) or 0) < 25
    assert scale_for_reading(newspaper)[1] == 1.0
    assert letter_height(np.full((500, 500, 3), 255, np.uint8)) is None
    assert assumed_dpi(np.zeros((2339, 1654, 3), np.uint8)) == 200


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_that_lies_on_its_side_is_turned_as_it_says(tmp_path, compression):
    image = Image.new("L", (90, 200), 255)
    image.paste(0, (0, 0, 20, 200))  # the left edge, which is the upper one when it is turned
    image.save(tmp_path / "turned.tif", tiffinfo={274: 6}, compression=compression)
    source = open_source(tmp_path / "turned.tif", Limits(), reuse_text=True)
    pixels = source.load(1).pixels
    source.close()
    assert pixels is not None
    assert pixels.shape == (90, 200, 3)
    assert pixels[:19].max() == 0
    assert pixels[21:].min() == 255
