"""Pages that are blank, turned, or in a script that was guessed: what is read again, and what is kept.

The engines are scripted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_runtime.ocr import reader as reader_module
from steno_runtime.ocr.engines.base import RecognizedLine, RecognizedWord
from steno_runtime.ocr.engines.tesseract import TesseractEngine
from steno_runtime.ocr.geometry import box, turned_left
from steno_runtime.ocr.languages import language_of, may_be_in
from steno_runtime.ocr.page import PageInput
from steno_runtime.ocr.pipeline import RecognitionOptions, recognize
from steno_runtime.ocr.reader import PageReader
from steno_runtime.ocr.resolution import is_blank

from .render import FONTS, page

RNG = np.random.default_rng(7)


def show_through() -> np.ndarray:
    back = np.asarray(page("en", 0).image.convert("L").transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    blurred = np.asarray(Image.fromarray(back).filter(ImageFilter.GaussianBlur(3)), dtype=float)
    noisy = 255 * 0.94 + blurred * 0.06 + RNG.normal(0, 4, blurred.shape)
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def streak() -> np.ndarray:
    sheet = np.full((2339, 1654, 3), 255, np.uint8)
    sheet[:, 700:703] = 128
    return sheet


def specks() -> np.ndarray:
    sheet = np.full((2339, 1654, 3), 255, np.uint8)
    for x, y in RNG.integers(0, (1650, 2330), (300, 2)):
        sheet[y : y + 2, x : x + 2] = 0
    return sheet


@pytest.mark.parametrize("sheet", [show_through, streak, specks])
def test_o21_a_sheet_without_letters_is_blank(sheet):
    assert is_blank(sheet())


@pytest.mark.parametrize("language", ["en", "ko"])
def test_o21_a_page_with_letters_is_not_blank(language):
    pixels = np.asarray(page(language, 0).image.convert("RGB"))
    assert not is_blank(pixels)
    faint = (255 - (255 - pixels.astype(int)) * 0.25).astype(np.uint8)
    assert not is_blank(faint)
    assert not is_blank(255 - pixels)
    one = Image.new("RGB", (1654, 2339), "white")
    ImageDraw.Draw(one).text((800, 2200), "7", fill="black", font=ImageFont.truetype(FONTS["en"], 24))
    assert not is_blank(np.asarray(one))


def test_o21_a_blank_sheet_needs_no_engine_and_says_so_once(tmp_path):
    first, *rest = [Image.fromarray(sheet()) for sheet in (show_through, streak, specks)]
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest, compression="tiff_lzw")
    result = recognize(tmp_path / "a.tif", RecognitionOptions(), scratch=tmp_path, on_progress=lambda *_: None)
    assert [(one.text, one.engine, one.error) for one in result.pages] == [("", None, None)] * 3
    assert [warning.reason for warning in result.warnings] == [WarningReason.PAGES_EMPTY]


Lines = Sequence[tuple[str, float]]


class Scripted:
    """An engine that reads what it is told to, by the page's shade (which tells how it is turned) and the language."""

    name = "tesseract"

    def __init__(self, lines: Callable[[np.ndarray, str], Lines]) -> None:
        self._lines = lines

    def reads(self, _: object) -> bool:
        return True

    def recognize(self, image: np.ndarray, languages: Sequence[str], quality: object) -> list[RecognizedLine]:  # noqa: ARG002
        return [
            RecognizedLine(box(10, 10 + 40 * row, 300, 40 + 40 * row), text, confidence)
            for row, (text, confidence) in enumerate(self._lines(image, languages[0]))
        ]


def read(
    monkeypatch,
    *lines: Scripted | Callable[[np.ndarray, str], Lines],
    osd: Any = None,
    languages: Sequence[str] = (),
    likeliest: str | None = None,
    missing: Collection[str] = (),
):
    """Read a page whose corner is black.

    Args:
        monkeypatch: of the test.
        lines: the engines to choose from, or what they read.
        osd: how the page lies, and its script's language.
        languages: of the document.
        likeliest: the language of the script that the page's longest lines are read in best.
        missing: languages whose data is not installed.
    """
    warnings: list[ResultWarning] = []
    engines = [one if isinstance(one, Scripted) else Scripted(one) for one in lines]
    engine = "tesseract" if len(engines) == 1 else "auto"
    reader = PageReader(engine=engine, languages=languages, model_store=None, threads=1, warn=warnings.append)
    monkeypatch.setattr(reader, "_engines", {one.name: one for one in engines})
    monkeypatch.setattr(reader._tesseract, "orientation", lambda _: osd)
    monkeypatch.setattr(reader._tesseract, "likeliest", lambda *_: likeliest, raising=False)
    monkeypatch.setattr(reader._tesseract, "missing", lambda names: [name for name in names if name in missing])
    image = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 60, 40), fill="black")  # its corner tells how the page lies
    pixels = np.asarray(image)
    return reader.read(PageInput(1, 400, 300, 0, pixels=pixels)), warnings


def corner(image: np.ndarray) -> int:
    """Return how far a page was turned, clockwise."""
    dark = [image[5, 5, 0], image[5, -5, 0], image[-5, -5, 0], image[-5, 5, 0]]
    return 90 * int(np.argmin(dark))


@pytest.mark.parametrize("languages", [(), ("en",)])
@pytest.mark.parametrize("upright", [0, 90, 180, 270])
def test_o17_a_few_words_are_turned_by_what_is_read(monkeypatch, languages, upright):
    def lines(image: np.ndarray, _: str) -> Lines:
        return [("Harbour Office", 0.9), ("Pier 7, Busan", 0.9)] if corner(image) == upright else [("e3!J0", 0.4)]

    seen, _ = read(monkeypatch, lines, languages=languages)
    assert (seen.rotation, seen.text.split()[0]) == (upright, "Harbour")


def test_o17_digits_alone_say_nothing_of_how_they_lie(monkeypatch):
    def lines(image: np.ndarray, _: str) -> Lines:
        return [("9 6 8 0 1", 0.5)] if corner(image) == 0 else [("1 0 8 9 6", 0.9)]

    seen, _ = read(monkeypatch, lines, languages=("en",))
    assert (seen.rotation, seen.text) == (0, "9 6 8 0 1")


def test_o18_latin_letters_that_were_taken_for_cyrillic(monkeypatch):
    def lines(_: np.ndarray, language: str) -> Lines:
        return [("\u041d\u041e\u0421\u041a\u0415\u0423 306", 0.9)] if language == "ru" else [("HOCKEY 306", 0.88)]

    seen, _ = read(monkeypatch, lines, osd=(0, "ru"))
    assert (seen.text, seen.languages) == ("HOCKEY 306", ("en",))


def test_o18_a_short_cyrillic_sign_is_not_read_in_latin_letters(monkeypatch):
    sign = "\u0420\u0415\u0421\u0422\u041e\u0420\u0410\u041d \u041c\u041e\u0421\u041a\u0412\u0410"

    def lines(_: np.ndarray, language: str) -> Lines:
        return [(sign, 0.95)] if language == "ru" else [("PECTOPAH MOCKBA", 0.85)]

    seen, warnings = read(monkeypatch, lines)
    assert (seen.text, seen.languages, warnings) == (sign, ("ru",), [])


def test_o18_a_short_cyrillic_sign_without_the_data_of_russian_has_a_warning(monkeypatch):
    """As without Russian: one engine doubts the Latin letters, the next is sure of them."""
    warnings: list[ResultWarning] = []
    reader = PageReader(engine="auto", languages=(), model_store=None, threads=1, warn=warnings.append)
    first, second = (Scripted(lambda *_, c=confidence: [("PECTOPAH MOCKBA", c)]) for confidence in (0.65, 0.98))
    for engine in (first, second):
        monkeypatch.setattr(engine, "reads", lambda languages: "ru" not in languages and "ko" not in languages)
    monkeypatch.setattr(reader, "_engines", {"tesseract": first, "rapidocr": second})
    monkeypatch.setattr(reader._tesseract, "orientation", lambda _: None)
    seen = reader.read(PageInput(1, 400, 150, 0, pixels=np.full((150, 400, 3), 255, np.uint8)))
    assert seen.confidence == 0.98
    assert [warning.reason for warning in warnings] == [WarningReason.LANGUAGE_UNCERTAIN]


@pytest.mark.parametrize(("lines", "named"), [([("HOCKEY", 0.95)], False), ([("e3 J0", 0.5)], True), ([], True)])
def test_o18_a_script_that_was_guessed_and_no_engine_reads_is_no_reason_to_fail(monkeypatch, lines, named):
    """The page may be Latin, taken for Cyrillic: what was read is kept, and doubted; the missing data is named."""
    monkeypatch.setattr(Scripted, "reads", lambda _, languages: "ru" not in languages)
    seen, (warning,) = read(monkeypatch, lambda *_: lines, osd=(0, "ru"), missing={"ru"})
    assert (seen.text, seen.languages, seen.error) == ("".join(text for text, _ in lines), ("en",), None)
    assert warning.reason is WarningReason.LANGUAGE_UNCERTAIN
    assert ("install Tesseract's data for ru" in warning.message) == named


def test_o18_a_doubtful_page_is_read_in_the_script_of_its_longest_lines(monkeypatch):
    def lines(_: np.ndarray, language: str) -> Lines:
        return [(PERSIAN, 0.9)] if language == "fa" else [("PEC oh Shy", 0.32)]

    seen, warnings = read(monkeypatch, lines, likeliest="fa")
    assert (seen.text, seen.languages, warnings) == (PERSIAN, ("fa",), [])
    seen, warnings = read(monkeypatch, lines, likeliest="th")
    assert (seen.text, seen.languages) == ("PEC oh Shy", ("en",))
    assert [warning.reason for warning in warnings] == [WarningReason.LANGUAGE_UNCERTAIN]


def test_o18_the_script_of_the_longest_lines():
    image = Image.new("RGB", (1100, 300), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(FONTS["ko"], 40)
    draw.text(
        (40, 40),
        "\ud56d\uad6c \uc0ac\ubb34\uc2e4\uc740 \uc544\uce68 \uc544\ud649 \uc2dc\uc5d0",
        font=font,
        fill="black",
    )
    draw.text((40, 140), "\ubd80\uc0b0 \uce60\ubc88 \ubd80\ub450", font=font, fill="black")
    engine = TesseractEngine()
    assert engine.likeliest(np.asarray(image), ["th", "ko"], 200) == "ko"
    assert engine.likeliest(np.full((300, 1100, 3), 255, np.uint8), ["ko"], 200) is None
    assert engine.likeliest(np.asarray(image), [], 200) is None


def test_a_page_that_was_turned_for_doubtful_letters_is_read_by_the_next_engine_as_it_lies(monkeypatch):
    """Of a line in Chinese Tesseract's English makes more letters upside down; the next engine is sure of one there."""

    class Next(Scripted):
        name = "rapidocr"

    first = Scripted(lambda image, _: [("WWE ehl", 0.3)] if corner(image) == 180 else [("Se A", 0.2)])
    second = Next(lambda image, _: [(CHINESE[0], 0.99)] if corner(image) == 180 else [(CHINESE, 0.98)])
    seen, warnings = read(monkeypatch, first, second)
    assert (seen.text, seen.rotation, seen.engine) == (CHINESE, 0, "rapidocr")
    assert (seen.languages, warnings) == (("zh",), [])


CHINESE = "\u7e41\u9ad4\u4e2d\u6587\u6e2c\u8a66"
PERSIAN = "\u0627\u0645\u0631\u0648\u0632 \u0647\u0648\u0627 \u062e\u0648\u0628\u0647"


def test_o18_russian_prose_is_not_read_again(monkeypatch):
    asked: list[str] = []

    def lines(_: np.ndarray, language: str) -> Lines:
        asked.append(language)
        return [
            ("\u041f\u043e\u0440\u0442 \u0437\u0430\u043a\u0440\u044b\u0442 \u0434\u043e \u0438\u044e\u043b\u044f", 0.9)
        ]

    read(monkeypatch, lines, osd=(0, "ru"))
    assert asked == ["ru"]


def test_o18_a_guess_that_reads_badly_says_so(monkeypatch):
    _, warnings = read(monkeypatch, lambda *_: [("xq zz", 0.4)])
    assert [warning.reason for warning in warnings] == [WarningReason.LANGUAGE_UNCERTAIN]
    _, warnings = read(monkeypatch, lambda *_: [("xq zz", 0.4)], languages=("en",))
    assert warnings == []


@pytest.mark.parametrize(
    ("text", "language", "other"),
    [
        ("HOCKEY 306 BETA", "en", "ru"),
        ("Harbour office", "en", None),
        ("\u0392\u0395\u03a4\u0391 306", "el", "en"),
        ("306", "ru", None),
        ("\ud56d\uad6c", "ko", None),
    ],
)
def test_o18_letters_of_the_same_shapes(text, language, other):
    assert may_be_in(text, language) == other


@pytest.mark.parametrize(
    ("text", "guessed", "language"),
    [
        (CHINESE, "en", "zh"),
        (f"{CHINESE} ABC", "zh-Hant", "zh-Hant"),
        ("\u6e2f\u306e\u4e8b\u52d9\u6240 ABC", "en", "ja"),
        ("\u6e2f\u306e\u4e8b\u52d9\u6240", "zh", "ja"),
        ("Harbour office 7", "ja", "en"),
        ("Hafenamt", "de", "de"),
        ("7 - 12", "ja", "ja"),
    ],
)
def test_the_language_of_a_page_whose_engine_reads_several_scripts_is_its_texts(text, guessed, language):
    assert language_of(text, guessed) == language


def test_a_page_that_no_one_can_turn_is_turned_by_its_lines(monkeypatch):
    """Much text, of which Tesseract cannot tell how it lies, while the lines that were found run down the page."""

    class Sideways(Scripted):
        def recognize(self, image: np.ndarray, languages: Sequence[str], quality: object) -> list[RecognizedLine]:
            if corner(image) == 90:
                return [RecognizedLine(box(10, 10 + 9 * row, 300, 18 + 9 * row), PROSE, 0.95) for row in range(20)]
            seen = super().recognize(image, languages, quality)
            return [
                replace(one, quad=turned_left(box(10 + 30 * row, 10, 36 + 30 * row, 290)))
                for row, one in enumerate(seen)
            ]

    warnings: list[ResultWarning] = []
    reader = PageReader(engine="tesseract", languages=("en",), model_store=None, threads=1, warn=warnings.append)
    scripted = Sideways(lambda *_: [("tse ne ioo oeae", 0.6)] * 18)
    monkeypatch.setattr(reader, "_engines", {"tesseract": scripted})
    monkeypatch.setattr(reader._tesseract, "orientation", lambda _: None)
    image = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 60, 40), fill="black")
    seen = reader.read(PageInput(1, 400, 300, 0, pixels=np.asarray(image)))
    assert (seen.rotation, seen.text.split("\n")[0]) == (90, PROSE)


PROSE = "Harbour office, pier seven"


@pytest.mark.parametrize(
    ("words", "doubtful"),
    [
        ([("harbour", 0.98), ("office", 0.97), ("pier", 0.96)], False),
        ([("harbour", 0.98), ("office", 0.97), ("pier", 0.5)], True),
        ([("harbour office closed", 0.98), ("pier", 0.5)], False),
        ([("harbour", 0.69)], True),
    ],
)
def test_a_page_with_many_doubtful_words_has_a_warning(monkeypatch, tmp_path, words, doubtful):
    class Words(Scripted):
        def recognize(self, image: np.ndarray, languages: Sequence[str], quality: object) -> list[RecognizedLine]:  # noqa: ARG002
            found = [RecognizedWord(box(20, 20, 90, 40), text, confidence) for text, confidence in words]
            mean = sum(len(word.text) * word.confidence for word in found) / sum(len(word.text) for word in found)
            return [RecognizedLine(box(20, 20, 300, 40), " ".join(word.text for word in found), mean, tuple(found))]

    monkeypatch.setattr(reader_module, "TesseractEngine", lambda *_, **__: Words(lambda *_: []))
    monkeypatch.setattr(Words, "orientation", lambda *_: None, raising=False)
    image = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(image).text((20, 20), "harbour", fill="black")
    image.save(tmp_path / "a.png")
    options = RecognitionOptions(languages=("en",), engine="tesseract", workers=1)
    result = recognize(tmp_path / "a.png", options, scratch=tmp_path, on_progress=lambda *_: None)
    assert [warning.reason for warning in result.warnings] == [WarningReason.LOW_CONFIDENCE] * doubtful


@pytest.mark.parametrize(("letter", "named"), [(4.0, True), (12.0, False)])
def test_print_that_the_detector_cannot_see_is_named(monkeypatch, letter, named):
    sheet = Image.new("RGB", (1700, 2800), "white")
    ImageDraw.Draw(sheet).rectangle((100, 100, 400, 200), fill="black")
    warnings: list[ResultWarning] = []
    reader = PageReader(engine="rapidocr", languages=("en",), model_store=None, threads=1, warn=warnings.append)
    scripted = Scripted(lambda *_: [("harbour", 0.98)])
    scripted.name = "rapidocr"
    monkeypatch.setattr(reader, "_engines", {"rapidocr": scripted})
    monkeypatch.setattr(reader_module, "letter_height", lambda _: letter * 2)
    reader.read(PageInput(1, 1700, 2800, 0, pixels=np.asarray(sheet)))
    assert [warning.reason for warning in warnings] == [WarningReason.REDUCED_RESOLUTION] * named


@pytest.mark.parametrize(("offset", "named"), [(0, False), (16, True)])
@pytest.mark.parametrize("carried", [False, True])
def test_lines_that_are_neither_rows_nor_columns_are_named(monkeypatch, offset, named, carried):
    leaning = [
        RecognizedLine(box(left - 14 * row, top + 32 * row, left + 160 - 14 * row, top + 32 * row + 28), f"{row}", 0.95)
        for left, top in ((100, 10), (270, 10 + offset))
        for row in range(6)
    ]

    class Leaning(Scripted):
        def recognize(self, image: np.ndarray, languages: Sequence[str], quality: object) -> list[RecognizedLine]:  # noqa: ARG002
            return leaning

    warnings: list[ResultWarning] = []
    reader = PageReader(engine="tesseract", languages=("en",), model_store=None, threads=1, warn=warnings.append)
    monkeypatch.setattr(reader, "_engines", {"tesseract": Leaning(lambda *_: [])})
    image = Image.new("RGB", (500, 300), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 60, 40), fill="black")
    shown = PageInput(1, 500, 300, 0, pixels=np.asarray(image))
    reader.read(PageInput(1, 500, 300, 0, embedded=tuple(leaning)) if carried else shown)
    assert [warning.reason for warning in warnings] == [WarningReason.READING_ORDER_UNCERTAIN] * named
