from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from steno_runtime.ocr.engine_selection import assess_page, select_engine
from steno_runtime.ocr.engines.base import PageQuality, RecognizedLine, RecognizedWord
from steno_runtime.ocr.engines.tesseract import TesseractEngine, join_pieces, replace_false_latin
from steno_runtime.ocr.geometry import box, rotate_back

from .render import page, photograph

PRINT, PHOTO = PageQuality(250, 1.0), PageQuality(120, 0.4)
ALL = ("tesseract", "rapidocr", "paddleocr")


@pytest.mark.parametrize(
    ("quality", "languages", "available", "first"),
    [
        (PRINT, ["en"], ALL, "tesseract"),
        (PHOTO, ["en", "de"], ALL, "rapidocr"),
        (PRINT, ["ko"], ("tesseract", "paddleocr"), "tesseract"),
        (PHOTO, ["ko"], ("tesseract",), "tesseract"),
        (PHOTO, ["ko"], ("tesseract", "paddleocr"), "paddleocr"),
        (PRINT, ["ja"], ALL, "rapidocr"),
        (PRINT, ["zh-Hant", "en"], ("tesseract",), "tesseract"),
    ],
)
def test_first_engine(quality, languages, available, first):
    selection = select_engine(quality, languages, available)
    assert selection.engines[0] == first
    assert set(selection.engines) == set(available)
    assert selection.reason


def test_no_engine_is_an_empty_selection():
    assert select_engine(PRINT, ["ko"], ()).engines == ()


@pytest.mark.slow
def test_prints_are_distinguished_from_photographs():
    assert assess_page(np.asarray(page("en", 1, sentences=6).image)).is_print
    yellowed = Image.fromarray((np.asarray(page("en", 1, sentences=6).image) * (0.95, 0.9, 0.75)).astype(np.uint8))
    assert assess_page(np.asarray(yellowed)).is_print
    assert not assess_page(np.asarray(photograph("en").image)).is_print


def word(text: str, left: float, right: float, confidence: float = 0.9) -> RecognizedWord:
    return RecognizedWord(box(left, 0, right, 10), text, confidence)


def test_syllables_become_words_where_the_text_has_spaces():
    pieces = [word("도", 0, 10), word("서", 10, 20), word("관은", 20, 40), word("여름", 50, 70)]
    joined = join_pieces(pieces, "도서관은 여름\n")
    assert [(w.text, w.quad) for w in joined] == [("도서관은", box(0, 0, 40, 10)), ("여름", box(50, 0, 70, 10))]
    assert join_pieces(pieces, "something else") == tuple(pieces)


def test_hangul_taken_for_latin_is_replaced_and_latin_stays():
    mixed = RecognizedLine(
        box(0, 0, 90, 10), "SAS GPU 12", 0.9, (word("SAS", 0, 30), word("GPU", 40, 60), word("12", 70, 90))
    )
    alone = RecognizedLine(
        box(0, 0, 90, 10), "", 0.9, (word("모임은", 0, 31), word("604", 40, 61, 0.3), word("12", 70, 90, 0.3))
    )
    assert replace_false_latin(mixed, alone).text == "모임은 GPU 12"


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_quad_on_a_rotated_page_maps_back_to_the_page(degrees):
    pixels = np.zeros((40, 60), np.uint8)
    pixels[5:10, 20:50] = 1
    ys, xs = np.nonzero(np.rot90(pixels, -degrees // 90))
    seen = box(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    back = rotate_back(seen, degrees, 60, 40)
    assert {(x, y) for x, y in back} == {(20, 5), (50, 5), (50, 10), (20, 10)}


def test_tesseract_leaves_no_thread_limit_for_others(monkeypatch):
    from steno_runtime.ocr.engines.tesseract import TesseractEngine

    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    TesseractEngine()
    assert "OMP_THREAD_LIMIT" not in os.environ


def test_letters_from_the_right_are_in_logical_order():
    """Tesseract gives a word's letters by their places, and only the line's text in the order of reading."""
    pieces = [word("\u05e8\u05e6\u05d5\u05ea", 60, 90), word("(\u05d9\u05de\u05d5)", 30, 50), word("2014", 0, 20)]
    joined = join_pieces(pieces, "\u05ea\u05d5\u05e6\u05e8 (\u05d5\u05de\u05d9) \u200e2014\u200e\n")
    assert [(w.text, w.quad) for w in joined] == [
        ("\u05ea\u05d5\u05e6\u05e8", box(60, 0, 90, 10)),
        ("(\u05d5\u05de\u05d9)", box(30, 0, 50, 10)),
        ("2014", box(0, 0, 20, 10)),
    ]
    alone = join_pieces(pieces, "something else")
    assert [w.text for w in alone] == ["\u05ea\u05d5\u05e6\u05e8", ")\u05d5\u05de\u05d9(", "2014"]


@pytest.mark.parametrize(("latin", "expected"), [(0.7, "1.9"), (0.5, "19")])
def test_digits_on_a_page_from_the_right_are_read_as_digits(monkeypatch, latin, expected):
    engine = TesseractEngine()

    def single(quad, _crop, names, _dpi):
        text, confidence = ("1.9", latin) if names == ["eng"] else ("19", 0.8)
        return RecognizedLine(quad, text, confidence)

    monkeypatch.setattr(engine, "_single", single)
    crop = np.zeros((10, 40, 3), np.uint8)
    at = box(0, 0, 40, 10)
    assert engine._line(at, crop, ["he"], 200) == RecognizedLine(at, expected, latin if expected == "1.9" else 0.8)
    assert engine._line(at, crop, ["hi"], 200) == RecognizedLine(at, "19", 0.8)
