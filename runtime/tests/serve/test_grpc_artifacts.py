"""Documents over gRPC as the files that an OCRJob would publish."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import grpc
import pytest

from runtime.tests.ocr.render import page
from steno_api.documents.pages import Pages
from steno_api.pb.steno.v1 import ocr_pb2, ocr_pb2_grpc

from .conftest import RunningServer, StartServer, TokenIssuer


@pytest.fixture(scope="module")
def document() -> bytes:
    file = io.BytesIO()
    first, second = (page("en", number).image for number in (1, 2))
    first.save(file, "PDF", resolution=200, save_all=True, append_images=[second])
    return file.getvalue()


async def read(server: RunningServer, token: str, **fields: Any) -> ocr_pb2.OCRResponse:
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = ocr_pb2_grpc.OCRServiceStub(channel).BatchProcess(metadata=(("authorization", f"Bearer {token}"),))
        await call.write(ocr_pb2.DocumentRequest(document_id="문서", languages=["en"], **fields))
        await call.done_writing()
        return await call.read()


def kept(server: RunningServer) -> list[Path]:
    """Return what the server keeps of documents."""
    return list(Path(server.task.scratch_dir).glob("jobs/*"))


@pytest.mark.slow
async def test_the_formats_that_are_asked_for_come_as_files(
    start_server: StartServer, issuer: TokenIssuer, document: bytes
):
    server = await start_server()
    formats = ["txt", "pdf", "json", "markdown"]
    metadata = {"case": "7"}
    asked = {"content": document, "formats": formats, "metadata": metadata, "tenant_id": "acme"}
    response = await read(server, issuer.token(), **asked)
    assert response.error.code == ""
    assert [(it.format, it.name, it.content_type) for it in response.artifacts] == [
        ("json", "pages.json", "application/json"),
        ("markdown", "pages.md", "text/markdown; charset=utf-8"),
        ("pdf", "searchable.pdf", "application/pdf"),
        ("txt", "pages.txt", "text/plain; charset=utf-8"),
    ]
    assert (response.document_id, response.text, len(response.pages), response.total_pages) == ("문서", "", 0, 0)
    files = {it.format: it.data for it in response.artifacts}
    pages = Pages.model_validate_json(files["json"])
    assert (pages.document_id, pages.tenant_id, pages.total_pages) == ("문서", "acme", 2)
    assert pages.metadata == metadata  # and not what is said of the tenant besides
    assert files["txt"].decode() == "\f".join(f"{page.text}\n" for page in pages.pages)
    assert files["markdown"].startswith(b"<!-- page 1 -->")
    assert files["pdf"].startswith(b"%PDF")
    assert kept(server) == []


@pytest.mark.slow
async def test_a_document_without_formats_is_what_it_was(
    start_server: StartServer, issuer: TokenIssuer, document: bytes
):
    server = await start_server()
    response = await read(server, issuer.token(), content=document, pages="1", metadata={"case": "7"})
    assert (response.total_pages, len(response.pages), len(response.artifacts)) == (1, 1, 0)
    assert response.text == response.pages[0].text


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"max_pages": 1}, "TooLarge"),
        ({"formats": ["docx"]}, "InvalidRequest"),
        ({"max_pages": -1}, "InvalidRequest"),
        ({"pages": "1", "max_pages": 1, "content": b"no document"}, "UnsupportedMedia"),
    ],
)
async def test_what_is_refused(
    start_server: StartServer, issuer: TokenIssuer, document: bytes, fields: dict[str, Any], code: str
):
    server = await start_server()
    response = await read(server, issuer.token(), **{"content": document, "formats": ["json"]} | fields)
    assert (response.error.code, len(response.artifacts)) == (code, 0)
