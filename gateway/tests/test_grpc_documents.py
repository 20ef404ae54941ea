"""`OCRService` at the gateway: documents become OCRJobs, and their pages the responses."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from steno_api.documents.pages import Line, Page, Pages, Region
from steno_api.gateway.api_keys import Scope
from steno_api.pb.steno.v1 import ocr_pb2

from .conftest import GatewayProcess, bearer, until, when_created

pytestmark = pytest.mark.apiserver

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
Request = ocr_pb2.DocumentRequest
NAMES = ("steno.v1.OCRService", "OCRService")


def document(text: str, document_id: str = "gw") -> dict[str, Any]:
    square = ((0, 0), (10, 0), (10, 5), (0, 5))
    region = Region(kind="paragraph", polygon=square, lines=(Line(polygon=square, text=text, confidence=0.9),))
    page = Page(
        number=1, width=100, height=50, dpi=96, engine="tesseract", confidence=0.9, regions=(region,), text=text
    )
    pages = Pages(
        tenant_id="acme", document_id=document_id, engine="auto", total_pages=1, failed_pages=0, confidence=0.9,
        processing_time=0.5, text=text, pages=(page,),
    )  # fmt: skip
    return json.loads(pages.model_dump_json())


@contextlib.contextmanager
def service(gateway: GatewayProcess, name: str, key: str | None) -> Iterator[tuple[Callable[..., Any], ...]]:
    """The two methods, by a client that knows the names alone."""
    metadata = (("x-api-key", key),) if key else ()
    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        coders = (Request.SerializeToString, ocr_pb2.OCRResponse.FromString)
        one = channel.unary_unary(f"/{name}/ProcessDocument", *coders)
        many = channel.stream_stream(f"/{name}/BatchProcess", *coders)

        def with_key(method: Any) -> Callable[..., Any]:
            return lambda request, **more: method(request, metadata=(*metadata, *more.pop("metadata", ())), **more)

        yield with_key(one), with_key(many)


def code(call: Any) -> tuple[grpc.StatusCode, str]:
    return call.code(), dict(call.trailing_metadata() or ()).get("steno-code", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_document_becomes_a_job_and_its_pages_the_response(gateway: GatewayProcess, name: str):
    worker = when_created(gateway, lambda job: gateway.finish(job, document("안녕")), "ocrjobs")
    with service(gateway, name, gateway.key().key) as (process, _):
        request = Request(
            document_id="doc_1", content=PNG, languages=["ko"], engine="tesseract", mode="redo", tenant_id="tenant_abc"
        )
        response = process(request, timeout=60)
    worker.join()
    assert (response.document_id, response.text, response.total_pages) == ("doc_1", "안녕", 1)
    assert response.pages[0].regions[0].lines[0].text == "안녕"
    newest = max(gateway.jobs("ocrjobs"), key=lambda job: int(job["metadata"]["resourceVersion"]))
    spec = newest["spec"]
    assert (spec["documentID"], spec["languages"], spec["engine"], spec["mode"]) == (
        "doc_1",
        ["ko"],
        "Tesseract",
        "Redo",
    )
    assert spec["metadata"] == {"tenant_id": "tenant_abc"}
    assert "/uploads/" in spec["source"]["uri"]


def test_a_batch_answers_in_order_and_goes_on_after_a_bad_document(gateway: GatewayProcess):
    key = gateway.key().key
    requests = [
        Request(document_id="a", document_url="https://files.example.com/a.pdf"),
        Request(document_id="b", content=PNG, pages="no pages"),
        Request(document_id="c", content=PNG),
        Request(document_id="d"),
    ]
    known = {job["metadata"]["name"] for job in gateway.jobs("ocrjobs")}

    def created() -> dict[str, str]:
        jobs = (job for job in gateway.jobs("ocrjobs") if job["metadata"]["name"] not in known)
        return {job["spec"]["documentID"]: job["metadata"]["name"] for job in jobs}

    with service(gateway, NAMES[1], key) as (_, batch):
        call = batch(iter(requests), timeout=120)
        jobs = until(created, lambda found: len(found) == 2)
        gateway.finish(jobs["c"], document("third"))
        gateway.finish(jobs["a"], reason="UnsupportedMedia", message="It is no PDF.")
        responses = list(call)
        assert call.code() == grpc.StatusCode.OK
    assert [each.document_id for each in responses] == ["a", "b", "c", "d"]
    assert [each.error.code for each in responses] == ["UnsupportedMedia", "InvalidRequest", "", "InvalidRequest"]
    assert responses[2].text == "third"


def test_the_same_document_with_an_idempotency_key_finds_its_job(gateway: GatewayProcess):
    worker = when_created(gateway, lambda job: gateway.finish(job, document("once")), "ocrjobs")
    with service(gateway, NAMES[0], gateway.key().key) as (process, _):
        before = len(gateway.jobs("ocrjobs"))
        for _ in range(2):
            request = Request(document_id="e", content=PNG)
            assert process(request, timeout=60, metadata=(("idempotency-key", "grpc-1"),)).text == "once"
    worker.join()
    assert len(gateway.jobs("ocrjobs")) == before + 1


def test_the_job_of_a_client_that_went_away_is_deleted(gateway: GatewayProcess):
    before = {job["metadata"]["name"] for job in gateway.jobs("ocrjobs")}
    with service(gateway, NAMES[0], gateway.key().key) as (_, batch):
        call = batch(iter([Request(document_id="f", content=PNG)]), timeout=120)
        until(lambda: gateway.jobs("ocrjobs"), lambda jobs: len(jobs) > len(before))
        call.cancel()
        until(lambda: {job["metadata"]["name"] for job in gateway.jobs("ocrjobs")}, lambda names: names <= before)


def test_a_job_that_takes_long_goes_on_and_is_named(gateway: GatewayProcess):
    made = gateway.key()
    with service(gateway, NAMES[0], made.key) as (process, _), pytest.raises(grpc.RpcError) as caught:
        process(Request(content=PNG), timeout=60)
    assert code(caught.value) == (grpc.StatusCode.DEADLINE_EXCEEDED, "JobTimeout")
    job = dict(caught.value.trailing_metadata())["x-job-id"]  # pyright: ignore[reportAttributeAccessIssue]
    assert gateway.client.get(f"/v1/jobs/{job}", headers=bearer(made.key)).json()["status"] == "queued"


def test_who_is_refused_learns_why(gateway: GatewayProcess):
    speech_only = gateway.key(scopes=frozenset({Scope.STT})).key
    for key, expected in (
        (None, (grpc.StatusCode.UNAUTHENTICATED, "KeyMissing")),
        (speech_only, (grpc.StatusCode.PERMISSION_DENIED, "ScopeMissing")),
    ):
        with service(gateway, NAMES[0], key) as (process, batch):
            with pytest.raises(grpc.RpcError) as caught:
                process(Request(content=PNG), timeout=60)
            assert code(caught.value) == expected
            call = batch(iter([Request(content=PNG)]), timeout=60)
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
            assert code(caught.value) == expected
    with service(gateway, NAMES[0], gateway.key().key) as (process, _):
        with pytest.raises(grpc.RpcError) as caught:
            process(Request(content=bytes(9 * 1024 * 1024)), timeout=60)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(grpc.RpcError) as caught:
            process(Request(document_url="pvc://claim/file"), timeout=60)
        assert code(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "InvalidRequest")
        with pytest.raises(grpc.RpcError) as caught:
            process(Request(content=PNG, formats=["pdf"]), timeout=60)
        assert code(caught.value) == (grpc.StatusCode.UNIMPLEMENTED, "NotSupported")
