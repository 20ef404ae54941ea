"""Lines in letters that RapidOCR does not know: they are named, and never dropped in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from steno_api.documents.warnings import WarningReason

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
