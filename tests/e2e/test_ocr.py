"""Known pages in, the same text out: engines, formats, kinds of documents, and what cannot be read."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import scans
from tests.e2e.kube import RESULTS, Kube, Store
from tests.e2e.scans import character_error_rate
from tests.e2e.test_bad_input import assert_refused

Figure = Callable[[str], None]
BOUNDS = {"en": 0.005, "ko": 0.09}
"""Characters that may be wrong with `engine: Auto`."""


@pytest.fixture(scope="session")
def documents(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The store's bucket of sources has every document."""
    for key, file in scans.make(tmp_path_factory.mktemp("scans")).items():
        store.put(key, file)


pytestmark = pytest.mark.usefixtures("documents")


@pytest.mark.parametrize("language", BOUNDS)
def test_a_scanned_document_of_two_pages(kube: Kube, store: Store, figure: Figure, language: str) -> None:
    kube.recognise(
        "scan", f"pages-{language}.tiff", languages=[language], documentID="minutes #3", tenantRef={"name": "acme"}
    )
    job = kube.complete("scan")
    document = store.document(job)
    errors = character_error_rate(scans.text(language), document["text"])
    summary = job["status"]["summary"]
    figure(f"OCR {language}, engine auto: character error rate {errors:.4f}, {summary['pagesPerSecond']} pages/s")
    assert errors <= BOUNDS[language]
    assert (document["schema_version"], document["document_id"]) == ("steno.dev/pages/v1", "minutes #3")
    assert document["tenant_id"] == "acme"
    assert (summary["pages"], summary["failedPages"]) == (2, 0)
    assert summary["engines"] == {"tesseract": 2}
    assert summary["characters"] == sum(len(page["text"]) for page in document["pages"])
    for number, page in enumerate(document["pages"], 1):
        assert page["number"] == number
        lines = [line for region in page["regions"] for line in region["lines"]]
        assert len(lines) > 10
        for line in lines:
            assert line["words"]
            for x, y in line["polygon"]:
                assert 0 <= x <= page["width"]
                assert 0 <= y <= page["height"]


@pytest.mark.parametrize(("engine", "language"), [("Tesseract", "en"), ("RapidOCR", "en"), ("Tesseract", "ko")])
def test_each_engine_by_itself(kube: Kube, store: Store, figure: Figure, engine: str, language: str) -> None:
    kube.recognise("scan", f"pages-{language}.tiff", languages=[language], engine=engine)
    job = kube.complete("scan")
    document = store.document(job)
    errors = character_error_rate(scans.text(language), document["text"])
    speed = job["status"]["summary"]["pagesPerSecond"]
    figure(f"OCR {language}, engine {engine}: character error rate {errors:.4f}, {speed} pages/s")
    assert errors <= 0.1
    assert {page["engine"] for page in document["pages"]} == {engine.lower()}


def test_every_format_and_a_pdf_that_can_be_searched(kube: Kube, store: Store, tmp_path: Path) -> None:
    output = {"uri": f"s3://{RESULTS}", "formats": ["json", "txt", "markdown", "pdf"], **kube.s3()}
    kube.recognise("page", "page.png", languages=["en"], output=output)
    published = store.published(kube.complete("page"))
    known = scans.pages("en")[0].text
    assert character_error_rate(known, published["txt"].decode()) <= BOUNDS["en"]
    assert published["markdown"].startswith(b"<!-- page 1 -->")
    (tmp_path / "page.pdf").write_bytes(published["pdf"])
    found = subprocess.run(
        ["pdftotext", str(tmp_path / "page.pdf"), "-"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert character_error_rate(known, found) <= 0.02  # pdftotext orders lines by itself


def test_a_pdf_that_carries_its_text_is_not_read_again(kube: Kube, store: Store) -> None:
    kube.recognise("born", "born.pdf", pages="2-")
    job = kube.complete("born")
    document = store.document(job)
    assert [page["number"] for page in document["pages"]] == [2]
    assert document["text"].strip() == scans.BORN_DIGITAL[1]
    assert job["status"]["summary"]["engines"] == {"embedded": 1}


def test_a_dot_is_a_page_without_text(kube: Kube, store: Store) -> None:
    kube.recognise("dot", "dot.png")
    job = kube.complete("dot")
    assert store.document(job)["text"] == ""
    assert job["status"]["summary"]["failedPages"] == 0


CASES = {
    "locked": ("locked.pdf", {}, "Encrypted", "password"),
    "cut": ("cut.jpg", {}, "UnsupportedMedia", "cut short"),
    "words": ("words.png", {}, "UnsupportedMedia", "neither PNG"),
    "missing": ("no-such-page.png", {}, "SourceNotFound", "no-such-page.png"),
    "past-the-end": ("born.pdf", {"pages": "7"}, "InvalidSpec", "names no page"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_read(kube: Kube, case: str) -> None:
    source, spec, reason, named = CASES[case]
    kube.recognise(case, source, **spec)
    assert_refused(kube, case, reason, named)


def test_what_kubectl_shows(kube: Kube) -> None:
    kube.recognise("dot", "dot.png")
    kube.complete("dot")
    header, row = (line.split()[:-1] for line in kube.kubectl("get", "oj").splitlines())
    assert header == ["NAME", "PHASE", "PROGRESS", "PAGES", "ENGINE"]
    assert row == ["dot", "Succeeded", "100", "1", "Auto"]
    events = json.loads(kube.kubectl("get", "events", "-o", "json", "--field-selector=involvedObject.kind=OCRJob"))
    assert {"Accepted", "AttemptStarted", "Published"} <= {event["reason"] for event in events["items"]}
