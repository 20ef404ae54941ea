"""The original engines' REST, through a real gateway, API server and object store."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from steno_api.gateway.api_keys import ApiKeyLimits, Scope

from .conftest import HOUR, GatewayProcess, bearer, running, until, when_created

pytestmark = pytest.mark.apiserver

DOCUMENT = {"meeting_id": "meeting_123", "transcript": "안녕하세요", "segments": []}
FIELDS = {"meeting_id": "meeting_123", "tenant_id": "tenant_abc", "user_id": "user_xyz", "language": "ko"}


def test_an_upload_becomes_a_job_and_its_document_the_answer(gateway: GatewayProcess):
    key, staged = gateway.key().key, []

    def work(name: str) -> None:
        source = gateway.job(name)["spec"]["source"]["uri"].removeprefix("s3://steno/")
        staged.append(gateway.s3.client.get_object(Bucket="steno", Key=source)["Body"].read())
        gateway.finish(name, DOCUMENT)

    thread = when_created(gateway, work)
    audio = bytes(range(256)) * 2000
    answer = gateway.client.post("/stt/upload", headers=bearer(key), data=FIELDS, files={"file": ("회의 1.wav", audio)})
    thread.join()
    assert answer.status_code == 200, answer.text
    assert answer.json() == DOCUMENT
    job = gateway.job(answer.headers["x-job-id"])
    assert job["spec"]["meetingID"] == "meeting_123"
    assert job["spec"]["language"] == "ko"
    assert job["spec"]["metadata"] == {"tenant_id": "tenant_abc", "user_id": "user_xyz"}
    assert job["spec"]["model"] == {"name": "whisper-base", "computeType": "Auto", "batchSize": "Auto"}
    assert job["spec"]["tenantRef"] == {"name": "acme"}
    assert staged == [audio]


def test_asynchronously_a_job_is_found_by_its_id(gateway: GatewayProcess):
    key = gateway.key().key
    answer = gateway.client.post(
        "/stt/process?async=true", headers=bearer(key), json={"audio_url": "https://example.com/a.wav", **FIELDS}
    )
    assert answer.status_code == 202, answer.text
    url = answer.json()["status_url"]
    assert gateway.client.get(url, headers=bearer(key)).json()["status"] == "queued"
    gateway.finish(answer.json()["job_id"], DOCUMENT)
    state = until(
        lambda: gateway.client.get(url, headers=bearer(key)).json(), lambda each: each["status"] == "succeeded"
    )
    assert state["result"] == DOCUMENT


@pytest.mark.parametrize("value", ["1", "yes", "on", ""])
def test_asynchronously_is_true_or_false(gateway: GatewayProcess, value: str):
    key, before = gateway.key().key, len(gateway.jobs())
    form = {"headers": bearer(key), "files": {"file": ("a.wav", b"RIFF")}}
    answer = gateway.client.post(f"/stt/upload?async={value}", **form)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")
    assert len(gateway.jobs()) == before
    assert gateway.client.post("/stt/upload?async=True", **form).status_code == 202


def test_a_job_that_fails_says_why(gateway: GatewayProcess):
    key = gateway.key().key
    thread = when_created(
        gateway, lambda name: gateway.finish(name, reason="Encrypted", message="It has a password."), "ocrjobs"
    )
    answer = gateway.client.post("/ocr/process", headers=bearer(key), files={"file": ("a.pdf", b"%PDF-1.7")})
    thread.join()
    assert answer.status_code == 422
    assert answer.json()["code"] == "Encrypted"
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_same_request_with_an_idempotency_key_finds_its_job(gateway: GatewayProcess):
    headers = {**bearer(gateway.key().key), "Idempotency-Key": "order-7"}
    first, again, other = (
        gateway.client.post(
            "/stt/process?async=true", headers=headers, json={"audio_url": f"https://example.com/{name}"}
        )
        for name in ("a.wav", "a.wav", "b.wav")
    )
    assert first.json()["job_id"] == again.json()["job_id"]
    assert other.status_code == 422
    assert other.json()["code"] == "IdempotencyConflict"


def test_the_same_upload_again_leaves_the_first_alone(gateway: GatewayProcess):
    headers = {**bearer(gateway.key().key), "Idempotency-Key": "upload-7"}
    first, again, other = (
        gateway.client.post("/stt/upload?async=true", headers=headers, files={"file": ("a.wav", data)})
        for data in (b"RIFF one", b"RIFF one", b"RIFF two")
    )
    name = first.json()["job_id"]
    assert again.json()["job_id"] == name
    assert (other.status_code, other.json()["code"]) == (422, "IdempotencyConflict")
    (staged,) = gateway.s3.keys("steno", f"uploads/{gateway.namespace}/{name}/")
    assert gateway.job(name)["spec"]["source"]["uri"] == f"s3://steno/{staged}"


def test_without_a_valid_key_nothing_happens(gateway: GatewayProcess):
    made, before = gateway.key(expires=datetime.now(UTC) + HOUR), len(gateway.jobs())
    spoilt = made.key[:-1] + ("a" if made.key[-1] != "a" else "b")
    for key, code in (("", "KeyMissing"), ("sk-other", "KeyInvalid"), (spoilt, "KeyInvalid")):
        headers = bearer(key) if key else {}
        answer = gateway.client.post("/stt/upload", headers=headers, files={"file": ("a.wav", b"RIFF")})
        assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert len(gateway.jobs()) == before


def test_a_revoked_key_is_void_within_seconds(gateway: GatewayProcess):
    made = gateway.key()
    assert gateway.client.get("/stt/status", headers=bearer(made.key)).status_code == 200
    begun = time.monotonic()
    gateway.revoke(made.record)
    until(lambda: gateway.client.get("/stt/status", headers=bearer(made.key)).status_code, lambda each: each == 401)
    assert time.monotonic() - begun < 5


def test_a_key_is_for_its_scopes(gateway: GatewayProcess):
    key = gateway.key(scopes=frozenset({Scope.OCR})).key
    answer = gateway.client.post("/stt/process", headers=bearer(key), json={"audio_url": "https://example.com/a.wav"})
    assert (answer.status_code, answer.json()["code"]) == (403, "ScopeMissing")


def test_a_key_has_a_rate(gateway: GatewayProcess):
    made = gateway.key(limits=ApiKeyLimits(requests_per_minute=3))
    answers = [gateway.client.get("/stt/status", headers=bearer(made.key)) for _ in range(4)]
    refused = answers[-1]
    assert refused.status_code == 429
    assert refused.json()["code"] == "RateLimited"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert answers[0].headers["ratelimit-limit"] == "3"


def test_another_tenants_job_does_not_exist(gateway: GatewayProcess):
    mine, theirs = gateway.key().key, gateway.key(namespace=gateway.apiserver.namespace()).key
    body = {"audio_url": "https://example.com/a.wav"}
    job_id = gateway.client.post("/stt/process?async=true", headers=bearer(mine), json=body).json()["job_id"]
    answer = gateway.client.get(f"/status/{job_id}", headers=bearer(theirs))
    assert (answer.status_code, answer.json()["code"]) == (404, "JobNotFound")


def test_the_job_of_another_tenant_of_the_namespace_does_not_exist(gateway: GatewayProcess):
    body = {"audio_url": "https://example.com/a.wav"}
    answer = gateway.client.post("/stt/process?async=true", headers=bearer(gateway.key().key), json=body)
    theirs = gateway.key(tenant="other").key
    answer = gateway.client.get(answer.json()["status_url"], headers=bearer(theirs))
    assert (answer.status_code, answer.json()["code"]) == (404, "JobNotFound")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("pvc://recordings/a.wav", (400, "InvalidRequest")),
        ("s3://steno/uploads/team-b/stt-7/x/a.wav", (403, "SourceNotAllowed")),
    ],
)
def test_a_source_is_neither_a_claim_nor_what_others_have_staged(
    gateway: GatewayProcess, source: str, expected: tuple[int, str]
):
    key, before = gateway.key().key, len(gateway.jobs())
    answer = gateway.client.post("/stt/process?async=true", headers=bearer(key), json={"audio_url": source})
    assert (answer.status_code, answer.json()["code"]) == expected
    answer = gateway.client.post("/ocr/process?async=true", headers=bearer(key), json={"document_url": source})
    assert (answer.status_code, answer.json()["code"]) == expected
    assert len(gateway.jobs()) == before


@pytest.mark.parametrize(
    ("send", "code"),
    [
        ({"files": {"file": ("a.wav", b"x" * 2_100_000)}}, "TooLarge"),
        ({"files": {"other": ("a.wav", b"x")}}, "InvalidRequest"),
        (
            {
                "content": b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF',
                "headers": {"content-type": "multipart/form-data; boundary=x"},
            },
            "InvalidRequest",
        ),
        ({"files": {"file": ("a.wav", b"x")}, "data": {"language": "klingon!"}}, "InvalidRequest"),
        ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "InvalidRequest"),
        ({"content": b"", "headers": {"content-type": "text/plain"}}, "InvalidRequest"),
    ],
)
def test_bad_input_costs_nothing(gateway: GatewayProcess, send: dict[str, Any], code: str):
    before = len(gateway.jobs()), gateway.s3.keys("steno", "uploads/")
    headers = {**bearer(gateway.key().key), **send.pop("headers", {})}
    answer = gateway.client.post("/stt/upload", headers=headers, **send)
    assert (answer.status_code // 100, answer.json()["code"]) == (4, code)
    assert (len(gateway.jobs()), gateway.s3.keys("steno", "uploads/")) == before


def test_an_upload_is_deleted_once_its_job_has_ended(gateway: GatewayProcess):
    key = gateway.key().key
    answer = gateway.client.post("/ocr/process?async=true", headers=bearer(key), files={"file": ("a.png", b"\x89PNG")})
    name = answer.json()["job_id"]
    assert len(gateway.s3.keys("steno", f"uploads/{gateway.namespace}/{name}/")) == 1
    gateway.finish(name, DOCUMENT)
    until(lambda: gateway.s3.keys("steno", f"uploads/{gateway.namespace}/{name}/"), lambda keys: not keys)


def test_a_refused_form_leaves_no_upload(gateway: GatewayProcess):
    key, before = gateway.key().key, gateway.s3.keys("steno", "uploads/")
    form = {"files": {"file": ("a.wav", b"RIFF")}, "data": {"language": "klingon!"}}
    assert gateway.client.post("/stt/upload", headers=bearer(key), **form).status_code == 400
    assert gateway.s3.keys("steno", "uploads/") == before


def test_the_job_of_a_client_that_went_away_is_deleted(gateway: GatewayProcess):
    key, known = gateway.key().key, len(gateway.jobs())
    with pytest.raises(httpx.ReadTimeout):
        gateway.client.post(
            "/stt/process", headers=bearer(key), json={"audio_url": "https://example.com/gone.wav"}, timeout=1.0
        )
    until(lambda: len(gateway.jobs()), lambda count: count == known)


def test_a_key_whose_namespace_is_gone_says_so(gateway: GatewayProcess):
    key = gateway.key(namespace="nowhere").key
    answer = gateway.client.post("/stt/process", headers=bearer(key), json={"audio_url": "https://example.com/a.wav"})
    assert (answer.status_code, answer.json()["code"]) == (403, "KeyNotUsable")


def test_another_replica_waits_for_a_job_that_it_did_not_create(gateway: GatewayProcess, tmp_path: Path):
    headers = {**bearer(gateway.key().key), "Idempotency-Key": "again"}
    form = {"files": {"file": ("a.wav", b"RIFF" * 250_000)}}
    name = gateway.client.post("/stt/upload?async=true", headers=headers, **form).json()["job_id"]
    with running(gateway.apiserver, gateway.s3, tmp_path, gateway.namespace) as other:
        later = threading.Timer(2.0, gateway.finish, (name, DOCUMENT))
        later.start()
        answer = other.client.post("/stt/upload", headers=headers, **form)
        later.join()
    assert answer.status_code == 200, answer.text
    assert answer.json() == DOCUMENT


def test_each_request_is_one_line_of_the_audit_log(gateway: GatewayProcess):
    made = gateway.key()
    form = {"files": {"file": ("secret-name.wav", b"RIFF")}, "data": {"meeting_id": "secret-meeting"}}
    name = gateway.client.post("/stt/upload?async=true&x=secret", headers=bearer(made.key), **form).json()["job_id"]
    gateway.client.get("/secret-path", headers=bearer("secret-key"))
    lines = until(
        lambda: [json.loads(line) for line in gateway.log.read_text().splitlines() if '"message": "request"' in line],
        lambda found: bool(found) and found[-1]["route"] == "other",
    )
    upload = next(each for each in reversed(lines) if each["route"] == "/stt/upload")
    assert (upload["api_key"], upload["tenant"], upload["status"]) == (made.record.id, "acme", 202)
    assert (upload["method"], upload["job"], upload["client"]) == ("POST", name, "127.0.0.1")
    assert (lines[-1]["status"], "api_key" in lines[-1]) == (404, False)
    assert "secret" not in gateway.log.read_text()


def test_a_key_in_the_url_of_a_websocket_is_in_no_log(gateway: GatewayProcess):
    url = f"ws://{gateway.client.base_url.netloc.decode()}/stt/realtime?api_key=secret-key"
    with connect(url, proxy=None) as socket:
        assert json.loads(socket.recv(timeout=60))["code"] == "KeyInvalid"
    until(lambda: '"route": "/stt/realtime"' in gateway.log.read_text(), bool)
    assert "secret-key" not in gateway.log.read_text()


@pytest.mark.parametrize("value", ["maybe", "1", "null", "[]"])
def test_async_is_true_or_false(gateway: GatewayProcess, value: str):
    headers, before = bearer(gateway.key().key), len(gateway.jobs())
    for send in ({"files": {"file": ("a.wav", b"RIFF")}}, {"json": {"audio_url": "https://example.com/a.wav"}}):
        path = "/stt/upload" if "files" in send else "/stt/process"
        answer = gateway.client.post(path, params={"async": value}, headers=headers, **send)
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")
    assert len(gateway.jobs()) == before
