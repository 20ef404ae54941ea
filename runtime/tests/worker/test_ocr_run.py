"""The whole way of a document: from a bucket to published pages, and the interruptions on it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess

import pytest
from PIL import Image, ImageDraw, ImageFont

from steno_api.documents.manifest import Manifest
from steno_api.documents.pages import Pages
from steno_api.failures import FailureReason
from steno_api.worker.termination import Succeeded
from steno_runtime.storage.volume import VolumeOutput
from steno_runtime.worker.recognition import FORMATS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TEXT = ["The harbour office is open", "between eight and noon."]
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf"


def page(lines: list[str] = TEXT) -> Image.Image:
    image = Image.new("RGB", (1000, 400), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(FONT, 40)
    for number, line in enumerate(lines):
        draw.text((80, 80 + 70 * number), line, fill="black", font=font)
    return image


def encoded(*pages: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": pages[1:]} if kind == "TIFF" else {}
    pages[0].save(buffer, kind, dpi=(200, 200), **more)
    return buffer.getvalue()


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_a_page_from_a_bucket_to_a_bucket(make_ocr_task, start, s3, web, tmp_path):
    credentials = s3.credentials(tmp_path / "secret")
    s3.client.put_object(Bucket="meetings", Key="scans/contract.png", Body=encoded(page()))
    source = {"uri": "s3://meetings/scans/contract.png", "endpointURL": s3.endpoint, "credentialsDir": credentials}
    output = {
        "uri": "s3://transcripts/team-a/contract/uid-1",
        "endpointURL": s3.endpoint,
        "credentialsDir": credentials,
        "formats": ["pdf", "json", "txt", "markdown"],
    }
    (tmp_path / "token").write_text("tok")
    reporting = {"url": web.serve("", b""), "tokenFile": str(tmp_path / "token"), "intervalSeconds": 0.1}
    web.serve("/v1/reports", b"")
    task = make_ocr_task(source=source, output=output, languages=["en"], reporting=reporting)
    ended = start(task).ended(timeout=240)
    assert ended.code == 0, ended.log
    assert isinstance(ended.result, Succeeded)
    prefix = "team-a/contract/uid-1/"
    files = {
        key.removeprefix(prefix): s3.client.get_object(Bucket="transcripts", Key=key)
        for key in s3.keys("transcripts")
        if key.startswith(prefix)
    }
    assert {name: one["ContentType"] for name, one in files.items()} == {
        "manifest.json": "application/json",
        **{one.name: one.content_type for one in FORMATS.values()},
    }
    data = {name: one["Body"].read() for name, one in files.items()}
    manifest = Manifest.model_validate_json(data["manifest.json"])
    assert manifest.artifacts == ended.result.artifacts
    assert manifest.artifacts[0].name == "pages.json"
    for artifact in manifest.artifacts:
        assert hashlib.sha256(data[artifact.name]).hexdigest() == artifact.sha256
    pages = Pages.model_validate_json(data["pages.json"])
    assert (pages.document_id, pages.tenant_id, pages.total_pages, pages.failed_pages) == ("contract-7", "acme", 1, 0)
    assert one_line(pages.text) == " ".join(TEXT)
    assert one_line(data["pages.txt"].decode()) == " ".join(TEXT)
    assert "harbour" in data["pages.md"].decode()
    (tmp_path / "out.pdf").write_bytes(data["searchable.pdf"])
    text = subprocess.run(["pdftotext", str(tmp_path / "out.pdf"), "-"], check=True, capture_output=True, text=True)
    assert one_line(text.stdout) == " ".join(TEXT)
    summary = ended.result.summary
    assert summary == manifest.summary
    assert (summary.pages, summary.failed_pages, summary.engines) == (1, 0, {"tesseract": 1})
    assert summary.characters == len(pages.text)
    assert summary.pages_per_second == pytest.approx(1 / pages.processing_time, rel=0.01)

    reported = [json.loads(body)["progress"] for body in web.bodies_of("/v1/reports")]
    assert {"Recognizing", "Publishing"} <= {one["stage"] for one in reported}
    assert [one["percent"] for one in reported] == sorted(one["percent"] for one in reported)
    assert "harbour" not in ended.log + ended.message.decode()
    assert not list((tmp_path / "scratch").iterdir())

    again = start(make_ocr_task(attempt=2, source=source, output=output)).ended()
    assert (again.code, again.result) == (0, ended.result)


def test_the_pages_of_an_attempt_that_died_are_adopted(make_ocr_task, start, tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded(page(["First page", "of two"]), page(), kind="TIFF"))
    first = start(make_ocr_task(languages=["en"])).ended(timeout=240)
    assert first.code == 0, first.log
    results = tmp_path / "results"
    existing = (results / "pages.json").read_bytes()
    assert len(Pages.model_validate_json(existing).pages) == 2
    for name in ("manifest.json", "pages.txt", "searchable.pdf"):
        (results / name).unlink()

    second = start(make_ocr_task(attempt=2, languages=["en"])).ended(timeout=240)
    assert second.code == 0, second.log
    assert "its document is used" in second.log
    assert (results / "pages.json").read_bytes() == existing
    assert second.result.summary == first.result.summary
    text = subprocess.run(
        ["pdftotext", str(results / "searchable.pdf"), "-"], check=True, capture_output=True, text=True
    ).stdout
    assert one_line(text.replace("\f", " ")) == " ".join(["First page of two", *TEXT])
    assert (results / "pages.txt").read_text().count("\f") == 1


def test_pages_of_another_document_are_a_conflict_and_kept(make_ocr_task, start, tmp_path):
    pages = Pages(
        tenant_id="acme", document_id="another", engine="auto", total_pages=0, failed_pages=0, confidence=0,
        processing_time=1, text="", pages=(),
    )  # fmt: skip
    (tmp_path / "a.wav").write_bytes(encoded(page()))
    VolumeOutput("", tmp_path / "results").create("pages.json", pages.model_dump_json().encode(), "")
    ended = start(make_ocr_task()).ended()
    assert (ended.code, ended.result.reason) == (64, FailureReason.OUTPUT_FORBIDDEN)
    assert "pages.json" in ended.result.message


@pytest.mark.parametrize(
    ("data", "changes", "reason"),
    [
        (b"just some text", {}, FailureReason.UNSUPPORTED_MEDIA),
        (encoded(page())[:2000], {}, FailureReason.UNSUPPORTED_MEDIA),
        (encoded(page()), {"pages": "7"}, FailureReason.INVALID_SPEC),
        (encoded(page()), {"languages": ["xx"]}, FailureReason.INVALID_SPEC),
    ],
    ids=["text", "cut short", "no such page", "no such language"],
)
def test_what_cannot_be_read_says_why(make_ocr_task, start, tmp_path, data, changes, reason):  # noqa: PLR0917
    (tmp_path / "a.wav").write_bytes(data)
    ended = start(make_ocr_task(**changes)).ended(timeout=120)
    assert (ended.code, ended.result.reason) == (64, reason)
    assert "Traceback" not in ended.message.decode()
    assert not list((tmp_path / "results").iterdir())
