"""REST over real sockets: who may ask, what is refused before it is read, jobs and their results."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from runtime.tests.conftest import S3, Web, reply
from steno_runtime.errors import Stopped
from steno_runtime.serve import jobs, rest_stt, uploads
from steno_runtime.serve.openapi import JobState, Problem, Queued
from steno_runtime.stt.pipeline import Options, Result

from .conftest import Operator, Running, Serve, until
from .test_websocket import tokens


class Pipeline:
    """Stands where the pipeline is called: what it does is tested with real models in `test_process`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.lengths: list[int] = []
        self.options: list[Options] = []
        self.stopped = 0

    def __call__(self, samples, options, *, check, **_) -> Result:
        self.lengths.append(len(samples))
        self.options.append(options)
        while not self.go.wait(0.02):
            try:
                check()
            except Stopped:
                self.stopped += 1
                raise
        return Result((), options.language or "en", len(samples) / 16_000, 0.0, "cpu", options.model, False)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = Pipeline()
    monkeypatch.setattr(rest_stt, "transcribe", made)
    return made


def problem(response: httpx.Response) -> tuple[int, str]:
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == response.status_code
    assert document["title"]
    assert document["detail"].endswith((".", "…"))
    return response.status_code, document["code"]


def scratch(server: Running) -> list[Path]:
    return [path for path in Path(server.task.scratch_dir).rglob("*") if path.is_file()]


async def test_an_upload_answers_with_the_original_document(serve: Serve, operator: Operator, pipeline, sample_wav):
    server = await serve()
    async with server.client(operator.token()) as client:
        response = await client.post(
            "/stt/upload",
            files={"file": ("a.wav", sample_wav.read_bytes())},
            data={"meeting_id": "m-1", "tenant_id": "acme", "user_id": "u", "language": "ko"},
        )
    assert response.status_code == 200
    document = response.json()
    names = "meeting_id tenant_id transcript segments speakers confidence processing_time language total_segments"
    assert {*names.split(), "total_speakers", "has_diarization"} <= document.keys()
    assert (document["meeting_id"], document["tenant_id"], document["language"]) == ("m-1", "acme", "ko")
    assert document["duration"] == 30.0
    assert [path.name for path in scratch(server)] == ["transcript.json"]


async def test_speakers_are_told_apart_unless_they_need_not_be(
    serve: Serve, operator: Operator, pipeline, web: Web, sample_wav
):
    url = web.serve("/calls/a.wav", sample_wav.read_bytes())
    server = await serve(allowedSources=[f"{web.url}/calls"])
    files = {"file": ("a.wav", sample_wav.read_bytes())}

    def asked() -> tuple[bool, int | None, int | None]:
        options = pipeline.options[-1]
        return options.diarize, options.min_speakers, options.max_speakers

    async with server.client(operator.token()) as client:
        for fields, wanted in (
            ({}, (True, None, None)),
            ({"diarize": "false"}, (False, None, None)),
            ({"diarize": "true", "min_speakers": "2", "max_speakers": "3"}, (True, 2, 3)),
        ):
            assert (await client.post("/stt/upload", files=files, data=fields)).status_code == 200
            assert asked() == wanted
        for fields, wanted in (({}, (True, None, None)), ({"diarize": False, "max_speakers": 2}, (False, None, 2))):
            assert (await client.post("/stt/process", json={"audio_url": url, **fields})).status_code == 200
            assert asked() == wanted
        for wrong in ({"diarize": "maybe"}, {"max_speakers": "0"}, {"min_speakers": "3", "max_speakers": "2"}):
            response = await client.post("/stt/upload", files=files, data=wrong)
            assert problem(response) == (400, "InvalidRequest")
            assert "max_speakers" in response.json()["detail"] or "diarize" in response.json()["detail"]
        (Path(server.task.model_store) / "ge2e" / "pretrained.pt").unlink()
        response = await client.post("/stt/upload", files=files)
        assert problem(response) == (501, "ModelNotFound")
        assert "diarize=false" in response.json()["detail"]
        assert "ge2e/pretrained.pt" in response.json()["detail"]
        assert (await client.post("/stt/upload", files=files, data={"diarize": "0"})).status_code == 200


async def test_an_upload_may_be_asked_for_later(serve: Serve, operator: Operator, pipeline, sample_wav):
    server = await serve()
    pipeline.go.clear()
    token = operator.token()
    async with server.client(token) as client:
        files = {"file": ("a.wav", sample_wav.read_bytes())}
        response = await client.post("/stt/upload?async=true", files=files)
        assert response.status_code == 202
        told = response.json()
        assert told["status_url"] == f"/status/{told['job_id']}" == response.headers["location"]
        state = (await client.get(told["status_url"])).json()
        assert state["status"] in ("queued", "running")
        assert "result" not in state
        pipeline.go.set()
        while (state := (await client.get(told["status_url"])).json())["status"] != "succeeded":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert state["progress"] == 1.0
        assert state["result"]["tenant_id"] == "acme"
    async with server.client(operator.token(tenant="rival")) as client:
        assert problem(await client.get(told["status_url"])) == (404, "JobNotFound")
    async with server.client(operator.token()) as client:  # another session of the tenant
        assert (await client.get(told["status_url"])).status_code == 200
        assert problem(await client.get("/status/none")) == (404, "JobNotFound")


@pytest.mark.parametrize("bad", ["expired", "alg=none", "another pool", "missing"])
async def test_bad_tokens_are_refused_before_the_body_is_read(serve: Serve, operator: Operator, bad: str):
    server = await serve()
    token, code, _ = (tokens(operator) | {"missing": (None, "TokenMissing", 401)})[bad]
    async with server.client(token) as client:
        for method, path in (
            ("GET", "/stt/status"), ("GET", "/status/x"), ("POST", "/stt/process"), ("POST", "/ocr/process"),
        ):  # fmt: skip
            response = await client.request(method, path)
            assert problem(response) == (401, code)
            assert response.headers["www-authenticate"] == "Bearer"

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)

        response = await client.post("/stt/upload", content=b"x" * 1_000_000, headers=FORM)
        assert problem(response) == (401, code)
        try:
            response = await client.post("/stt/upload", content=endless(), headers=FORM)
        except httpx.NetworkError:  # the answer came and the connection was closed while it was still sending
            response = None
        assert response is None or problem(response) == (401, code)


async def test_open_to_all(serve: Serve):
    server = await serve()
    async with server.client() as client:
        health = (await client.get("/health")).json()
        assert (health["status"], health["model_loaded"], health["engine"]) == ("ok", True, "whisper-base (cpu)")
        assert health["version"]
        assert (await client.get("/livez")).status_code == (await client.get("/readyz")).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert "steno_server_ready 1.0" in metrics
        assert 'steno_server_jobs{status="queued"} 0.0' in metrics
        for name in ("steno_stream_windows_total", "steno_stream_queue_seconds", "steno_stream_sessions"):
            assert f"\n# HELP {name} " in metrics
        assert "\nsteno_stream_audio_seconds_total " in metrics
        assert problem(await client.get("/nothing")) == (404, "NotFound")
        assert problem(await client.get("/stt/upload")) == (405, "MethodNotAllowed")
        assert problem(await client.get("/stt/realtime")) == (404, "NotFound")


async def test_status(serve: Serve, operator: Operator):
    server = await serve(maxSessions=3)
    async with server.client(operator.token()) as client:
        status = (await client.get("/stt/status")).json()
    assert (status["sessions"], status["limits"]["max_sessions"], status["ready"]) == (0, 3, True)
    assert status["queue_depth"] == {"final": 0}


async def test_without_keys_everybody_may(serve: Serve, pipeline, sample_wav):
    server = await serve(tokenKeys=[])
    async with server.client() as client:
        files = {"file": ("a.wav", sample_wav.read_bytes())}
        response = await client.post("/stt/upload", files=files, data={"tenant_id": "mine"})
        assert response.json()["tenant_id"] == "mine"


@pytest.mark.parametrize("path", ["/stt/upload", "/ocr/process"])
async def test_forms_that_are_none(serve: Serve, operator: Operator, pipeline, path: str):
    server = await serve()
    async with server.client(operator.token()) as client:
        form = {"Content-Type": "multipart/form-data; boundary=x"}
        for content, headers in (
            (b"", {}),
            (b"abc", {"Content-Type": "text/plain"}),
            (b"garbage", {"Content-Type": "multipart/form-data"}),
            (b"garbage", form),
            (b"--x\r\n\r\n", form),
            (b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\nabc\r\n--x--\r\n", form),
        ):
            assert problem(await client.post(path, content=content, headers=headers)) == (400, "InvalidRequest")
        two = [("file", ("a", b"a")), ("file", ("b", b"b"))]
        assert problem(await client.post(path, files=two)) == (400, "InvalidRequest")
        long = {"meeting_id": "x" * 100_000}
        assert problem(await client.post(path, files={"file": ("a", b"a")}, data=long)) == (400, "InvalidRequest")
        other = {"tenant_id": "rival"}
        assert problem(await client.post(path, files={"file": ("a", b"a")}, data=other)) == (403, "TenantMismatch")
    assert scratch(server) == []


async def test_uploads_that_are_too_large(serve: Serve, operator: Operator, pipeline, monkeypatch, sample_wav):
    monkeypatch.setattr(uploads, "MAX_UPLOAD_BYTES", 200_000)
    monkeypatch.setattr(uploads, "MAX_FIELDS_BYTES", 10_000)
    server = await serve()
    async with server.client(operator.token()) as client:
        announced = await client.post("/stt/upload", files={"file": ("a.wav", sample_wav.read_bytes())})
        assert problem(announced) == (413, "TooLarge")

        async def chunked() -> AsyncIterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            for _ in range(100):
                yield b"x" * 3_000
                await asyncio.sleep(0)
            yield b"\r\n--x--\r\n"

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert problem(await client.post("/stt/upload", content=chunked(), headers=headers)) == (413, "TooLarge")
        exact = await client.post("/stt/upload", files={"file": ("a.wav", b"x" * 200_001)})
        assert problem(exact) == (413, "TooLarge")
    assert scratch(server) == []
    assert pipeline.lengths == []


async def test_recordings_that_are_too_long(serve: Serve, operator: Operator, pipeline, monkeypatch, media):
    monkeypatch.setattr(rest_stt, "MAX_SECONDS", 29.0)
    server = await serve()
    async with server.client(operator.token()) as client:
        for kind in ("wav", "ogg"):
            response = await client.post("/stt/upload", files={"file": (f"a.{kind}", media[kind].read_bytes())})
            assert problem(response) == (413, "TooLarge")
    assert pipeline.lengths == []


async def test_media_that_is_none(serve: Serve, operator: Operator, pipeline):
    server = await serve()
    async with server.client(operator.token()) as client:
        for data in (b"", b"abc", b"RIFF" + bytes(100)):
            response = await client.post("/stt/upload", files={"file": ("a.wav", data)})
            assert problem(response) == (422, "UnsupportedMedia")
        files = {"file": ("a.wav", b"x")}
        response = await client.post("/stt/upload", files=files, data={"language": "xx"})
        assert problem(response) == (400, "LanguageUnknown")
    assert scratch(server) == []


async def test_a_queue_that_is_full(serve: Serve, operator: Operator, pipeline, monkeypatch, sample_wav):
    monkeypatch.setattr(jobs, "MOST_WAITING", 2)
    pipeline.go.clear()
    server = await serve()
    files = {"file": ("a.wav", sample_wav.read_bytes())}
    async with server.client(operator.token()) as client:
        first = (await client.post("/stt/upload?async=1", files=files)).json()
        while (await client.get(first["status_url"])).json()["status"] != "running":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for _ in range(2):
            assert (await client.post("/stt/upload?async=1", files=files)).status_code == 202
        response = await client.post("/stt/upload?async=1", files=files)
        assert problem(response) == (429, "QueueFull")
        assert int(response.headers["retry-after"]) > 0
        pipeline.go.set()


class Upload:
    """A form that is sent by hand: its file begins, and goes on when we say so."""

    def __init__(self) -> None:
        self.rest = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
        await self.rest.wait()
        yield b"\r\n--x--\r\n"


FORM = {"Content-Type": "multipart/form-data; boundary=x"}


async def test_uploads_on_their_way_take_places(serve: Serve, operator: Operator, pipeline, monkeypatch, sample_wav):
    monkeypatch.setattr(jobs, "MOST_WAITING", 2)
    server = await serve()
    scratch_dir = Path(server.task.scratch_dir) / "jobs"
    async with server.client(operator.token()) as client:
        uploads = [Upload(), Upload()]
        coming = [asyncio.create_task(client.post("/stt/upload", content=each, headers=FORM)) for each in uploads]
        await until(lambda: scratch_dir.exists() and len(list(scratch_dir.iterdir())) == 2)
        files = {"file": ("a.wav", sample_wav.read_bytes())}
        assert problem(await client.post("/stt/upload", files=files)) == (429, "QueueFull")
        assert problem(await client.post("/ocr/process", files=files)) == (429, "QueueFull")
        coming[0].cancel()  # whoever hangs up frees a place
        await until(lambda: len(list(scratch_dir.iterdir())) == 1)
        assert (await client.post("/stt/upload", files=files)).status_code == 200
        uploads[1].rest.set()
        assert problem(await coming[1]) == (422, "UnsupportedMedia")


@pytest.mark.parametrize("path", ["/stt/upload", "/stt/process", "/ocr/process"])
async def test_a_body_that_does_not_come(serve: Serve, operator: Operator, monkeypatch, path: str):
    monkeypatch.setattr(uploads, "RECEIVE_SECONDS", 0.2)
    server = await serve()
    kind = "application/json" if path == "/stt/process" else FORM["Content-Type"]
    head = f"Host: x\r\nAuthorization: Bearer {operator.token()}\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n--x\r\n".encode())
    async with asyncio.timeout(10):
        told = (await reader.read()).decode()  # until the server hangs up
    writer.close()
    assert told.startswith("HTTP/1.1 408 ")
    assert '"code":"UploadTimeout"' in told
    assert scratch(server) == []


async def test_results_are_kept_only_so_long(serve: Serve, operator: Operator, pipeline, monkeypatch, sample_wav):
    monkeypatch.setattr(jobs, "MOST_KEPT", 2)
    server = await serve()
    files = {"file": ("a.wav", sample_wav.read_bytes())}
    async with server.client(operator.token()) as client:
        for _ in range(4):
            assert (await client.post("/stt/upload", files=files)).status_code == 200
        assert len(scratch(server)) == 2
        monkeypatch.setattr(jobs, "KEEP_SECONDS", -1)
        await client.get("/status/none")
    assert scratch(server) == []


async def test_who_hangs_up_wants_no_result(serve: Serve, operator: Operator, pipeline, sample_wav):
    pipeline.go.clear()
    server = await serve()
    async with server.client(operator.token()) as client:
        asking = asyncio.create_task(client.post("/stt/upload", files={"file": ("a.wav", sample_wav.read_bytes())}))
        await until(lambda: pipeline.lengths)
        asking.cancel()
    await until(lambda: not scratch(server))
    assert pipeline.stopped == 1


async def test_draining_refuses_and_stops_jobs(serve: Serve, operator: Operator, pipeline, sample_wav):
    pipeline.go.clear()
    server = await serve(drainSeconds=1)
    files = {"file": ("a.wav", sample_wav.read_bytes())}
    async with server.client(operator.token()) as client:
        asking = asyncio.create_task(client.post("/stt/upload", files=files))
        await until(lambda: pipeline.lengths)
        server.server.stop()
        await until(lambda: server.server.registry.draining)
        assert problem(await client.post("/stt/upload", files=files)) == (503, "Draining")
        assert problem(await asking) == (503, "Draining")
    await asyncio.wait_for(server.running, 10)


async def test_a_url_is_fetched_if_it_is_allowed(serve: Serve, operator: Operator, pipeline, web: Web, sample_wav):
    allowed = web.serve("/calls/a.wav", sample_wav.read_bytes())
    web.serve("/secret/a.wav", sample_wav.read_bytes())
    web.routes["/calls/away"] = reply(302, Location=f"{web.url}/secret/a.wav")
    web.routes["/calls/dots"] = reply(302, Location="/calls/../secret/a.wav")
    web.routes["/calls/near"] = reply(307, Location="/calls/a.wav")
    server = await serve(allowedSources=[f"{web.url}/calls"])
    async with server.client(operator.token()) as client:
        for url in (allowed, f"{web.url}/calls/near"):
            response = await client.post(
                "/stt/process", json={"audio_url": url, "meeting_id": "m", "tenant_id": "acme"}
            )
            assert (response.status_code, response.json()["meeting_id"]) == (200, "m")
        for url in (
            f"{web.url}/secret/a.wav",
            "/etc/passwd",
            f"{web.url}/calls/../secret/a.wav",
            "http://169.254.169.254/",
        ):
            response = await client.post("/stt/process", json={"audio_url": url})
            assert problem(response) == (403, "SourceNotAllowed")
        for name in ("away", "dots"):
            response = await client.post("/stt/process", json={"audio_url": f"{web.url}/calls/{name}"})
            assert problem(response) == (403, "SourceForbidden")
        response = await client.post("/stt/process", json={"audio_url": f"{web.url}/calls/none"})
        assert problem(response) == (404, "SourceNotFound")
        for url in (f"{web.url}/secret/a.wav", f"{web.url}/calls/away"):
            response = await client.post("/ocr/process", json={"document_url": url})
            assert problem(response)[0] == 403
    assert "/secret/a.wav" not in [path for path, _ in web.requests]


async def test_an_object_is_fetched_with_the_pools_credentials(  # noqa: PLR0917
    serve: Serve, operator: Operator, pipeline, s3: S3, sample_wav, tmp_path
):
    for key in ("calls/a.wav", "secret/a.wav", "callsign/a.wav"):
        s3.client.put_object(Bucket="meetings", Key=key, Body=sample_wav.read_bytes())
    place = {"endpointURL": s3.endpoint, "credentialsDir": s3.credentials(tmp_path / "secret")}
    server = await serve(allowedSources=["s3://meetings/calls"], output=place)
    async with server.client(operator.token()) as client:
        response = await client.post("/stt/process", json={"audio_url": "s3://meetings/calls/a.wav"})
        assert (response.status_code, response.json()["duration"]) == (200, 30.0)
        for url, refusal in (
            ("s3://meetings/secret/a.wav", (403, "SourceNotAllowed")),
            ("s3://meetings/callsign/a.wav", (403, "SourceNotAllowed")),
            ("s3://meetings/calls/../secret/a.wav", (403, "SourceNotAllowed")),
            ("s3://transcripts/calls/a.wav", (403, "SourceNotAllowed")),
            ("S3://meetings/calls/a.wav", (403, "SourceNotAllowed")),
            ("s3://meetings/calls/%2e%2e/secret/a.wav", (404, "SourceNotFound")),  # a key is no URL: nothing is decoded
            ("s3://meetings/calls/..%2fsecret/a.wav", (404, "SourceNotFound")),
            ("s3://meetings/calls/a.wav?versionId=1", (404, "SourceNotFound")),
            ("s3://meetings/calls", (404, "SourceNotFound")),
        ):
            for path, field in (("/stt/process", "audio_url"), ("/ocr/process", "document_url")):
                assert problem(await client.post(path, json={field: url})) == refusal, url
    assert len(pipeline.lengths) == 1


async def test_json_that_is_none(serve: Serve, operator: Operator):
    server = await serve()
    async with server.client(operator.token()) as client:
        headers = {"Content-Type": "application/json"}
        for path in ("/stt/process", "/ocr/process"):
            for content in (b"", b"[]", b"{", b"[" * 60_000, b"{}", b'{"audio_url": 7, "document_url": 7}', b"\xff"):
                response = await client.post(path, content=content, headers=headers)
                assert problem(response) == (400, "InvalidRequest"), content[:20]
            large = json.dumps({"audio_url": "x" * 70_000}).encode()
            assert problem(await client.post(path, content=large, headers=headers)) == (413, "TooLarge")
        wrong = {"document_url": "https://a/b", "engine": "magic"}
        assert problem(await client.post("/ocr/process", json=wrong)) == (400, "InvalidRequest")


async def test_the_token_of_a_session_that_ended(serve: Serve, operator: Operator):
    from .conftest import Talk

    server = await serve()
    token = operator.token()
    async with server.connect(token) as socket:
        talk = Talk(socket)
        await talk.start()
        await talk.end()
    async with server.client(token) as client:
        assert problem(await client.get("/stt/status")) == (409, "SessionEnded")


async def test_the_endpoints_describe_themselves(serve: Serve, operator: Operator, pipeline, sample_wav):
    server = await serve()
    async with httpx.AsyncClient(base_url=server.http) as client:
        told = (await client.get("/openapi.json")).json()
        refused = (await client.get("/stt/status")).json()
    assert {path: set(methods) for path, methods in told["paths"].items()} == {
        "/health": {"get"},
        "/stt/status": {"get"},
        "/status/{job_id}": {"get"},
        "/stt/upload": {"post"},
        "/stt/process": {"post"},
        "/ocr/process": {"post"},
    }
    assert told["paths"]["/stt/upload"]["post"]["security"] == [{"token": []}]
    assert "security" not in told["paths"]["/health"]["get"]
    bodies = {path: told["paths"][path]["post"]["requestBody"]["content"] for path in ("/stt/upload", "/ocr/process")}
    upload = bodies["/stt/upload"]["multipart/form-data"]["schema"]
    assert upload["required"] == ["file"]
    assert {"file", "language", "meeting_id", "tenant_id", "max_speakers"} <= upload["properties"].keys()
    assert upload["properties"]["diarize"]["default"] is True
    assert bodies["/ocr/process"]["multipart/form-data"]["schema"]["properties"]["languages"]["type"] == "string"
    assert bodies["/ocr/process"]["application/json"]["schema"]["properties"]["languages"]["type"] == "array"
    Problem.model_validate(refused, extra="forbid")
    async with server.client(operator.token()) as client:
        files = {"file": ("a.wav", sample_wav.read_bytes())}
        queued = (await client.post("/stt/upload?async=true", files=files)).json()
        Queued.model_validate(queued, extra="forbid")
        state = (await client.get(queued["status_url"])).json()
    JobState.model_validate(state, extra="forbid")
