"""Tiles of large pages: every line is found once, whichever tiles it is on."""

from __future__ import annotations

import itertools

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from steno_runtime.ocr.engines.tiling import may_need_tiles, merge, tiles

from .render import FONTS, normal

SIDE = 1280


def corners(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float32)


@given(width=st.integers(1, 12_000), height=st.integers(1, 20_000), letter=st.none() | st.floats(6, 250))
def test_o6_tiles_cover_the_page_and_are_few(width, height, letter):
    made = tiles(width, height, letter, SIDE)
    assert 1 <= len(made) <= 100
    assert all(0 <= left < right <= width and 0 <= top < bottom <= height for left, top, right, bottom in made)
    for low, high, length in ((0, 2, width), (1, 3, height)):
        spans = sorted({(tile[low], tile[high]) for tile in made})
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        assert all(second[0] < first[1] for first, second in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1654, 2339), False), ((2481, 3508), False), ((3024, 4032), False), ((1080, 15_000), True), ((7016, 9933), True)],
)
def test_o6_ordinary_pages_are_seen_as_a_whole(size, expected):
    assert may_need_tiles(*size) is expected


@given(
    rows=st.lists(st.tuples(st.integers(0, 600), st.integers(700, 1000)), min_size=1, max_size=40),
    letter=st.floats(8, 20),
)
def test_o6_a_line_on_several_tiles_is_found_once(rows, letter):
    pitch = 66
    truth = [corners(left, 20 + pitch * row, right, 60 + pitch * row) for row, (left, right) in enumerate(rows)]
    found = []
    for left, top, right, bottom in tiles(1080, 60 + pitch * len(rows), letter, SIDE):
        low, high = np.array((left, top)), np.array((right, bottom))
        cut = [np.clip(line, low, high) for line in truth]
        found.append(
            np.array([line for line in cut if np.ptp(line[:, 0]) > 4 and np.ptp(line[:, 1]) > 4]).reshape(-1, 4, 2)
        )
    merged = merge(found)
    assert sorted(line[0][1] for line in merged.tolist()) == [float(line[0][1]) for line in truth]
    assert {tuple(line[2]) for line in merged.tolist()} == {tuple(line[2]) for line in [t.tolist() for t in truth]}


def test_o6_a_line_that_is_cut_in_two_is_joined():
    (joined,) = merge([np.array([corners(100, 10, 900, 50)]), np.array([corners(850, 12, 1500, 50)])])
    assert joined.tolist() == corners(100, 10, 1500, 50).tolist()


@pytest.mark.slow
def test_o6_a_long_screenshot_is_read_whole(tmp_path, read):
    image = Image.new("RGB", (1080, 8000), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(FONTS["ko"], 40)
    lines = [f"{number}번째 줄 항구 사무실은 아침 아홉 시에 문을 연다" for number in range(1, 121)]
    for row, text in enumerate(lines):
        draw.text((60, 40 + row * 66), text, font=font, fill="black")
    image.save(tmp_path / "chat.png")
    (seen,) = read(tmp_path / "chat.png", languages=("ko",)).pages
    assert len(seen.text.replace("\n\n", "\n").splitlines()) == 120
    assert jiwer.cer(normal(" ".join(lines)), normal(seen.text)) <= 0.05
