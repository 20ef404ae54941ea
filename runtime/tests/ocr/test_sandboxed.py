"""Documents opened in the sandbox: the same pages, and bombs that cost no more than their own page."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw

from steno_api.failures import FailureReason
from steno_runtime import sandbox
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.ocr import sandboxed
from steno_runtime.ocr.open import DECODERS, open_source
from steno_runtime.ocr.page import Limits, PageError, PageInput
from steno_runtime.ocr.pipeline import RecognitionOptions, recognize
from steno_runtime.ocr.sandboxed import SandboxedSource, _parse_document, _parse_page
from steno_runtime.sandbox import ProtocolFault, Reply

LIMITS = Limits(max_pixels=2_000_000)


@pytest.fixture(scope="module", autouse=True)
def imported_once() -> None:
    sandbox.prepare(*DECODERS)


@pytest.fixture
def source_of(tmp_path) -> Iterator[Any]:
    opened: list[SandboxedSource] = []

    def open_(path: Path, *, reuse_text: bool = True, check: Any = lambda: None) -> SandboxedSource:
        opened.append(SandboxedSource(path, LIMITS, reuse_text=reuse_text, check=check))
        return opened[-1]

    yield open_
    for source in opened:
        source.close()


def forms(depth: int, *, before: int = 0, after: int = 0) -> bytes:
    """A PDF with a page that draws a form which draws another ten times, and so on; between pages of a sentence."""
    kids = list(range(6, 6 + before + 1 + after))
    page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792]"
    plain = f"{page} /Contents 5 0 R /Resources << /Font << /F 4 0 R >> >> >>"
    first = kids[-1] + 1
    bomb = f"{page} /Contents 3 0 R /Resources << /XObject << /F {first} 0 R >> >> >>"
    nested = [
        stream(
            "0 0 1 rg 0 0 500 700 re f" if level == depth - 1 else "/F Do " * 10,
            "/Type /XObject /Subtype /Form /BBox [0 0 612 792]"
            + ("" if level == depth - 1 else f" /Resources << /XObject << /F {first + level + 1} 0 R >> >>"),
        )
        for level in range(depth)
    ]
    return pdf(
        [
            "<< /Type /Catalog /Pages 2 0 R >>",
            f"<< /Type /Pages /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] /Count {len(kids)} >>",
            stream("/F Do"),
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            stream("BT /F 12 Tf 50 700 Td (The harbour is to be repaired.) Tj ET"),
            *[plain] * before,
            bomb,
            *[plain] * after,
            *nested,
        ]
    )


def stream(text: str, entries: str = "") -> str:
    return f"<< {entries} /Length {len(text)} >>\nstream\n{text}\nendstream"


def pdf(objects: list[str]) -> bytes:
    out, places = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{text}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer << /Size {len(objects) + 1} /Root 1 0 R >>\n"
    )
    return out + f"{end}startxref\n{len(out)}\n%%EOF\n".encode()


def same(here: PageInput, there: PageInput) -> None:
    assert (here.number, here.width, here.height, here.dpi) == (there.number, there.width, there.height, there.dpi)
    assert here.embedded == there.embedded
    assert here.warnings == there.warnings
    assert (here.pixels is None) == (there.pixels is None)
    if here.pixels is not None:
        np.testing.assert_array_equal(here.pixels, there.pixels)
    assert [(one.left, one.top) for one in here.pictures] == [(one.left, one.top) for one in there.pictures]


@pytest.mark.parametrize("reuse_text", [True, False])
def test_pages_of_a_pdf_are_those_of_the_decoder(tmp_path, source_of, reuse_text):
    path = tmp_path / "a.pdf"
    document = FPDF()
    document.set_font("helvetica", size=12)
    for text in ("Harbour repairs", "second page"):
        document.add_page()
        document.cell(0, 8, text)
    document.output(str(path))
    here, there = open_source(path, LIMITS, reuse_text=reuse_text), source_of(path, reuse_text=reuse_text)
    assert (here.kind, here.pages, here.warnings) == (there.kind, there.pages, there.warnings)
    for number in (1, 2):
        same(here.load(number), there.load(number))
    here.close()


def test_pages_of_a_picture_are_those_of_the_decoder(tmp_path, source_of):
    image = Image.new("RGB", (300, 100), "white")
    ImageDraw.Draw(image).text((20, 20), "Harbour repairs", fill="black")
    image.save(tmp_path / "a.tif", save_all=True, append_images=[image.convert("L").resize((100, 90))])
    here, there = open_source(tmp_path / "a.tif", LIMITS, reuse_text=True), source_of(tmp_path / "a.tif")
    assert here.pages == there.pages
    for number in range(1, here.pages + 1):
        same(here.load(number), there.load(number))
    here.close()


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_what_cannot_be_opened_has_the_same_message(tmp_path, source_of, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(WorkError) as here:
        open_source(path, LIMITS, reuse_text=True)
    with pytest.raises(WorkError) as there:
        source_of(path)
    assert (there.value.reason, there.value.message) == (here.value.reason, here.value.message)


def test_memory_that_a_page_wants_costs_that_page_alone(tmp_path, source_of):
    path = tmp_path / "a.pdf"
    path.write_bytes(forms(8, before=1, after=1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = source_of(path)
    assert source.load(1).embedded[0].text == "The harbour is to be repaired."
    with pytest.raises(PageError) as caught:
        source.load(2)
    assert caught.value.reason in (FailureReason.UNSUPPORTED_MEDIA, FailureReason.TOO_LARGE)
    assert source.load(3).embedded[0].text == "The harbour is to be repaired."
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_time_that_a_page_takes_is_limited_and_so_are_such_pages(tmp_path, source_of, monkeypatch):
    monkeypatch.setattr(sandboxed, "PAGE_SECONDS", 1.0)
    monkeypatch.setattr(sandboxed, "MAX_FAULTS", 1)
    path = tmp_path / "a.pdf"
    path.write_bytes(forms(6, after=1))
    source = source_of(path, reuse_text=False)
    with pytest.raises(PageError, match="longer than the 1 s for one step"):
        source.load(1)
    with pytest.raises(PageError, match="not tried"):
        source.load(2)


def test_a_document_of_such_a_page_is_unsupported(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(forms(8))
    options = RecognitionOptions(limits=LIMITS, workers=1)
    with pytest.raises(WorkError, match=r"No page could be read; page 1: .*save the document anew") as caught:
        recognize(path, options, scratch=tmp_path, on_progress=lambda _: None)
    assert caught.value.reason in (FailureReason.UNSUPPORTED_MEDIA, FailureReason.TOO_LARGE)


def test_the_text_of_all_pages_is_limited(tmp_path, source_of, monkeypatch):
    monkeypatch.setattr(sandboxed, "TEXT_BYTES", 200)
    path = tmp_path / "a.pdf"
    path.write_bytes(forms(1, before=2))
    source = source_of(path)
    assert source.load(1).embedded
    with pytest.raises(PageError, match="MiB of text") as caught:
        source.load(2)
    assert caught.value.reason is FailureReason.TOO_LARGE


def test_a_stop_is_noticed(tmp_path, source_of):
    asked: list[None] = []

    def check() -> None:
        asked.append(None)
        if len(asked) > 20:
            raise Stopped

    path = tmp_path / "a.pdf"
    path.write_bytes(forms(6))
    with pytest.raises(Stopped):
        source_of(path, reuse_text=False, check=check).load(1)


PIXELS = np.zeros((4, 6, 3), np.uint8)
PAGE: dict[str, Any] = {"size": [6, 4, 72], "lines": [], "pictures": [], "warnings": []}
WORD = {"quad": [[0, 0], [1, 0], [1, 1], [0, 1]], "text": "a", "confidence": 1.0}


def test_a_page_that_can_be_is_believed():
    page = _parse_page(Reply(PAGE | {"lines": [WORD], "pictures": [[1, 2]]}, [PIXELS, PIXELS]), 1, 1000)
    assert page.embedded[0].text == "a"
    assert page.pictures[0].left == 1


@pytest.mark.parametrize(
    ("value", "arrays"),
    [
        ({"size": [6, 4]}, [PIXELS]),
        ({"size": [6, 5, 72]}, [PIXELS]),
        ({"size": [6, "4", 72]}, [PIXELS]),
        ({"size": [10**6, 10**6, 72]}, []),
        ({"size": [-6, 4, 72]}, []),
        ({"pictures": [[0, 0]]}, []),
        ({"pictures": [[7, 0]]}, [PIXELS, PIXELS]),
        ({}, [PIXELS.astype(np.float32)]),
        ({}, [PIXELS[..., :2]]),
        ({}, [PIXELS, PIXELS, PIXELS]),
        ({"lines": [WORD | {"quad": [[0, 0]]}]}, []),
        ({"lines": [WORD | {"quad": [[0, 0], [1e9, 0], [1, 1], [0, 1]]}]}, []),
        ({"lines": [WORD | {"confidence": 2}]}, []),
        ({"lines": [WORD | {"text": 1}]}, []),
        ({"warnings": [{"reason": "Nonsense", "message": "x"}]}, []),
        ({"error": "it is late", "reason": "OutOfMemory"}, []),
        ({"error": "it is late", "reason": "Nonsense"}, []),
    ],
)
def test_a_page_that_cannot_be_is_not_believed(value, arrays):
    with pytest.raises((ProtocolFault, ValueError)):
        _parse_page(Reply(PAGE | value, arrays), 1, 1000)


@pytest.mark.parametrize("value", [{"kind": "zip"}, {"pages": 0}, {"pages": 10**9}, {"pages": True}, {"warnings": [1]}])
def test_a_document_that_cannot_be_is_not_believed(value):
    with pytest.raises((ProtocolFault, ValueError)):
        _parse_document(Reply({"kind": "pdf", "pages": 1, "warnings": []} | value))
