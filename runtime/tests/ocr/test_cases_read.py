"""Public bug reports read by the real engines, where what counts is the text."""

from __future__ import annotations

import jiwer
import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

from steno_api.documents.warnings import WarningReason

from .render import FONTS, normal, page

pytestmark = pytest.mark.slow


def test_o4_a_stamped_scan_is_read_with_its_stamp_once(tmp_path, read):
    scan = page("en", 0)
    scan.image.save(tmp_path / "s.png")
    stamp = "Case 3:19-bk-10001-XY Doc 12 Filed 02/03/21 Entered 02/03/21 09:15:00 Desc"
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.image(str(tmp_path / "s.png"), 0, 0, 210, 297)
    pdf.set_font("helvetica", size=8)
    pdf.text(20, 6, stamp)
    pdf.text(80, 9, "Main Document Page 4 of 7")
    pdf.output(str(tmp_path / "stamped.pdf"))
    result = read(tmp_path / "stamped.pdf", languages=("en",))
    (only,) = result.pages
    assert only.engine == "tesseract"
    assert only.text.count("bk-10001") == 1
    assert jiwer.cer(normal(f"{stamp} Main Document Page 4 of 7 {scan.text}"), normal(only.text)) <= 0.02
    assert [warning.reason for warning in result.warnings] == [WarningReason.TEXT_LAYER_REJECTED]


@pytest.mark.parametrize("languages", [(), ("en",), ("ko",)])
def test_o17_a_label_is_read_however_it_lies(tmp_path, read, languages):
    label = Image.new("RGB", (900, 300), "white")
    draw, font = ImageDraw.Draw(label), ImageFont.truetype(FONTS["ko"], 56)
    lines = (
        ("항구 사무실", "부산 칠번 부두", "아홉 시에 연다")
        if "ko" in languages
        else ("Harbour Office", "Pier 7, Busan", "open 9-17")
    )
    for row, line in enumerate(lines):
        draw.text((40, 30 + 80 * row), line, font=font, fill="black")
    for turned in (0, 90, 180, 270):
        label.rotate(turned, expand=True).save(tmp_path / "label.png")
        (only,) = read(tmp_path / "label.png", languages=languages).pages
        assert (only.rotation, jiwer.cer(normal(" ".join(lines)), normal(only.text)) <= 0.05) == (turned, True)
