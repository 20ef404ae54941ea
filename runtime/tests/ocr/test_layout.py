from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.ocr.engines.base import RecognizedLine, RecognizedWord
from steno_runtime.ocr.geometry import box
from steno_runtime.ocr.layout import arrange, is_order_guessed, skew


def line(text: str, left: float, top: float, width: float, height: float = 20) -> RecognizedLine:
    return RecognizedLine(box(left, top, left + width, top + height), text, 0.9)


def tilted(seen: RecognizedLine, degrees: float) -> RecognizedLine:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    a, b, c, d = ((x * cos - y * sin, x * sin + y * cos) for x, y in seen.quad)
    return RecognizedLine((a, b, c, d), seen.text, seen.confidence)


def texts(lines):
    return [read.text for block in arrange(lines) for read in block.lines]


LEFT = [line(f"L{i}", 100, 100 + 30 * i, 400) for i in range(10)]
RIGHT = [line(f"R{i}", 560, 100 + 30 * i, 400) for i in range(10)]
TITLE = line("Title", 100, 20, 860, 44)
FOOT = line("Foot", 100, 500, 860)


def test_columns_are_read_one_after_the_other_between_title_and_foot():
    mixed = [FOOT, *(one for pair in zip(RIGHT, LEFT, strict=True) for one in pair), TITLE]
    assert texts(mixed) == ["Title", *[f"L{i}" for i in range(10)], *[f"R{i}" for i in range(10)], "Foot"]


def test_columns_whose_boxes_nearly_touch_are_columns_if_they_are_long():
    left = [line(f"L{i}", 100, 100 + 30 * i, 450) for i in range(10)]
    right = [line(f"R{i}", 555, 100 + 30 * i, 400) for i in range(10)]
    assert texts([one for pair in zip(right, left, strict=True) for one in pair]) == [
        *[f"L{i}" for i in range(10)],
        *[f"R{i}" for i in range(10)],
    ]
    assert texts([*left[:4], *right[:4]]) == [f"L{i} R{i}" for i in range(4)]  # words of a row, split by the detector


@pytest.mark.parametrize(("gap", "cut"), [(9, True), (40, False)])
def test_blocks_of_an_engine_that_cut_rows_of_text_are_not_followed(gap: int, cut: bool):
    left = [replace(line(f"L{i}", 100, 100 + 30 * i, 200 - 7 * (i % 3)), block=0) for i in range(5)]
    right = [
        replace(line(f"R{i}", 300 - 7 * (i % 3) + gap, 100 + 30 * i, 190 + 5 * (i % 3)), block=1) for i in range(5)
    ]
    rows = [f"L{i} R{i}" for i in range(5)]
    assert texts([*left, *right]) == (rows if cut else [one.text for one in (*left, *right)])


def test_columns_of_a_skewed_page():
    mixed = [tilted(one, 2.0) for pair in zip(RIGHT, LEFT, strict=True) for one in pair]
    assert skew(mixed) == pytest.approx(math.radians(2.0))
    assert texts(mixed) == [*[f"L{i}" for i in range(10)], *[f"R{i}" for i in range(10)]]


def test_a_table_is_read_row_by_row():
    cells = [line(f"{row}{column}", 100 + 300 * column, 100 + 30 * row, 60) for row in range(6) for column in range(3)]
    assert texts(cells[::-1]) == [f"{row}0 {row}1 {row}2" for row in range(6)]


def test_fragments_of_a_row_are_joined_and_gaps_part_paragraphs():
    lines = [line("one", 100, 100, 200), line("two", 310, 102, 200), line("three", 100, 130, 410)]
    lines += [line("four", 100, 220, 410), line("five", 100, 250, 410)]
    assert [[read.text for read in block.lines] for block in arrange(lines)] == [
        ["one two", "three"],
        ["four", "five"],
    ]


def test_a_high_line_is_a_heading():
    assert [block.kind for block in arrange([TITLE, *LEFT])] == ["heading", "paragraph"]


def test_the_engines_blocks_keep_their_order():
    lines = [RecognizedLine(box(0, 100 * (3 - n), 50, 100 * (3 - n) + 20), f"b{n}", 1.0, block=n) for n in (2, 0, 1)]
    assert texts(lines) == ["b0", "b1", "b2"]


boxes = st.tuples(st.integers(0, 1500), st.integers(0, 2000), st.integers(1, 900), st.integers(1, 60))


@given(st.lists(boxes, max_size=40))
def test_every_line_is_read_exactly_once(places):
    lines = [line(f"t{n}", *place) for n, place in enumerate(places)]
    words = [word for block in arrange(lines) for read in block.lines for word in read.text.split()]
    assert sorted(words) == sorted(one.text for one in lines)


HEBREW = "\u05e9\u05dc\u05d5\u05dd"


@pytest.mark.parametrize("degrees", [0.0, 1.5])
def test_o19_a_form_in_hebrew_is_read_from_the_right(degrees):
    rows = [
        tilted(one, degrees)
        for row in range(6)
        for one in (
            line(f"{HEBREW}-{row}", 300, 100 + 60 * row, 150),
            line(f"{HEBREW}:{row}", 1500, 100 + 60 * row, 100),
        )
    ]
    assert texts(rows) == [f"{HEBREW}:{row} {HEBREW}-{row}" for row in range(6)]
    joined = [read for block in arrange(rows) for read in block.lines]
    assert all(read.quad[0][0] < read.quad[1][0] for read in joined)
    assert joined[0].quad[1][0] - joined[0].quad[0][0] == pytest.approx(1300, abs=10)


def test_o19_columns_in_arabic_are_read_from_the_right():
    arabic = "\u0645\u0631\u062d\u0628\u0627"
    left = [line(f"{arabic} {i}L", 100, 100 + 30 * i, 400) for i in range(10)]
    right = [line(f"{arabic} {i}R", 560, 100 + 30 * i, 400) for i in range(10)]
    assert texts(left + right) == [one.text for one in right + left]


def test_o19_a_hebrew_word_in_an_english_table_does_not_turn_it_round():
    cells = [line(f"row{row}", 100, 100 + 30 * row, 60) for row in range(6)]
    cells += [line(HEBREW, 400, 100 + 30 * row, 60) for row in range(2)]
    assert texts(cells)[:2] == [f"row0 {HEBREW}", f"row1 {HEBREW}"]


def figures(top: float, *cells: tuple[float, str]) -> RecognizedLine:
    """Return a row of figures as the text layer of a PDF has it: from the left, since no letter says otherwise."""
    words = tuple(RecognizedWord(box(left, top, left + 11 * len(text), top + 20), text, 1.0) for left, text in cells)
    around = box(cells[0][0], top, words[-1].quad[1][0], top + 20)
    return RecognizedLine(around, " ".join(word.text for word in words), 1.0, words)


def test_o19_the_years_above_a_hebrew_table_are_read_from_the_right_like_the_figures_below():
    years = figures(40, (370, "2014"), (470, "2013"), (550, "2012"))
    rows = [line(f"{HEBREW} {row}.1 {row}.2 {row}.3", 370, 100 + 30 * row, 900) for row in range(3)]
    assert texts([years, *rows])[0] == "2012 2013 2014"
    (joined, *_) = (read for block in arrange([years, *rows]) for read in block.lines)
    assert [word.text for word in joined.words] == ["2012", "2013", "2014"]
    assert joined.quad == years.quad
    assert texts([years, line("Growth 0.1 0.2 0.3", 370, 100, 900)])[0] == "2014 2013 2012"


def test_o19_the_parts_of_a_number_in_hebrew_stay_in_order():
    number = figures(40, (370, "03"), (400, "555"), (440, "1234"))
    assert texts([number, line(HEBREW, 370, 100, 900)])[0] == "03 555 1234"
    paired = figures(40, (370, "5"), (388, "000"), (600, "7"), (618, "250"))
    assert texts([paired, line(HEBREW, 370, 100, 900)])[0] == "7 250 5 000"
    from_the_right = figures(40, (370, "2012"))
    assert texts([from_the_right, line(HEBREW, 370, 100, 900)])[0] == "2012"


def test_a_tables_wrapped_headings_are_read_cell_by_cell():
    headings = [
        *[line(text, 100, 100 + 22 * i, 90) for i, text in enumerate(("Theft /", "Non-", "Negligent", "Manslaughter"))],
        *[line(text, 220, 122 + 22 * i, 90) for i, text in enumerate(("Negligent", "Manslaughter"))],
        *[line(text, 340, 111 + 22 * i, 90) for i, text in enumerate(("Forcible", "Sex", "Offense"))],
    ]
    figures = [line(f"{2005 + i} 28 33", 20, 200 + 30 * i, 410) for i in range(3)]
    assert texts([*figures, *sorted(headings, key=lambda one: one.quad[0][1])]) == [
        *("Theft /", "Non-", "Negligent", "Manslaughter"),
        *("Negligent", "Manslaughter"),
        *("Forcible", "Sex", "Offense"),
        *("2005 28 33", "2006 28 33", "2007 28 33"),
    ]


@pytest.mark.parametrize("degrees", [0.0, 1.5])
def test_a_label_in_the_middle_of_a_wrapped_text_does_not_part_it(degrees):
    rows = [
        *[line("Name", 100, 100, 80), line("Ada Lovelace", 300, 100, 200)],
        line("Address", 100, 151, 80),
        *[line("12 St James's Square", 300, 140, 240), line("London", 300, 162, 90)],
        *[line("Born", 100, 202, 80), line("1815", 300, 202, 60)],
    ]
    expected = ["Name Ada Lovelace", "Address", "12 St James's Square", "London", "Born 1815"]
    assert texts([tilted(one, degrees) for one in rows[::-1]]) == expected


def test_words_of_tight_rows_are_not_taken_for_cells():
    # The detector's boxes reach into the rows above and below.
    pieces = [line(f"{row}{part}", 100 + 260 * part, 100 + 22 * row, 240, 27) for row in range(5) for part in range(2)]
    assert texts(pieces) == [f"{row}0 {row}1" for row in range(5)]
    assert not is_order_guessed(pieces)


def test_a_footnotes_mark_is_no_cell():
    marks = [line("7", 100, 96, 8, 12), line("Snyder, T. (2008).", 115, 100, 400)]
    assert texts(marks) == ["7 Snyder, T. (2008)."]
    assert not is_order_guessed(marks)


def test_rows_and_columns_are_not_named_as_guessed():
    table = [line(f"{row}{column}", 100 + 300 * column, 100 + 30 * row, 60) for row in range(6) for column in range(3)]
    assert not is_order_guessed(table)
    assert not is_order_guessed([TITLE, *LEFT, *RIGHT, FOOT])
    assert not is_order_guessed([])


def test_columns_that_no_gap_parts_are_named_as_guessed():
    # A photograph from the side: the columns lean, so that nothing upright is between them.
    left = [line(f"left {i}", 200 - 40 * i, 95 + 24 * i, 150) for i in range(6)]
    right = [line(f"right {i}", 370 - 40 * i, 106 + 24 * i, 150) for i in range(6)]
    assert is_order_guessed([*left, *right])
    assert not is_order_guessed(left)
