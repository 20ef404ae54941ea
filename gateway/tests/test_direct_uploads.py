"""Files that clients put into the store themselves, and that become the source of a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from steno_api.gateway.api_keys import Scope
from tests.support.apiserver import ApiServer
from tests.support.clamd import EICAR
from tests.support.clamd import running as clamd
from tests.support.s3 import S3Server

from .conftest import GatewayProcess, bearer, running, until

pytestmark = pytest.mark.apiserver

MAX_BYTES = 3_000_000


@pytest.fixture(scope="module")
def gateway(apiserver: ApiServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with running(apiserver, s3, folder, apiserver.namespace(), maxDirectUploadBytes=MAX_BYTES) as process:
        yield process


@pytest.fixture
def headers(gateway: GatewayProcess) -> dict[str, str]:
    return bearer(gateway.key().key)


def offer(gateway: GatewayProcess, headers: dict[str, str]) -> dict[str, Any]:
    answer = gateway.client.post("/v1/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def put(offered: dict[str, Any], data: bytes) -> None:
    answer = httpx.request(offered["method"], offered["url"], content=data, trust_env=False)
    assert answer.status_code == 200, answer.text


def create(gateway: GatewayProcess, headers: dict[str, str], upload: str) -> httpx.Response:
    body = {"kind": "TranscriptionJob", "spec": {"source": {"upload": upload}}}
    return gateway.client.post("/v1/jobs", json=body, headers=headers)


def content(gateway: GatewayProcess, job: str) -> bytes:
    key = gateway.job(job)["spec"]["source"]["uri"].removeprefix("s3://steno/")
    return gateway.s3.client.get_object(Bucket="steno", Key=key)["Body"].read()


def test_a_file_larger_than_a_request_becomes_a_job(gateway: GatewayProcess, headers: dict[str, str]):
    offered = offer(gateway, headers)
    assert offered["maxBytes"] == MAX_BYTES
    put(offered, data := b"RIFF" * 600_000)
    answer = create(gateway, headers, offered["id"])
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    assert content(gateway, job) == data
    source = gateway.job(job)["spec"]["source"]
    assert source["secretRef"] == {"name": "steno-store"}
    assert f"/uploads/{gateway.namespace}/" in source["uri"]


def test_an_upload_goes_when_its_job_has_ended_and_a_repeated_request_finds_the_job(
    gateway: GatewayProcess, headers: dict[str, str]
):
    headers |= {"Idempotency-Key": "direct"}
    offered = offer(gateway, headers)
    put(offered, b"RIFF")
    job = create(gateway, headers, offered["id"]).json()["id"]
    key = gateway.job(job)["spec"]["source"]["uri"].removeprefix("s3://steno/")
    assert create(gateway, headers, offered["id"]).json()["id"] == job
    gateway.finish(job, {"text": "hello"})
    until(lambda: gateway.s3.keys("steno", key), lambda found: found == [])
    again = create(gateway, headers, offered["id"])
    assert (again.status_code, again.json()["id"]) == (202, job)
    other = offer(gateway, headers)
    assert create(gateway, headers, other["id"]).json()["code"] == "SourceNotFound"
    put(other, b"RIFF")
    assert create(gateway, headers, other["id"]).json()["code"] == "IdempotencyConflict"


def test_an_id_leads_only_its_own_tenant_somewhere(gateway: GatewayProcess, headers: dict[str, str]):
    offered = offer(gateway, headers)
    put(offered, b"RIFF")
    stranger = bearer(gateway.key(tenant="other").key)
    before = len(gateway.jobs())
    answer = create(gateway, stranger, offered["id"])
    assert (answer.status_code, answer.json()["code"]) == (404, "SourceNotFound")
    assert len(gateway.jobs()) == before
    assert create(gateway, headers, offered["id"]).status_code == 202


def test_what_is_not_there_or_too_large(gateway: GatewayProcess, headers: dict[str, str]):
    offered = offer(gateway, headers)
    answer = create(gateway, headers, offered["id"])
    assert (answer.status_code, answer.json()["code"]) == (404, "SourceNotFound")
    put(offered, b"x" * (MAX_BYTES + 1))
    answer = create(gateway, headers, offered["id"])
    assert (answer.status_code, answer.json()["code"]) == (413, "TooLarge")
    assert create(gateway, headers, offered["id"]).json()["code"] == "SourceNotFound"


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"upload": "up-"},
        {"upload": "../x"},
        {"upload": None},
        {"uri": "https://a/b", "upload": "up-aaaaaaaaaaaaaaaa"},
    ],
)
def test_a_source_is_one_of_both(gateway: GatewayProcess, headers: dict[str, str], source: dict[str, Any]):
    body = {"kind": "OCRJob", "spec": {"source": source}}
    answer = gateway.client.post("/v1/jobs", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")
    assert "spec.source" in answer.json()["detail"]


def test_an_upload_needs_a_key_that_is_for_jobs(gateway: GatewayProcess):
    assert gateway.client.post("/v1/uploads").status_code == 401
    live = bearer(gateway.key(scopes=frozenset({Scope.STREAM})).key)
    assert gateway.client.post("/v1/uploads", headers=live).json()["code"] == "ScopeMissing"


def test_the_url_is_for_its_place_and_for_writing_alone(gateway: GatewayProcess, headers: dict[str, str]):
    offered = offer(gateway, headers)
    put(offered, b"RIFF")
    assert httpx.get(offered["url"], trust_env=False).status_code == 403
    elsewhere = offered["url"].replace(offered["id"], "up-aaaaaaaaaaaaaaaa")
    assert httpx.put(elsewhere, content=b"x", trust_env=False).status_code == 403


def test_clients_are_sent_to_the_address_that_they_reach(
    apiserver: ApiServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
):
    store = {"uri": "s3://steno", "endpointURL": s3.endpoint, "publicEndpointURL": "https://s3.example.com"}
    with running(apiserver, s3, tmp_path_factory.mktemp("public"), apiserver.namespace(), store=store) as gateway:
        offered = offer(gateway, bearer(gateway.key().key))
        assert offered["url"].startswith("https://s3.example.com/steno/uploads/")


def test_a_scanner_reads_a_copy_that_the_client_cannot_change(
    apiserver: ApiServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("scanned")
    with (
        clamd(tmp_path_factory.mktemp("clamd"), max_bytes=300_000) as address,
        running(apiserver, s3, folder, apiserver.namespace(), clamd=address) as gateway,
    ):
        headers = bearer(gateway.key().key)
        offered = offer(gateway, headers)
        put(offered, b"clean")
        job = create(gateway, headers, offered["id"]).json()["id"]
        put(offered, EICAR)
        assert create(gateway, headers, offered["id"]).json()["code"] == "MalwareFound"
        assert content(gateway, job) == b"clean"
        bad = offer(gateway, headers)
        put(bad, EICAR)
        assert create(gateway, headers, bad["id"]).json()["code"] == "MalwareFound"
        kept = s3.keys("steno", f"uploads/{gateway.namespace}/")
        assert [key.rpartition("/")[2] for key in kept if bad["id"] in key] == [bad["id"]]
        repeated = headers | {"Idempotency-Key": "scanned"}
        first, second = (offer(gateway, headers) for _ in range(2))
        for offered in (first, second):
            put(offered, b"clean")
        assert create(gateway, repeated, first["id"]).status_code == 202
        assert create(gateway, repeated, second["id"]).json()["code"] == "IdempotencyConflict"
        assert create(gateway, headers, second["id"]).status_code == 202, "a job that was refused costs no upload"
