"""Jobs over HTTP: handed in, listed, followed, fetched and stopped, through a real gateway and API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from steno_api.gateway.api_keys import Scope

from .conftest import GatewayProcess, bearer, until

pytestmark = pytest.mark.apiserver

RECORDING = {"kind": "TranscriptionJob", "spec": {"source": {"uri": "https://example.com/a.wav"}}}
DOCUMENT = {"kind": "OCRJob", "spec": {"source": {"uri": "s3://scans/a.pdf"}}}


class Client:
    """A client with a key of its own tenant."""

    def __init__(self, gateway: GatewayProcess, **key: Any) -> None:
        self._gateway = gateway
        self._headers = bearer(gateway.key(**key).key)

    def send(self, method: str, path: str = "", **more: Any) -> httpx.Response:
        headers = self._headers | more.pop("headers", {})
        return self._gateway.client.request(method, f"/v1/jobs{path}", headers=headers, **more)

    def create(self, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        answer = self.send("POST", json=body, **more)
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
        return answer.json()


@pytest.fixture
def client(gateway: GatewayProcess) -> Client:
    return Client(gateway)


def events(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Read server-sent events."""
    kind = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


def test_a_job_of_a_url(gateway: GatewayProcess, client: Client):
    spec = {
        "source": {"uri": "https://example.com/a.wav"}, "language": "ko", "meetingID": "m-7", "metadata": {"case": "7"},
        "diarization": {"maxSpeakers": 3}, "output": {"formats": ["json", "srt"]}, "priority": -5,
    }  # fmt: skip
    made = client.create({"kind": "TranscriptionJob", "spec": spec})
    found = gateway.job(made["id"])["spec"]
    assert {name: found[name] for name in spec if name != "output"} == {
        name: value for name, value in spec.items() if name != "output"
    }
    assert found["output"] == {
        "uri": "s3://steno/results", "formats": ["json", "srt"], "secretRef": {"name": "steno-store"},
        "endpointURL": gateway.s3.endpoint,
    }  # fmt: skip
    assert (found["profileRef"], found["model"]["name"]) == ({"name": "cpu"}, "whisper-base")
    assert (made["kind"], made["status"], made["progress"]) == ("TranscriptionJob", "queued", 0.0)
    assert made["metadata"] == {"case": "7"}
    assert client.send("GET", f"/{made['id']}").json() == made


def test_a_job_of_a_file(gateway: GatewayProcess, client: Client):
    form = {"kind": "OCRJob", "spec": json.dumps({"pages": "1-3", "output": {"formats": ["pdf"]}})}
    answer = client.send("POST", data=form, files={"file": ("a.pdf", b"%PDF-1.7")})
    assert answer.status_code == 202, answer.text
    spec = gateway.job(answer.json()["id"])["spec"]
    key = spec["source"]["uri"].removeprefix("s3://steno/")
    assert gateway.s3.client.get_object(Bucket="steno", Key=key)["Body"].read() == b"%PDF-1.7"
    assert (spec["pages"], spec["output"]["formats"]) == ("1-3", ["pdf"])


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"profileRef": {"name": "gpu"}}, "spec.profileRef"),
        ({"tenantRef": {"name": "other"}}, "spec.tenantRef"),
        ({"model": {"name": "large-v3"}}, "spec.model"),
        ({"backoffLimit": 20}, "spec.backoffLimit"),
        ({"activeDeadlineSeconds": 1}, "spec.activeDeadlineSeconds"),
        ({"source": {"uri": "https://example.com/a", "secretRef": {"name": "x"}}}, "spec.source.secretRef"),
        ({"source": {"uri": "pvc://recordings/a.wav"}}, "spec.source.uri"),
        ({"source": {"uri": "https://example.com/a", "endpointURL": "http://10.0.0.1"}}, "spec.source.endpointURL"),
        ({"output": {"formats": ["json"], "uri": "s3://mine"}}, "spec.output.uri"),
        ({"diarization": {"tokenSecretRef": {"name": "x"}}}, "spec.diarization.tokenSecretRef"),
        ({"priority": 1}, "spec.priority"),
        ({"meeting_id": "m"}, "spec.meeting_id"),
        ({"language": "klingon!"}, "spec.language"),
    ],
)
def test_a_client_names_only_what_is_its_own(gateway: GatewayProcess, client: Client, spec: dict[str, Any], named: str):
    before = len(gateway.jobs())
    answer = client.send("POST", json={"kind": "TranscriptionJob", "spec": {**RECORDING["spec"], **spec}})
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")
    assert named in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(gateway.jobs()) == before


@pytest.mark.parametrize(
    "send",
    [
        {"json": {"kind": "Tenant", "spec": {}}},
        {"json": {"kind": "OCRJob"}},
        {"content": b"[]"},
        {"data": {"kind": "OCRJob", "spec": "{"}, "files": {"file": ("a.pdf", b"%PDF")}},
        {"data": {"kind": "OCRJob", "spec": '{"source": {"uri": "s3://a/b"}}'}, "files": {"file": ("a.pdf", b"%PDF")}},
        {"data": {"spec": "{}"}, "files": {"file": ("a.pdf", b"%PDF")}},
        {"json": RECORDING, "headers": {"Idempotency-Key": "k" * 256}},
    ],
)
def test_what_is_no_job_is_refused(gateway: GatewayProcess, client: Client, send: dict[str, Any]):
    before = gateway.s3.keys("steno", "uploads/")
    answer = client.send("POST", **send)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")
    assert gateway.s3.keys("steno", "uploads/") == before


def test_the_same_request_again_finds_its_job(client: Client):
    headers = {"Idempotency-Key": "order-8"}
    assert client.create(RECORDING, headers=headers)["id"] == client.create(RECORDING, headers=headers)["id"]
    other = {"kind": "TranscriptionJob", "spec": {"source": {"uri": "https://example.com/b.wav"}}}
    assert client.send("POST", json=other, headers=headers).json()["code"] == "IdempotencyConflict"
    empty = {"Idempotency-Key": ""}
    assert client.create(RECORDING, headers=empty)["id"] != client.create(RECORDING, headers=empty)["id"]


def test_pages_of_a_tenants_jobs_newest_first(gateway: GatewayProcess):
    client, other = Client(gateway, tenant="lists"), Client(gateway, tenant="lists-other")
    made = [client.create(RECORDING if number % 2 else DOCUMENT) for number in range(5)]
    theirs = other.create(RECORDING)
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = client.send("GET", params=query).json()
        found += page["jobs"]
        cursor = page.get("next")
        if cursor is None:
            break
        assert len(page["jobs"]) == 2
    assert found == sorted(made, key=lambda job: (job["created"], job["id"]), reverse=True)
    assert [job["id"] for job in other.send("GET").json()["jobs"]] == [theirs["id"]]
    documents = client.send("GET", params={"kind": "OCRJob"}).json()["jobs"]
    assert {job["id"] for job in documents} == {job["id"] for job in made if job["kind"] == "OCRJob"}
    assert client.send("GET", params={"status": "failed"}).json() == {"jobs": []}
    hearing = Client(gateway, tenant="lists", scopes=frozenset({Scope.STT}))
    assert {job["kind"] for job in hearing.send("GET").json()["jobs"]} == {"TranscriptionJob"}
    for query in ({"limit": 0}, {"limit": 101}, {"cursor": "%%%"}, {"cursor": "YQ"}, {"status": "odd"}, {"page": 2}):
        assert client.send("GET", params=query).status_code == 400, query


def test_another_tenants_job_is_not_there(gateway: GatewayProcess, client: Client):
    path = f"/{Client(gateway, tenant='other').create(RECORDING)['id']}"
    for method, address in (("GET", path), ("DELETE", path), ("GET", f"{path}/events"), ("GET", f"{path}/result")):
        answer = client.send(method, address)
        assert (answer.status_code, answer.json()["code"]) == (404, "JobNotFound")
    gateway.job(path[1:])


@pytest.mark.parametrize("name", ["stt-none", "stt-a%3Fwatch=true", "tenant-aaaaaaaaaaaaaaaa", "stt-AAAAAAAAAAAAAAAA"])
def test_what_is_no_id_is_not_asked_for(client: Client, name: str):
    answer = client.send("GET", f"/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "JobNotFound")


def test_events_until_the_job_has_ended(gateway: GatewayProcess, client: Client):
    name = client.create(RECORDING)["id"]
    with gateway.client.stream("GET", f"/v1/jobs/{name}/events", headers=client._headers) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        found = events(answer)
        assert next(found)[1]["status"] == "queued"
        gateway.progress(name, "Decoding", 40)
        kind, job = next(found)
        assert (kind, job["status"], job["stage"], job["progress"]) == ("job", "running", "Decoding", 0.4)
        gateway.finish(name, artifacts={"json": "{}", "srt": ""})
        last = list(found)
    assert [(kind, job["status"], job["formats"]) for kind, job in last] == [("job", "succeeded", ["json", "srt"])]


def test_events_end_with_an_error_when_the_job_is_deleted(gateway: GatewayProcess, client: Client):
    name = client.create(RECORDING)["id"]
    with gateway.client.stream("GET", f"/v1/jobs/{name}/events", headers=client._headers) as answer:
        found = events(answer)
        next(found)
        assert client.send("DELETE", f"/{name}").status_code == 204
        assert [(kind, problem["code"]) for kind, problem in found] == [("error", "JobNotFound")]
    until(lambda: client.send("GET", f"/{name}").status_code, lambda status: status == 404)


def test_results_by_format(gateway: GatewayProcess, client: Client):
    name = client.create(DOCUMENT)["id"]
    early = client.send("GET", f"/{name}/result")
    assert (early.status_code, early.json()["code"]) == (409, "JobNotEnded")
    published = {"json": '{"text": "가"}', "markdown": "# 가", "pdf": "%PDF-1.7"}
    gateway.finish(name, artifacts=published)
    until(lambda: client.send("GET", f"/{name}").json()["status"], lambda status: status == "succeeded")
    types = {"json": "application/json", "markdown": "text/markdown; charset=utf-8", "pdf": "application/pdf"}
    for form, text in published.items():
        answer = client.send("GET", f"/{name}/result", params={"format": form})
        assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, text, types[form])
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}.pdf"'
    assert client.send("GET", f"/{name}/result?format=txt").json()["code"] == "ResultNotFound"
    assert client.send("GET", f"/{name}/result?format=exe").json()["code"] == "InvalidRequest"
    for key in gateway.s3.keys("steno", f"results/{gateway.namespace}/{name}/"):
        gateway.s3.client.delete_object(Bucket="steno", Key=key)
    gone = client.send("GET", f"/{name}/result")
    assert (gone.status_code, gone.json()["code"]) == (404, "ResultNotFound")


def test_a_failed_job_says_why_everywhere(gateway: GatewayProcess, client: Client):
    name = client.create(DOCUMENT)["id"]
    gateway.finish(name, reason="Encrypted", message="It has a password.")
    job = until(lambda: client.send("GET", f"/{name}").json(), lambda each: each["status"] == "failed")
    assert job["error"] == {"code": "Encrypted", "message": "It has a password."}
    answer = client.send("GET", f"/{name}/result")
    assert (answer.status_code, answer.json()["code"]) == (422, "Encrypted")
