"""Property of pages: what an engine is given looks like the page, or the result has a warning, or it is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from steno_runtime.errors import WorkError
from steno_runtime.ocr.open import open_source
from steno_runtime.ocr.page import Limits
from steno_runtime.ocr.resolution import is_blank, scale_for_reading
from tests.support.properties import examples

from .degraded import Degraded, degraded, shown, write

_ALIKE = 0.7
"""Correlation with the page as it was printed or sent; with other pages it is below 0.2."""


def _pixels(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(image.resize(size, Image.Resampling.BOX), dtype=float).ravel()


def looks_alike(way: Degraded) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(way, Path(folder))
        if way.container == "webp":
            with pytest.raises(WorkError, match="convert"):
                open_source(path, Limits(), reuse_text=True)
            return
        source = open_source(path, Limits(), reuse_text=True)
        page = source.load(1)
        pages, warnings = source.pages, (*source.warnings, *page.warnings)
        source.close()
    assert pages == 1
    assert page.pixels is not None
    expected = shown(way)
    given_to_engine, _ = scale_for_reading(page.pixels)
    assert not is_blank(given_to_engine)
    high, wide = given_to_engine.shape[:2]
    assert abs(wide / high - expected.width / expected.height) < 0.02 * wide / high
    smaller = (min(wide, expected.width), min(high, expected.height))
    seen = _pixels(Image.fromarray(given_to_engine).convert("L"), smaller)
    # Noise is a picture's own, but some formats and scales lose it.
    meant = (expected, shown(way, as_sent=True))
    alike = max(float(np.corrcoef(seen, _pixels(image, smaller))[0, 1]) for image in meant)
    assert alike > _ALIKE or warnings, alike


@pytest.mark.long
@given(way=degraded())
@examples(usual=60, long=2000)
def test_what_an_engine_is_given_looks_like_the_page(way):
    looks_alike(way)
