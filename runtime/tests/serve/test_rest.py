"""REST over real sockets: who may ask, what servers tell of themselves, and what they fetch for clients."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from runtime.tests.conftest import S3, Web, reply
from steno_runtime.serve.transports.rest.openapi import JobState, Problem, Queued

from .conftest import StartServer, TokenIssuer
from .rest_support import FORM, problem
from .test_websocket import tokens


@pytest.mark.parametrize("bad", ["expired", "alg=none", "another pool", "missing"])
async def test_invalid_tokens_are_rejected_before_the_body_is_read(
    start_server: StartServer, issuer: TokenIssuer, bad: str
):
    server = await start_server()
    token, code, _ = (tokens(issuer) | {"missing": (None, "TokenMissing", 401)})[bad]
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


async def test_metrics_need_the_token_of_the_task(start_server: StartServer):
    digest = hashlib.sha256(b"t" * 40).hexdigest()
    server = await start_server(metricsTokenSHA256=digest)
    async with server.prober() as client:
        for path in ("/livez", "/readyz"):
            assert (await client.get(path)).status_code == 200
        for headers in ({}, {"Authorization": "Bearer another"}):
            refused = await client.get("/metrics", headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "steno_" not in refused.text
        answer = await client.get("/metrics", headers={"Authorization": f"Bearer {'t' * 40}"})
        assert "steno_server_ready 1.0" in answer.text


async def test_endpoints_without_tokens(start_server: StartServer):
    server = await start_server()
    async with server.client() as client:
        health = (await client.get("/health")).json()
        assert (health["status"], health["model_loaded"], health["engine"]) == ("ok", True, "whisper-base (cpu)")
        assert health["version"]
        for path in ("/livez", "/readyz", "/metrics"):
            assert problem(await client.get(path)) == (404, "NotFound")
        assert problem(await client.get("/nothing")) == (404, "NotFound")
        assert problem(await client.get("/stt/upload")) == (405, "MethodNotAllowed")
        assert problem(await client.get("/stt/realtime")) == (404, "NotFound")
    async with server.prober() as client:
        assert (await client.get("/livez")).status_code == (await client.get("/readyz")).status_code == 200
        for path in ("/stt/status", "/health", "/openapi.json"):
            assert problem(await client.get(path)) == (404, "NotFound")
        metrics = (await client.get("/metrics")).text
        assert "steno_server_ready 1.0" in metrics
        assert 'steno_server_jobs{status="queued"} 0.0' in metrics
        for name in ("steno_stream_windows_total", "steno_stream_queue_seconds", "steno_stream_sessions"):
            assert f"\n# HELP {name} " in metrics
        assert "\nsteno_stream_audio_seconds_total " in metrics


async def test_status(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server(maxSessions=3)
    async with server.client(issuer.token()) as client:
        status = (await client.get("/stt/status")).json()
    assert (status["sessions"], status["limits"]["max_sessions"], status["ready"]) == (0, 3, True)
    assert status["queue_depth"] == {"final": 0}


async def test_l9_without_keys_nobody_is_let_in_by_mistake(start_server: StartServer, sample_wav):
    server = await start_server(tokenKeys=[])
    async with server.client() as client:
        response = await client.post("/stt/upload", files={"file": ("a.wav", sample_wav.read_bytes())})
        assert response.status_code == 401


async def test_no_token_is_needed_where_clients_are_anonymous(start_server: StartServer, pipeline, sample_wav):
    server = await start_server(tokenKeys=[], anonymous=True)
    async with server.client() as client:
        files = {"file": ("a.wav", sample_wav.read_bytes())}
        response = await client.post("/stt/upload", files=files, data={"tenant_id": "mine"})
        assert response.json()["tenant_id"] == "mine"


async def test_only_allowed_urls_are_fetched(
    start_server: StartServer, issuer: TokenIssuer, pipeline, web: Web, sample_wav
):
    allowed = web.serve("/calls/a.wav", sample_wav.read_bytes())
    web.serve("/secret/a.wav", sample_wav.read_bytes())
    web.routes["/calls/away"] = reply(302, Location=f"{web.url}/secret/a.wav")
    web.routes["/calls/dots"] = reply(302, Location="/calls/../secret/a.wav")
    web.routes["/calls/near"] = reply(307, Location="/calls/a.wav")
    server = await start_server(allowedSources=[f"{web.url}/calls"])
    async with server.client(issuer.token()) as client:
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
    start_server: StartServer, issuer: TokenIssuer, pipeline, s3: S3, sample_wav, tmp_path
):
    for key in ("calls/a.wav", "secret/a.wav", "callsign/a.wav"):
        s3.client.put_object(Bucket="meetings", Key=key, Body=sample_wav.read_bytes())
    place = {"endpointURL": s3.endpoint, "credentialsDir": s3.credentials(tmp_path / "secret")}
    server = await start_server(allowedSources=["s3://meetings/calls"], output=place)
    async with server.client(issuer.token()) as client:
        response = await client.post("/stt/process", json={"audio_url": "s3://meetings/calls/a.wav"})
        assert (response.status_code, response.json()["duration"]) == (200, 30.0)
        for url, expected in (
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
                assert problem(await client.post(path, json={field: url})) == expected, url
    assert len(pipeline.lengths) == 1


async def test_invalid_json(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.client(issuer.token()) as client:
        headers = {"Content-Type": "application/json"}
        for path in ("/stt/process", "/ocr/process"):
            for content in (b"", b"[]", b"{", b"[" * 60_000, b"{}", b'{"audio_url": 7, "document_url": 7}', b"\xff"):
                response = await client.post(path, content=content, headers=headers)
                assert problem(response) == (400, "InvalidRequest"), content[:20]
            large = json.dumps({"audio_url": "x" * 70_000}).encode()
            assert problem(await client.post(path, content=large, headers=headers)) == (413, "TooLarge")
        wrong = {"document_url": "https://a/b", "engine": "magic"}
        assert problem(await client.post("/ocr/process", json=wrong)) == (400, "InvalidRequest")


async def test_the_token_of_an_ended_session(start_server: StartServer, issuer: TokenIssuer):
    from .conftest import WebSocketClient

    server = await start_server()
    token = issuer.token()
    async with server.connect(token) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await ws.end()
    async with server.client(token) as client:
        assert problem(await client.get("/stt/status")) == (409, "SessionEnded")


async def test_the_endpoints_describe_themselves(start_server: StartServer, issuer: TokenIssuer, pipeline, sample_wav):
    server = await start_server()
    async with httpx.AsyncClient(base_url=server.http) as client:
        document = (await client.get("/openapi.json")).json()
        rejected = (await client.get("/stt/status")).json()
    assert {path: set(methods) for path, methods in document["paths"].items()} == {
        "/health": {"get"},
        "/stt/status": {"get"},
        "/status/{job_id}": {"get"},
        "/stt/upload": {"post"},
        "/stt/process": {"post"},
        "/ocr/process": {"post"},
    }
    assert document["paths"]["/stt/upload"]["post"]["security"] == [{"token": []}]
    assert "security" not in document["paths"]["/health"]["get"]
    bodies = {
        path: document["paths"][path]["post"]["requestBody"]["content"] for path in ("/stt/upload", "/ocr/process")
    }
    upload = bodies["/stt/upload"]["multipart/form-data"]["schema"]
    assert upload["required"] == ["file"]
    assert {"file", "language", "meeting_id", "tenant_id", "max_speakers"} <= upload["properties"].keys()
    assert upload["properties"]["diarize"]["default"] is True
    assert bodies["/ocr/process"]["multipart/form-data"]["schema"]["properties"]["languages"]["type"] == "string"
    assert bodies["/ocr/process"]["application/json"]["schema"]["properties"]["languages"]["type"] == "array"
    Problem.model_validate(rejected, extra="forbid")
    async with server.client(issuer.token()) as client:
        files = {"file": ("a.wav", sample_wav.read_bytes())}
        queued = (await client.post("/stt/upload?async=true", files=files)).json()
        Queued.model_validate(queued, extra="forbid")
        state = (await client.get(queued["status_url"])).json()
    JobState.model_validate(state, extra="forbid")
