"""Documents for the OCR tests: pages with known text, and files that are broken or protected in known ways."""

from __future__ import annotations

import io
from pathlib import Path

import jiwer
import pikepdf
from fpdf import FPDF
from PIL import Image

from runtime.tests.ocr.render import DPI, Rendered, normal, page

PAGES: dict[str, list[Rendered]] = {}
"""Rendered pages by language; made once."""

BORN_DIGITAL = ["The first page was never printed.", "Nor was the second one."]


def pages(language: str) -> list[Rendered]:
    """Two pages of a language: one straight, one turned by one degree, both as noisy as a scanner's."""
    if language not in PAGES:
        PAGES[language] = [page(language, seed) for seed in (0, 1)]
    return PAGES[language]


def text(language: str) -> str:
    """The known text of `pages`."""
    return " ".join(one.text for one in pages(language))


def character_error_rate(reference: str, found: str) -> float:
    """Errors per character of the reference; a run of white space is one space, and spaces count."""
    return jiwer.cer(normal(reference), normal(found))


def make(folder: Path) -> dict[str, Path]:
    """Every document by its key in the sources' bucket."""
    files = {f"pages-{language}.tiff": _tiff(folder / f"{language}.tiff", language) for language in ("en", "ko")}
    files["page.png"] = folder / "page.png"
    pages("en")[0].image.save(files["page.png"], dpi=(DPI, DPI))
    born = folder / "born.pdf"
    pdf = FPDF(format="A4")
    pdf.set_font("helvetica", size=14)
    for line in BORN_DIGITAL:
        pdf.add_page()
        pdf.cell(0, 10, line)
    pdf.output(str(born))
    locked = folder / "locked.pdf"
    with pikepdf.open(born) as document:
        document.save(locked, encryption=pikepdf.Encryption(owner="o", user="u"))
    cut = folder / "cut.jpg"
    buffer = io.BytesIO()
    pages("en")[0].image.save(buffer, "JPEG", quality=90)
    cut.write_bytes(buffer.getvalue()[: buffer.tell() // 2])
    dot = folder / "dot.png"
    Image.new("RGB", (1, 1), "white").save(dot)
    words = folder / "words.png"
    words.write_text("This is no picture at all.\n" * 50)
    return files | {"born.pdf": born, "locked.pdf": locked, "cut.jpg": cut, "dot.png": dot, "words.png": words}


def _tiff(target: Path, language: str) -> Path:
    first, *others = [one.image for one in pages(language)]
    first.save(target, save_all=True, append_images=others, dpi=(DPI, DPI), compression="tiff_lzw")
    return target
