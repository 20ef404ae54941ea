"""Skew of a page: measured by its rows, taken out for Tesseract's page analysis, and put back into what it found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from steno_runtime.ocr.deskew import Deskewed, measure_skew
from steno_runtime.ocr.engines.base import PageQuality
from steno_runtime.ocr.engines.tesseract import TesseractEngine
from steno_runtime.ocr.geometry import bounds, box

from .render import FONTS

LEFT = ("The harbour office", "opens at nine, and", "ships wait outside", "until the fog lifts.")
RIGHT = ("Visitors keep away", "from the old crane,", "which moves without", "any warning at all.")


def leaflet(degrees: float) -> np.ndarray:
    """Return a page of a heading and two columns, turned counter-clockwise."""
    page = Image.new("RGB", (1000, 560), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.truetype(str(FONTS["en"]), 34)
    draw.text((330, 60), "Notice of the day", fill="black", font=font)
    for column, lines in enumerate((LEFT, RIGHT)):
        for row, line in enumerate(lines):
            draw.text((90 + 440 * column, 180 + 64 * row), line, fill="black", font=font)
    return np.asarray(page.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white"))


@pytest.mark.parametrize("degrees", [-6.0, -2.7, 1.2, 4.0])
def test_the_skew_of_a_page_is_measured(degrees):
    assert measure_skew(leaflet(degrees)) == pytest.approx(-degrees, abs=0.3)


def test_an_upright_page_has_no_skew():
    assert measure_skew(leaflet(0)) == 0
    assert measure_skew(leaflet(0.3)) == 0


def test_noise_and_a_blank_page_have_no_skew():
    noise = np.random.default_rng(3).integers(0, 255, (600, 400, 3), dtype=np.uint8)
    assert measure_skew(noise) == 0
    assert measure_skew(np.full((600, 400, 3), 255, np.uint8)) == 0


@given(st.floats(-8, 8), st.integers(20, 300), st.integers(20, 200))
def test_places_on_the_upright_page_are_mapped_back(angle, left, top):
    pixels = np.full((260, 400, 3), 240, np.uint8)
    pixels[top : top + 8, left : left + 8] = 0
    upright = Deskewed(pixels, angle)
    ys, xs = np.nonzero(upright.pixels[:, :, 0] < 120)
    seen = box(float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
    at = bounds([upright.on_page(seen)])
    assert at == pytest.approx((left, top, left + 8, top + 8), abs=3)


@pytest.mark.parametrize("degrees", [-4.0, 2.5])
def test_a_skewed_page_is_read_like_an_upright_one(degrees):
    page = leaflet(degrees)
    lines = TesseractEngine().recognize(page, ["en"], PageQuality(255, 1.0, 150))
    assert [line.text for line in lines] == ["Notice of the day", *LEFT, *RIGHT]
    (ax, ay), (bx, by) = lines[0].quad[:2]
    assert np.degrees(np.arctan2(by - ay, bx - ax)) == pytest.approx(-degrees, abs=0.5)
    middle = np.mean(lines[0].quad, axis=0) - (page.shape[1] / 2, page.shape[0] / 2)
    turn = np.radians(degrees)
    # The heading's middle is at (480, 82) of a page whose own is at (500, 280).
    expected = (-20 * np.cos(turn) - 198 * np.sin(turn), 20 * np.sin(turn) - 198 * np.cos(turn))
    assert tuple(middle) == pytest.approx(expected, abs=15)
