"""Resumable uploads, by a client of the protocol and by requests that none would send."""

from __future__ import annotations

import base64
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from tusclient.client import TusClient
from tusclient.uploader import Uploader

from steno_api.gateway.api_keys import Scope
from tests.support.apiserver import ApiServer
from tests.support.clamd import EICAR
from tests.support.clamd import running as clamd
from tests.support.s3 import S3Server

from .conftest import GatewayProcess, bearer, running, until

pytestmark = pytest.mark.apiserver

PATH = "/v1/uploads/tus"
MIB = 1024 * 1024
PART = 5 * MIB
MAX_BYTES = 20 * MIB
DATA = bytes(range(256)) * 4 * 1024 * 12 + b"the end"
"""12 MiB and a few bytes: two whole parts and a part of one."""
TUS = {"Tus-Resumable": "1.0.0"}
CHUNK = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def gateway(apiserver: ApiServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with serving(apiserver, s3, tmp_path_factory.mktemp("gateway"), apiserver.namespace()) as process:
        yield process


def serving(apiserver: ApiServer, s3: S3Server, folder: Path, namespace: str, **settings: Any) -> Any:
    folder.mkdir(exist_ok=True)
    # This S3 server deletes folders with their last object, and then refuses who writes there at the same time.
    for kept in (f"uploads/{namespace}/direct/acme/kept", f"resumable/{namespace}/acme/kept"):
        s3.client.put_object(Bucket="steno", Key=kept, Body=b"")
    limits = {"requestsPerMinute": 100_000}
    return running(apiserver, s3, folder, namespace, maxDirectUploadBytes=MAX_BYTES, limits=limits, **settings)


@pytest.fixture
def headers(gateway: GatewayProcess) -> dict[str, str]:
    return bearer(gateway.key().key)


def create(gateway: GatewayProcess, headers: dict[str, str], length: int, **more: str) -> str:
    """Return the address of a new upload."""
    answer = gateway.client.post(PATH, headers={**headers, **TUS, "Upload-Length": str(length), **more})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def append(gateway: GatewayProcess, headers: dict[str, str], url: str, offset: int, data: bytes) -> httpx.Response:
    return gateway.client.patch(url, headers={**headers, **CHUNK, "Upload-Offset": str(offset)}, content=data)


def offset(gateway: GatewayProcess, headers: dict[str, str], url: str) -> int:
    answer = gateway.client.head(url, headers={**headers, **TUS})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


def uploader(gateway: GatewayProcess, headers: dict[str, str], data: bytes, **more: Any) -> Uploader:
    client = TusClient(f"{gateway.client.base_url}{PATH}", headers=headers)
    return client.uploader(file_stream=io.BytesIO(data), **more)


def job(gateway: GatewayProcess, headers: dict[str, str], url: str) -> httpx.Response:
    body = {"kind": "TranscriptionJob", "spec": {"source": {"upload": url.rpartition("/")[2]}}}
    return gateway.client.post("/v1/jobs", json=body, headers=headers)


def content(gateway: GatewayProcess, headers: dict[str, str], url: str) -> bytes:
    """Return the source of a job of an upload."""
    answer = job(gateway, headers, url)
    assert answer.status_code == 202, answer.text
    key = gateway.job(answer.json()["id"])["spec"]["source"]["uri"].removeprefix("s3://steno/")
    return gateway.s3.client.get_object(Bucket="steno", Key=key)["Body"].read()


def left(gateway: GatewayProcess, url: str) -> list[str]:
    """Return what there is of an upload: objects, and multipart uploads."""
    name, bucket = url.rpartition("/")[2], gateway.s3.client
    begun = bucket.list_multipart_uploads(Bucket="steno", Prefix=f"uploads/{gateway.namespace}/").get("Uploads", [])
    return [key for key in [*gateway.s3.keys("steno"), *(each["Key"] for each in begun)] if name in key]


@pytest.mark.parametrize("chunk", [700_001, 3 * MIB, PART, 7 * MIB, MAX_BYTES])
def test_a_client_uploads_a_file_in_pieces_and_it_becomes_a_job(gateway: GatewayProcess, headers, chunk: int):
    upload = uploader(gateway, headers, DATA, chunk_size=chunk, metadata={"filename": "talk.wav"})
    upload.upload()
    assert content(gateway, headers, upload.url) == DATA
    assert [key for key in left(gateway, upload.url) if "tail-" in key] == []
    answer = gateway.client.head(upload.url, headers={**headers, **TUS})
    assert answer.headers["upload-metadata"] == f"filename {base64.b64encode(b'talk.wav').decode()}"
    assert (answer.headers["upload-offset"], answer.headers["upload-length"]) == (str(len(DATA)),) * 2
    assert answer.headers["upload-expires"].endswith(" GMT")


def test_another_replica_goes_on_where_one_was_lost(apiserver: ApiServer, s3: S3Server, tmp_path: Path):
    namespace = apiserver.namespace()
    with (
        serving(apiserver, s3, tmp_path / "one", namespace) as lost,
        serving(apiserver, s3, tmp_path / "two", namespace) as other,
    ):
        headers = bearer(lost.key().key)
        until(lambda: other.client.get("/v1/jobs", headers=headers).status_code, lambda status: status == 200)
        url = create(lost, headers, len(DATA))
        append(lost, headers, url, 0, DATA[:1000])
        stopped = threading.Event()

        def slowly() -> Iterator[bytes]:
            yield DATA[1000 : 7 * MIB]
            stopped.wait(60)

        def send() -> None:
            with suppress(httpx.TransportError):
                more = {**headers, **CHUNK, "Upload-Offset": "1000"}
                lost.client.patch(url, headers=more, content=slowly())

        thread = threading.Thread(target=send)
        thread.start()
        try:
            until(lambda: offset(other, headers, url), lambda found: found == PART)
            lost.kill()
        finally:
            stopped.set()
            thread.join()
        assert offset(other, headers, url) == PART
        rest = uploader(other, headers, DATA, chunk_size=4 * MIB, url=f"{other.client.base_url}{url}")
        rest.upload()
        assert content(other, headers, url) == DATA


def test_what_came_before_a_connection_broke_is_kept(gateway: GatewayProcess, headers):
    url = create(gateway, headers, len(DATA))
    sent = {**headers, **CHUNK, "Upload-Offset": "0", "Content-Length": str(len(DATA)), "Host": "gateway"}
    lines = [f"PATCH {url} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    with socket.create_connection((gateway.client.base_url.host, gateway.client.base_url.port)) as broken:
        broken.sendall("\r\n".join(lines).encode() + DATA[: 9 * MIB])
    # The server drops what it has not handed on when it notices, which is less than 1 MiB.
    kept = until(lambda: offset(gateway, headers, url), lambda found: found > PART)
    assert 8 * MIB < kept <= 9 * MIB
    assert append(gateway, headers, url, kept, DATA[kept:]).headers["upload-offset"] == str(len(DATA))
    assert content(gateway, headers, url) == DATA


def test_a_request_that_is_at_another_place_is_told_so(gateway: GatewayProcess, headers):
    url = create(gateway, headers, 1000)
    assert append(gateway, headers, url, 0, b"a" * 10).status_code == 204
    for wrong in (0, 9, 11, 1000):
        answer = append(gateway, headers, url, wrong, b"b")
        assert (answer.status_code, answer.json()["code"]) == (409, "UploadOffsetMismatch")
    assert "10 bytes" in answer.json()["detail"]
    assert offset(gateway, headers, url) == 10


def test_an_upload_is_its_own_tenants_alone(gateway: GatewayProcess, headers):
    url = create(gateway, headers, 10)
    stranger = bearer(gateway.key(tenant="other").key)
    assert gateway.client.head(url, headers={**stranger, **TUS}).status_code == 404
    for answer in (
        append(gateway, stranger, url, 0, b"a"),
        gateway.client.delete(url, headers={**stranger, **TUS}),
        gateway.client.patch(f"{PATH}/up-aaaaaaaaaaaaaaaa", headers={**headers, **CHUNK, "Upload-Offset": "0"}),
        gateway.client.delete(f"{PATH}/kept", headers={**headers, **TUS}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "SourceNotFound")
    assert append(gateway, bearer(gateway.key().key), url, 0, b"a" * 10).status_code == 204, "keys are replaced"
    assert job(gateway, stranger, url).json()["code"] == "SourceNotFound"
    assert content(gateway, headers, url) == b"a" * 10


def test_an_upload_that_is_not_complete_is_no_source(gateway: GatewayProcess, headers):
    url = create(gateway, headers, 10)
    append(gateway, headers, url, 0, b"a" * 9)
    assert job(gateway, headers, url).json()["code"] == "SourceNotFound"


def test_too_many_bytes(gateway: GatewayProcess, headers):
    said = gateway.client.post(PATH, headers={**headers, **TUS, "Upload-Length": str(MAX_BYTES + 1)})
    assert (said.status_code, said.json()["code"]) == (413, "TooLarge")
    url = create(gateway, headers, 10)
    more = append(gateway, headers, url, 0, b"a" * 11)
    assert (more.status_code, more.json()["code"]) == (413, "TooLarge")


def test_an_empty_file(gateway: GatewayProcess, headers):
    url = create(gateway, headers, 0)
    assert offset(gateway, headers, url) == 0
    assert content(gateway, headers, url) == b""


def test_one_whose_replica_was_lost_before_its_last_step_is_completed_when_its_client_asks(
    gateway: GatewayProcess, headers
):
    url = create(gateway, headers, 4)
    (key,) = (key for key in left(gateway, url) if key.startswith("uploads/"))
    begun = gateway.s3.client.list_multipart_uploads(Bucket="steno", Prefix=key)["Uploads"]
    multipart = next(each["UploadId"] for each in begun if each["Key"] == key)
    gateway.s3.client.upload_part(Bucket="steno", Key=key, UploadId=multipart, PartNumber=1, Body=b"RIFF")
    assert offset(gateway, headers, url) == 4
    assert content(gateway, headers, url) == b"RIFF"


@pytest.mark.parametrize("came", [0, 3, 10])
def test_a_deleted_upload_leaves_nothing(gateway: GatewayProcess, headers, came: int):
    url = create(gateway, headers, 10)
    if came:
        append(gateway, headers, url, 0, b"a" * came)
    assert left(gateway, url)
    # As a client asks behind a proxy that refuses the method.
    override = {"X-HTTP-Method-Override": "DELETE"}
    assert gateway.client.post(url, headers={**headers, **TUS, **override}).status_code == 204
    assert left(gateway, url) == []
    assert gateway.client.head(url, headers={**headers, **TUS}).status_code == 404


def test_an_upload_expires(apiserver: ApiServer, s3: S3Server, tmp_path: Path):
    with serving(apiserver, s3, tmp_path / "one", apiserver.namespace(), resumableUploadSeconds=3) as gateway:
        headers = bearer(gateway.key().key)
        url = create(gateway, headers, PART + 10)
        append(gateway, headers, url, 0, b"a" * (PART + 1))
        until(lambda: gateway.client.head(url, headers={**headers, **TUS}).status_code, lambda status: status == 404)
        until(lambda: left(gateway, url), lambda found: not found)


def test_the_scanner_reads_it_when_the_job_is_created(
    apiserver: ApiServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("scanned")
    with (
        clamd(tmp_path_factory.mktemp("clamd"), max_bytes=300_000) as address,
        serving(apiserver, s3, folder, apiserver.namespace(), clamd=address) as gateway,
    ):
        headers = bearer(gateway.key().key)
        for data, status in ((EICAR, 422), (b"clean", 202)):
            url = create(gateway, headers, len(data))
            assert append(gateway, headers, url, 0, data).status_code == 204
            assert job(gateway, headers, url).status_code == status


def test_what_is_served_is_said_without_a_key(gateway: GatewayProcess):
    answer = gateway.client.options(PATH)
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-extension"] == "creation,expiration,termination"
    assert answer.headers["tus-max-size"] == str(MAX_BYTES)


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"Tus-Resumable": "0.2.2", "Upload-Length": "1"}, 412, "TusVersionUnsupported"),
        ({"Tus-Resumable": "", "Upload-Length": "1"}, 412, "TusVersionUnsupported"),
        ({}, 400, "InvalidRequest"),
        ({"Upload-Length": "-1"}, 400, "InvalidRequest"),
        ({"Upload-Length": "1e3"}, 400, "InvalidRequest"),
        ({"Upload-Length": "9" * 30}, 400, "InvalidRequest"),
        ({"Upload-Defer-Length": "1"}, 400, "NotSupported"),
        ({"Upload-Length": "1", "Upload-Metadata": "filename"}, 201, None),
        ({"Upload-Length": "1", "Upload-Metadata": "filename !"}, 400, "InvalidRequest"),
        ({"Upload-Length": "1", "Upload-Metadata": "a YQ==, a YQ=="}, 400, "InvalidRequest"),
        ({"Upload-Length": "1", "Upload-Metadata": f"a {'YWFh' * 1100}"}, 400, "InvalidRequest"),
    ],
)
def test_what_an_upload_is_created_with(
    gateway: GatewayProcess, headers, given: dict[str, str], status: int, code: str | None
):
    answer = gateway.client.post(PATH, headers={**headers, **TUS, **given})
    assert (answer.status_code, answer.json()["code"] if code else None) == (status, code)
    assert (answer.headers["tus-resumable"], answer.headers["tus-version"]) == ("1.0.0", "1.0.0")


def test_bytes_have_a_type(gateway: GatewayProcess, headers):
    url = create(gateway, headers, 10)
    wrong = {**headers, **TUS, "Upload-Offset": "0", "Content-Type": "application/octet-stream"}
    answer = gateway.client.patch(url, headers=wrong, content=b"a")
    assert (answer.status_code, answer.json()["code"]) == (415, "ContentTypeUnsupported")


def test_uploads_need_a_key_that_is_for_jobs(gateway: GatewayProcess):
    assert gateway.client.post(PATH, headers={**TUS, "Upload-Length": "1"}).status_code == 401
    live = bearer(gateway.key(scopes=frozenset({Scope.STREAM})).key)
    refused = gateway.client.post(PATH, headers={**live, **TUS, "Upload-Length": "1"})
    assert refused.json()["code"] == "ScopeMissing"
