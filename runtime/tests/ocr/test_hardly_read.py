"""Lines that an engine finds but does not read, such as those in letters that RapidOCR does not know, are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tesserocr
from PIL import Image, ImageDraw, ImageFont

from steno_api.documents.warnings import WarningReason
from steno_runtime.ocr.engines import tesseract
from steno_runtime.ocr.engines.base import RecognizedLine
from steno_runtime.ocr.engines.tesseract import TesseractEngine
from steno_runtime.ocr.geometry import Quad

from .conftest import Read
from .render import FONTS

LATIN = ("Harbour Office", "Northern Works 56 km")
HANGUL = ("\uc11c\uc6b8", "\ud3c9\uc591")


def sign(path: Path, lines: tuple[str, ...]) -> Path:
    """A road sign: light letters on dark ground."""
    image = Image.new("RGB", (900, 120 * len(lines) + 60), (20, 90, 60))
    for row, line in enumerate(lines):
        font = ImageFont.truetype(str(FONTS["ko"]), 70)
        ImageDraw.Draw(image).text((60, 30 + 120 * row), line, fill=(240, 240, 235), font=font)
    image.save(path, dpi=(200, 200))
    return path


@pytest.mark.parametrize(("lines", "named"), [((*LATIN, *HANGUL), True), (HANGUL[:1], True), (LATIN, False)])
def test_lines_that_could_hardly_be_read_are_named(read: Read, tmp_path: Path, lines: tuple[str, ...], named: bool):
    result = read(sign(tmp_path / "sign.png", lines), languages=("en",), engine="rapidocr")
    said = [warning.message for warning in result.warnings if warning.reason is WarningReason.LOW_CONFIDENCE]
    assert any("hardly" in message for message in said) is named
    (page,) = result.pages
    assert all(line in page.text for line in lines if line in LATIN)


@pytest.mark.parametrize(("seen_at", "text"), [((40,), HANGUL), ((), ())])
def test_a_line_that_tesseract_does_not_see_is_read_in_another_size_or_named(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen_at: tuple[int, ...], text: tuple[str, ...]
):
    heights: list[int] = []
    look_at, found = tesseract._set, tesseract._lines

    def noted(api: object, image: np.ndarray, dpi: int) -> None:
        heights.append(image.shape[0])
        look_at(api, image, dpi)

    monkeypatch.setattr(tesseract, "_set", noted)
    monkeypatch.setattr(tesseract, "_lines", lambda api: found(api) if heights[-1] in seen_at else [])
    result = read(sign(tmp_path / "sign.png", HANGUL), languages=("ko",), engine="tesseract", workers=1)
    (page,) = result.pages
    assert [line for line in HANGUL if line in page.text] == list(text)
    said = [warning.message for warning in result.warnings if warning.reason is WarningReason.LOW_CONFIDENCE]
    assert any("2 of the lines" in message for message in said) is not bool(text)


@pytest.mark.parametrize(("sure", "text"), [(True, HANGUL), (False, ())])
def test_a_line_whose_letters_tesseract_does_not_find_is_read_as_a_whole_if_it_is_sure(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sure: bool, text: tuple[str, ...]
):
    """As in some lines of connected letters, which it takes for rules or specks."""
    modes: list[int] = []
    prepare, found = TesseractEngine._api, tesseract._lines

    def noted(engine: TesseractEngine, names: list[str], mode: int) -> object:
        modes.append(mode)
        return prepare(engine, names, mode)

    def lines(api: object) -> list[RecognizedLine]:
        seen = found(api) if modes[-1] == tesserocr.PSM.RAW_LINE else []
        doubtful = [replace(line, words=tuple(replace(word, confidence=0.6) for word in line.words)) for line in seen]
        return seen if sure else doubtful

    monkeypatch.setattr(TesseractEngine, "_api", noted)
    monkeypatch.setattr(tesseract, "_lines", lines)
    result = read(sign(tmp_path / "sign.png", HANGUL), languages=("ko",), engine="tesseract", workers=1)
    (page,) = result.pages
    assert [line for line in HANGUL if line in page.text] == list(text)
    assert any("2 of the lines" in warning.message for warning in result.warnings) is not sure


def test_a_sign_in_two_alphabets_is_read_in_both(read: Read, tmp_path: Path):
    result = read(sign(tmp_path / "sign.png", (*LATIN, *HANGUL)))
    (page,) = result.pages
    assert (page.engine, page.languages) == ("rapidocr", ("en", "ko"))
    assert page.text.split() == " ".join((*LATIN, *HANGUL)).split()
    assert not any("hardly" in warning.message for warning in result.warnings)


@pytest.mark.parametrize(("text", "confidence"), [(HANGUL[0], 0.6), ("SAS", 0.95), ("\uc11c", 0.95)])
def test_lines_that_no_script_suits_stay_named(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, confidence: float
):
    def doubtful(_: object, quad: Quad, *__: object) -> RecognizedLine:
        return RecognizedLine(quad, text, confidence)

    monkeypatch.setattr(TesseractEngine, "read_line", doubtful)
    result = read(sign(tmp_path / "sign.png", (*LATIN, *HANGUL)))
    (page,) = result.pages
    assert page.languages == ("en",)
    assert text not in page.text
    assert any("2 of the lines" in warning.message for warning in result.warnings)
