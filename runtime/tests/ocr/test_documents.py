from __future__ import annotations

import json
import subprocess
import sys

import jiwer
import pikepdf
import pytest
from fpdf import FPDF
from PIL import Image

from steno_api.documents.pages import Pages
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.writers import FILE_NAMES, MEDIA_TYPES, WRITERS, Header

from .render import DPI, HEIGHT, WIDTH, normal, page, prose
from .test_sources import text_pdf

HEADER = Header(tenant_id="acme", document_id="invoice-7", processing_time=1.5, metadata={"user_id": "사용자"})


def pdf_text(path, *arguments) -> str:
    return subprocess.run(["pdftotext", *arguments, path, "-"], check=True, capture_output=True, text=True).stdout


def write(result, name, folder):
    target = folder / FILE_NAMES[name]
    WRITERS[name](result, HEADER, target)
    assert [path for path in folder.iterdir() if path.name.startswith("searchable-")] == []
    return target


def test_every_format_has_a_name_and_a_type():
    assert WRITERS.keys() == FILE_NAMES.keys() == MEDIA_TYPES.keys()


def test_the_json_is_the_document_of_the_api(tmp_path, read):
    path = text_pdf(tmp_path / "a.pdf", ['first "page"\nsecond line', "항구 \\ 사무실"])
    result = read(path)
    written = Pages.model_validate_json(write(result, "json", tmp_path).read_bytes())
    assert written.schema_version == "steno.dev/pages/v1"
    assert (written.tenant_id, written.document_id, written.processing_time) == ("acme", "invoice-7", 1.5)
    assert written.metadata == {"user_id": "사용자"}
    assert written.pages == tuple(result.pages)
    assert written.text == "\f".join(one.text for one in written.pages)
    assert (written.total_pages, written.failed_pages, written.confidence) == (2, 0, 1.0)
    assert {one.engine for one in written.pages} == {"embedded"}
    assert json.loads(written.model_dump_json()) == json.loads(write(result, "json", tmp_path).read_bytes())


def test_text_and_markdown(tmp_path, read):
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.set_font("helvetica", size=24)
    pdf.cell(0, 14, "Harbour *repairs*", new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("helvetica", size=11)
    for line in ("1. March was wet and", "the pier was closed."):
        pdf.cell(0, 6, line, new_x="LMARGIN", new_y="NEXT")
    pdf.add_page()
    pdf.cell(0, 6, "# no heading", new_x="LMARGIN", new_y="NEXT")
    pdf.output(str(tmp_path / "a.pdf"))
    result = read(tmp_path / "a.pdf")
    text = write(result, "txt", tmp_path).read_text()
    assert text == "Harbour *repairs*\n\n1. March was wet and\nthe pier was closed.\n\f# no heading\n"
    assert write(result, "markdown", tmp_path).read_text() == (
        "<!-- page 1 -->\n\n## Harbour \\*repairs\\*\n\n1\\. March was wet and the pier was closed.\n"
        "\n<!-- page 2 -->\n\n\\# no heading\n"
    )


def scan_pdf(path, rendered):
    images = [one.image for one in rendered]
    images[0].save(path, save_all=True, append_images=images[1:], resolution=DPI)
    return path


@pytest.mark.slow
def test_a_searchable_pdf_of_a_scan_in_two_languages(tmp_path, read):
    rendered = [page("en", 1), page("ko", 1)]
    result = read(scan_pdf(tmp_path / "scan.pdf", rendered), languages=("ko", "en"))
    found = pdf_text(write(result, "pdf", tmp_path)).split("\f")
    for one, text in zip(rendered, found, strict=False):
        assert jiwer.cer(normal(one.text), normal(text)) <= 0.02
    with pikepdf.open(tmp_path / "searchable.pdf") as pdf:
        assert [len(one.get_images()) for one in pdf.pages] == [1, 1]


@pytest.mark.slow
def test_a_searchable_pdf_of_a_black_and_white_tiff(tmp_path, read):
    rendered = [page("en", 0), page("ko", 1)]
    first, second = (one.image.convert("L").convert("1") for one in rendered)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second], compression="group4", dpi=(DPI, DPI))
    result = read(tmp_path / "a.tif", pages="2", languages=("ko",))
    assert [one.number for one in result.pages] == [2]
    found = pdf_text(write(result, "pdf", tmp_path))
    assert jiwer.cer(normal(rendered[1].text), normal(found)) <= 0.05
    with pikepdf.open(tmp_path / "searchable.pdf") as pdf:
        assert [float(side) for side in pdf.pages[0].mediabox[2:]] == pytest.approx(
            [WIDTH * 72 / DPI, HEIGHT * 72 / DPI], abs=1
        )


@pytest.mark.slow
def test_a_scan_on_its_side_is_upright_in_the_searchable_pdf(tmp_path, read):
    one = page("en", 0)
    one.image.rotate(-90, expand=True).save(tmp_path / "a.jpg", dpi=(DPI, DPI))
    found = pdf_text(write(read(tmp_path / "a.jpg", languages=("en",)), "pdf", tmp_path))
    assert jiwer.cer(normal(one.text), normal(found)) <= 0.02


@pytest.mark.slow
def test_text_that_is_there_is_kept_and_a_stamp_not_doubled(tmp_path, read):
    scan = page("en", 0)
    scan.image.save(tmp_path / "scan.png", dpi=(DPI, DPI))
    pdf = FPDF(format="A4")
    pdf.set_font("helvetica", size=10)
    pdf.add_page()
    pdf.image(str(tmp_path / "scan.png"), 0, 0, 210, 297)
    pdf.text(20, 10, "FAX 2023 page one")
    pdf.add_page()
    pdf.multi_cell(0, 6, "This page was born digital.")
    pdf.output(str(tmp_path / "a.pdf"))
    result = read(tmp_path / "a.pdf", languages=("en",))
    assert [one.engine for one in result.pages] == ["tesseract", "embedded"]
    first, second, *_ = pdf_text(write(result, "pdf", tmp_path)).split("\f")
    assert first.count("FAX") == 1
    assert jiwer.cer(normal("FAX 2023 page one " + scan.text), normal(first)) <= 0.02
    assert normal(second) == "This page was born digital."


def test_a_scan_without_text_is_copied(tmp_path, read):
    Image.new("RGB", (800, 1100), "white").save(tmp_path / "scan.pdf")
    target = write(read(tmp_path / "scan.pdf", languages=("en",)), "pdf", tmp_path)
    assert target.read_bytes() == (tmp_path / "scan.pdf").read_bytes()


@pytest.mark.slow
def test_a_pdf_that_opens_without_a_password_is_read(tmp_path, read):
    one = page("en", 0, sentences=3)
    scan_pdf(tmp_path / "b.pdf", [one])
    with pikepdf.open(tmp_path / "b.pdf") as pdf:
        pdf.save(tmp_path / "locked.pdf", encryption=pikepdf.Encryption(owner="o", user=""))
    found = pdf_text(write(read(tmp_path / "locked.pdf", languages=("en",)), "pdf", tmp_path))
    assert jiwer.cer(normal(one.text), normal(found)) <= 0.01


def test_a_signed_pdf_is_not_broken(tmp_path, read):
    scan_pdf(tmp_path / "b.pdf", [page("en", 0, sentences=3)])
    with pikepdf.open(tmp_path / "b.pdf") as pdf:
        pdf.Root.AcroForm = pikepdf.Dictionary(SigFlags=3, Fields=[])
        pdf.save(tmp_path / "signed.pdf")
    with pytest.raises(WorkError) as refused:
        write(read(tmp_path / "signed.pdf", languages=("en",)), "pdf", tmp_path)
    assert refused.value.reason is FailureReason.UNSUPPORTED_MEDIA
    assert "sign" in refused.value.message.lower()
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("searchable")] == []


@pytest.mark.slow
def test_the_plugin_serves_ocrmypdf_by_itself(tmp_path):
    one = page("en", 0, sentences=8)
    scan_pdf(tmp_path / "a.pdf", [one])
    command = [sys.executable, "-m", "ocrmypdf", "--plugin", "steno_runtime.ocr.ocrmypdf_plugin"]
    command += ["--output-type", "pdf", "--optimize", "0", "--quiet", str(tmp_path / "a.pdf"), str(tmp_path / "b.pdf")]
    subprocess.run(command, check=True, capture_output=True)
    assert jiwer.cer(normal(one.text), normal(pdf_text(tmp_path / "b.pdf"))) <= 0.01


_MEASURE = """
import json, re, sys
from pathlib import Path
from steno_runtime.ocr.pipeline import RecognitionOptions, recognize
peaks = []
def measure(update):
    peaks.append(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
options = RecognitionOptions(languages=("en",), mode=sys.argv[3], workers=2)
recognize(Path(sys.argv[1]), options, scratch=Path(sys.argv[2]), on_progress=measure)
print(json.dumps(peaks))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["skip", "force"])
def test_memory_is_flat_over_sixty_pages(tmp_path, mode):
    path = text_pdf(tmp_path / "long.pdf", [prose("en", seed, 6) for seed in range(60)])
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, path, tmp_path, mode], check=True, capture_output=True, text=True
    )
    peaks = json.loads(done.stdout.splitlines()[-1])
    print(f"peak MiB after 10, 30, 60 pages: {peaks[10]:.0f} {peaks[30]:.0f} {peaks[60]:.0f}")
    assert len(peaks) == 61
    assert peaks[60] - peaks[10] <= 40  # the 50 pages between would be 550 MiB of pixels
    assert peaks[60] <= 700
