"""Vertical writing: the order of columns, what a PDF says of them, and what the engines make of them (O16)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pikepdf
import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

from steno_runtime.ocr.assembly import build_page
from steno_runtime.ocr.engines.base import RecognizedLine, RecognizedWord
from steno_runtime.ocr.engines.columns import columns_marked, is_written_in_columns
from steno_runtime.ocr.geometry import box
from steno_runtime.ocr.layout import arrange
from steno_runtime.ocr.ocrmypdf_plugin import element
from steno_runtime.ocr.page import PageInput

from .render import FONTS
from .test_text_layer import load

COLUMNS = ("吾輩は猫である。名前はまだ", "無い、どこで生れたかとんと", "わからぬ何でも薄暗いじめじ")
SIZE = 40


def column(text: str, left: float, top: float, *, size: float = SIZE) -> RecognizedLine:
    words = tuple(
        RecognizedWord(box(left, top + size * row, left + size, top + size * (row + 1)), letter, 0.9)
        for row, letter in enumerate(text)
    )
    return RecognizedLine(box(left, top, left + size, top + size * len(text)), text, 0.9, words, vertical=True)


def row(text: str, left: float, top: float) -> RecognizedLine:
    return RecognizedLine(box(left, top, left + SIZE * len(text), top + SIZE), text, 0.9)


def texts(lines: list[RecognizedLine]) -> list[str]:
    return [line.text for block in arrange(lines) for line in block.lines]


def test_o16_columns_are_read_from_the_right_to_the_left():
    columns = [column(text, 600 - 70 * at, 100) for at, text in enumerate(COLUMNS)]
    arranged = arrange([columns[1], columns[2], columns[0]])
    assert [line.text for block in arranged for line in block.lines] == list(COLUMNS)
    assert [line.quad for block in arranged for line in block.lines] == [one.quad for one in columns]
    assert all(line.vertical for block in arranged for line in block.lines)


def test_o16_tiers_of_columns_are_read_from_the_top_down_between_title_and_number():
    upper = [column(f"上{at}" + "あ" * 9, 600 - 70 * at, 200) for at in range(4)]
    lower = [column(f"下{at}" + "い" * 9, 600 - 70 * at, 760) for at in range(4)]
    mixed = [
        row("十二", 300, 1400),
        *(one for pair in zip(lower, upper, strict=True) for one in pair),
        row("題", 300, 90),
    ]
    assert texts(mixed) == ["題", *[one.text for one in (*upper, *lower)], "十二"]


def test_o16_parts_of_a_column_are_joined_without_a_space():
    assert texts([column("猫である", 100, 100 + 6 * SIZE), column("吾輩は", 100, 100 + 2 * SIZE)]) == ["吾輩は猫である"]


def test_lines_that_run_up_or_down_are_read_after_the_rows_in_their_own_order():
    rows = [RecognizedLine(box(200, 100 + 40 * at, 900, 130 + 40 * at), f"row {at}", 0.9) for at in range(6)]
    up = [RecognizedLine(((x, 300), (x, 100), (x + 30, 100), (x + 30, 300)), f"up {x}", 0.9) for x in (20, 70)]
    down = [RecognizedLine(((x, 100), (x, 300), (x - 30, 300), (x - 30, 100)), f"down {x}", 0.9) for x in (990, 1040)]
    assert texts([*up, *down, *rows]) == [*[f"row {at}" for at in range(6)], "down 1040", "down 990", "up 20", "up 70"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [("吾輩は猫", True), ("第3話だ", True), ("Harbour", False), ("항구 사무실", False), ("人", False)],
)
def test_o16_only_han_and_kana_are_written_in_columns(text, columns):
    assert is_written_in_columns(text) is columns


@pytest.mark.parametrize(("again", "vertical"), [(COLUMNS[0], True), ("ー川三", False)])
def test_o16_rows_of_a_page_that_lies_on_its_side_are_no_columns(again, vertical):
    """The recognizer reads both alike: what tells them apart is how the letters stand."""
    plain = column(COLUMNS[0], 100, 100)
    unmarked = RecognizedLine(plain.quad, plain.text, plain.confidence, plain.words)
    (marked,) = columns_marked(np.full((800, 300, 3), 255, np.uint8), [unmarked], lambda _: again)
    assert marked.vertical is vertical
    assert (marked.quad == plain.quad) is vertical


def sheet() -> FPDF:
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.add_font("nanum", "", str(FONTS["ko"]))
    pdf.set_font("nanum", size=14)
    return pdf


def placed(path: Path) -> None:
    """Each letter placed by itself."""
    pdf = sheet()
    for at, text in enumerate(COLUMNS):
        for down, letter in enumerate(text):
            pdf.text(180 - 10 * at, 30 + 6 * down, letter)
    pdf.output(str(path))


def vertical_font(path: Path) -> None:
    """The font's own writing mode."""
    pdf = sheet()
    for at, text in enumerate(COLUMNS):
        pdf.text(180 - 10 * at, 30, text)
    pdf.output(str(path.with_suffix(".rows.pdf")))
    with pikepdf.open(path.with_suffix(".rows.pdf")) as document:
        for font in document.objects:
            if isinstance(font, pikepdf.Dictionary) and font.get("/Encoding") == "/Identity-H":
                font.Encoding = pikepdf.Name("/Identity-V")
        document.save(path)


@pytest.mark.parametrize("write", [placed, vertical_font])
def test_o16_columns_of_a_pdf(tmp_path, write):
    write(tmp_path / "tate.pdf")
    loaded = load(tmp_path / "tate.pdf")
    page = build_page(loaded, loaded.embedded, engine="embedded", reason="")
    assert page.text.split() == list(COLUMNS)
    assert {region.kind for region in page.regions} == {"paragraph"}


def test_labels_of_a_pdf_that_run_up_stay_lines(tmp_path):
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.set_font("helvetica", size=11)
    for at, label in enumerate(("Test", "Vertical", "Layout")):
        with pdf.rotation(90, 30 + 10 * at, 60):
            pdf.text(30 + 10 * at, 60, label)
    pdf.output(str(tmp_path / "labels.pdf"))
    loaded = load(tmp_path / "labels.pdf")
    page = build_page(loaded, loaded.embedded, engine="embedded", reason="")
    assert page.text.split("\n") == ["Test", "Vertical", "Layout"]


def test_o16_each_letter_of_a_column_has_its_place_in_the_searchable_pdf():
    image = np.zeros((900, 700, 3), np.uint8)
    columns = [column(text, 600 - 70 * at, 100) for at, text in enumerate(COLUMNS)]
    page = build_page(PageInput(1, 700, 900, 200), columns, engine="rapidocr", reason="")
    (paragraph,) = element(page, image, 200, 0).children
    assert "".join(line.children[0].text for line in paragraph.children) == "".join(COLUMNS)
    assert all(line.bbox and line.bbox.height <= 1.6 * SIZE for line in paragraph.children)


@pytest.mark.slow
@pytest.mark.parametrize("turned", [0, 90, 270])
def test_o16_columns_are_read_upright_and_rows_on_their_side_are_turned(tmp_path, read, turned):
    font = ImageFont.truetype(str(FONTS["ko"]), 38)
    image = Image.new("RGB", (640, 700), "white")
    draw = ImageDraw.Draw(image)
    for at, text in enumerate(COLUMNS):
        if turned:
            draw.text((40, 60 + 80 * at), text, font=font, fill="black")
            continue
        for down, letter in enumerate(text.replace("。", "").replace("、", "")):
            draw.text((520 - 80 * at, 60 + 44 * down), letter, font=font, fill="black")
    image.rotate(turned, expand=True).save(tmp_path / "page.png")
    (page,) = read(tmp_path / "page.png", languages=("ja",)).pages
    assert page.rotation == turned
    meant = "".join(COLUMNS).replace("。", "").replace("、", "")
    seen = "".join(page.text.split()).replace("。", "").replace("、", "")
    assert sum(one == other for one, other in zip(meant, seen, strict=False)) > 0.8 * len(meant)
