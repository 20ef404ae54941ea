"""`steno ocr` on rendered pages with the real engines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pikepdf
import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

from steno_api.documents.pages import Pages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STENO = [sys.executable, "-c", "from steno_client.cli import main; main()", "ocr"]
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf"
TEXT = ["The harbour office is open", "between eight and noon."]


def page(lines: list[str]) -> Image.Image:
    image = Image.new("RGB", (1000, 400), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(FONT, 40)
    for number, line in enumerate(lines):
        draw.text((80, 80 + 70 * number), line, fill="black", font=font)
    return image


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.tiff"
    page(TEXT).save(path, save_all=True, append_images=[page(["A second page."])], dpi=(200, 200))
    return path


def test_every_format_of_a_scan_of_two_pages(scan: Path, tmp_path: Path):
    command = [*STENO, str(scan), "--language", "en", "--format", "json,txt,markdown,pdf", "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"scan.json", "scan.txt", "scan.md", "scan.pdf"}
    document = Pages.model_validate(json.loads((out / "scan.json").read_text()))
    assert (document.document_id, document.tenant_id, document.total_pages) == ("scan", "local", 2)
    assert [page.engine for page in document.pages] == ["tesseract", "tesseract"]
    assert (
        " ".join((out / "scan.txt").read_text().split())
        == "The harbour office is open between eight and noon. A second page."
    )
    assert "<!-- page 2 -->" in (out / "scan.md").read_text()
    found = subprocess.run(["pdftotext", out / "scan.pdf", "-"], capture_output=True, text=True, check=True).stdout
    assert "harbour office" in found
    assert done.stderr.splitlines()[:2] == ["starting", "reading"]


def test_a_page_with_the_engine_asked_for_is_printed(scan: Path):
    command = [*STENO, str(scan), "-l", "en", "--pages", "2", "--engine", "rapidocr", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("A second page.\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pages", "7"], "'7' names no page of this document; it has 2 page(s)"),
        (["--language", "klingon"], "'klingon' is not known"),
    ],
)
def test_errors_of_the_pipeline_are_one_line(scan: Path, options: list[str], message: str):
    done = subprocess.run([*STENO, str(scan), "-q", *options], capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_page_that_cannot_be_read_is_reported_and_the_rest_printed(tmp_path: Path):
    document = FPDF(format="A4")
    document.set_font("helvetica", size=12)
    for text in ("The first page.", "A page as large as a house."):
        document.add_page()
        document.cell(0, 6, text)
    document.output(str(tmp_path / "whole.pdf"))
    with pikepdf.open(tmp_path / "whole.pdf") as pdf:
        pdf.pages[1].MediaBox = [0, 0, 14_000, 14_000]
        pdf.save(tmp_path / "house.pdf")
    command = [*STENO, str(tmp_path / "house.pdf"), "-q", "--mode", "force", "-l", "en"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.split("\f")[0].strip() == "The first page."
    assert done.stderr.startswith("steno: warning: PagesFailed: Page 2 could not be read: ")
    assert len(done.stderr.splitlines()) == 1
