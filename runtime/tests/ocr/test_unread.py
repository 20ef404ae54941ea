"""Lines that Tesseract's page analysis loses are found by their letters, read alone, and put where they stand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from steno_runtime.ocr.engines import tesseract
from steno_runtime.ocr.engines.base import PageQuality, RecognizedLine
from steno_runtime.ocr.engines.tesseract import TesseractEngine
from steno_runtime.ocr.engines.unread import MAX_ROWS, unread_rows
from steno_runtime.ocr.geometry import bounds, box
from steno_runtime.ocr.layout import arrange

from .render import FONTS, page

PRINT = PageQuality(255, 1.0, 150)
COLUMNS = (30, 170, 480, 640)
ROWS = (
    ("Date", "Description", "Debits", "Balance"),
    ("31 July", "Balance forward", "", "99,878.08"),
    ("1 August", "Clearing cheque", "36.07", "99,914.15"),
    ("2 August", "Assisted deposit", "14.54", "68,769.42"),
    ("3 August", "Transfer to loan", "500.00", "70,269.42"),
)


def statement() -> np.ndarray:
    """A table without rulings."""
    image = Image.new("RGB", (800, 320), "white")
    draw = ImageDraw.Draw(image)
    for number, row in enumerate(ROWS):
        for left, cell in zip(COLUMNS, row, strict=True):
            draw.text((left, 30 + 50 * number), cell, font=ImageFont.truetype(str(FONTS["en"]), 20), fill=0)
    return np.asarray(image)


@pytest.fixture(scope="module")
def engine() -> TesseractEngine:
    return TesseractEngine()


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Have the page analysis lose the lines above a height, as it does beside rules."""

    def lose(above: float) -> None:
        found = tesseract._lines
        seen: list[bool] = []

        def lines(api: object) -> list[RecognizedLine]:
            first = not seen
            seen.append(True)
            return [line for line in found(api) if not first or bounds([line.quad])[1] > above]

        monkeypatch.setattr(tesseract, "_lines", lines)

    return lose


def test_the_head_of_a_table_is_not_lost(engine: TesseractEngine, losing: Callable[[float], None]):
    losing(100)
    lines = engine.recognize(statement(), ["en"], PRINT)
    text = "\n".join(line.text for block in arrange(lines) for line in block.lines)
    assert text.splitlines() == [" ".join(filter(None, row)) for row in ROWS]


def test_a_line_whose_letters_are_blurred_into_each_other_is_not_lost(engine: TesseractEngine):
    sharp = page("en", 0).image.convert("RGB").crop((0, 0, 1654, 900))
    image = np.asarray(sharp.filter(ImageFilter.GaussianBlur(2.4)))
    lines = engine.recognize(np.asarray(sharp), ["en"], PRINT)
    assert len(lines) > 5
    lost = lines.pop(4)
    rows = unread_rows(image, lines)
    assert sum(right - left for left, _, right, _ in rows) > 0.6 * (lost.quad[1][0] - lost.quad[0][0])
    assert all(abs(top + bottom - lost.quad[0][1] - lost.quad[2][1]) < 30 for _, top, _, bottom in rows)


def test_frames_and_bars_are_not_lost_lines():
    image = np.full((400, 800, 3), 255, np.uint8)
    image[20:40, 100:700:30] = image[20:40, 104:700:30] = 0
    image[100:120, 100:400] = 0
    image[200:230, 100:400] = 0
    image[203:227, 103:397] = 255
    assert unread_rows(image, [RecognizedLine(box(90, 15, 710, 45), "above", 0.9)]) == []


def test_nothing_is_lost_where_everything_was_read(engine: TesseractEngine):
    image = np.asarray(page("en", 0).image.crop((0, 0, 1654, 900)))
    lines = engine.recognize(image, ["en"], PRINT)
    assert unread_rows(image, lines) == []
    assert all(line.block is not None for line in lines)
    above = [line for line in lines if bounds([line.quad])[1] < 500]
    assert len(unread_rows(image, above)) >= len(lines) - len(above)


def test_the_texture_of_a_picture_is_not_text():
    image = np.full((1000, 1000, 3), 255, np.uint8)
    image[100:900, 100:900] = np.random.default_rng(1).integers(0, 2, (800, 800, 1)) * 255
    line = RecognizedLine(box(100, 20, 400, 34), "above", 0.9)
    image[22:32, 110:390:14] = image[22:32, 111:390:14] = 0
    assert len(unread_rows(image, [line])) <= MAX_ROWS
    assert unread_rows(image, []) == []
    assert unread_rows(np.full((100, 100, 3), 255, np.uint8), [line]) == []
