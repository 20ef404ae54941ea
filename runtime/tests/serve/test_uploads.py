"""Uploads over real sockets: what is rejected before it is read, the queue, jobs and their results."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from runtime.tests.conftest import Web
from steno_runtime.serve.uploads import body, job_queue, transcription

from .conftest import StartServer, TokenIssuer, wait_until
from .rest_support import FORM, problem, scratch_files


async def test_an_upload_answers_with_the_original_document(
    start_server: StartServer, issuer: TokenIssuer, pipeline, sample_wav
):
    server = await start_server()
    async with server.client(issuer.token()) as client:
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
    assert [path.name for path in scratch_files(server)] == ["transcript.json"]


async def test_a_document_with_more_pages_than_the_pool_reads(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server(maxDocumentPages=2)
    blank, data = Image.new("L", (200, 100), 255), io.BytesIO()
    blank.save(data, "TIFF", save_all=True, append_images=[blank, blank])
    files = {"file": ("scan.tiff", data.getvalue())}
    async with server.client(issuer.token()) as client:
        response = await client.post("/ocr/process", files=files)
        assert problem(response) == (413, "TooLarge")
        remedy = "3 pages are more than the 2 allowed; name fewer `pages`, or create an OCRJob."
        assert response.json()["detail"] == remedy
        fewer = await client.post("/ocr/process", files=files, data={"pages": "1-2"})
        assert (fewer.status_code, fewer.json()["total_pages"]) == (200, 2)


async def test_speakers_are_distinguished_by_default(
    start_server: StartServer, issuer: TokenIssuer, pipeline, web: Web, sample_wav
):
    url = web.serve("/calls/a.wav", sample_wav.read_bytes())
    server = await start_server(allowedSources=[f"{web.url}/calls"])
    files = {"file": ("a.wav", sample_wav.read_bytes())}

    def asked() -> tuple[bool, int | None, int | None]:
        options = pipeline.options[-1]
        return options.diarize, options.min_speakers, options.max_speakers

    async with server.client(issuer.token()) as client:
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


@pytest.mark.parametrize("value", ["1", "yes", "on", ""])
async def test_asynchronously_is_true_or_false(
    start_server: StartServer, issuer: TokenIssuer, pipeline, sample_wav, value
):
    pipeline.go.set()
    server = await start_server()
    files = {"file": ("a.wav", sample_wav.read_bytes())}
    async with server.client(issuer.token()) as client:
        answers = [
            await client.post(f"/stt/upload?async={value}", files=files),
            await client.post(f"/stt/process?async={value}", json={"audio_url": "https://example.com/a.wav"}),
            await client.post(f"/ocr/process?async={value}", files=files),
        ]
        assert [problem(answer) for answer in answers] == [(400, "InvalidRequest")] * 3
        assert scratch_files(server) == []
        assert (await client.post("/stt/upload?async=True", files=files)).status_code == 202
        assert (await client.post("/stt/upload?async=false", files=files)).status_code == 200


async def test_an_asynchronous_upload(start_server: StartServer, issuer: TokenIssuer, pipeline, sample_wav):
    server = await start_server()
    pipeline.go.clear()
    token = issuer.token()
    async with server.client(token) as client:
        files = {"file": ("a.wav", sample_wav.read_bytes())}
        response = await client.post("/stt/upload?async=true", files=files)
        assert response.status_code == 202
        accepted = response.json()
        assert accepted["status_url"] == f"/status/{accepted['job_id']}" == response.headers["location"]
        state = (await client.get(accepted["status_url"])).json()
        assert state["status"] in ("queued", "running")
        assert "result" not in state
        pipeline.go.set()
        while (state := (await client.get(accepted["status_url"])).json())["status"] != "succeeded":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert state["progress"] == 1.0
        assert state["result"]["tenant_id"] == "acme"
    async with server.client(issuer.token(tenant="rival")) as client:
        assert problem(await client.get(accepted["status_url"])) == (404, "JobNotFound")
    async with server.client(issuer.token()) as client:  # another session of the tenant
        assert (await client.get(accepted["status_url"])).status_code == 200
        assert problem(await client.get("/status/none")) == (404, "JobNotFound")


@pytest.mark.parametrize("path", ["/stt/upload", "/ocr/process"])
async def test_invalid_forms(start_server: StartServer, issuer: TokenIssuer, pipeline, path: str):
    server = await start_server()
    async with server.client(issuer.token()) as client:
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
    assert scratch_files(server) == []


async def test_uploads_that_are_too_large(
    start_server: StartServer, issuer: TokenIssuer, pipeline, monkeypatch, sample_wav
):
    monkeypatch.setattr(body, "MAX_UPLOAD_BYTES", 200_000)
    monkeypatch.setattr(body, "MAX_FIELDS_BYTES", 10_000)
    server = await start_server()
    async with server.client(issuer.token()) as client:
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
    assert scratch_files(server) == []
    assert pipeline.lengths == []


async def test_recordings_that_are_too_long(
    start_server: StartServer, issuer: TokenIssuer, pipeline, monkeypatch, media
):
    monkeypatch.setattr(transcription, "MAX_SECONDS", 29.0)
    server = await start_server()
    async with server.client(issuer.token()) as client:
        for kind in ("wav", "ogg"):
            response = await client.post("/stt/upload", files={"file": (f"a.{kind}", media[kind].read_bytes())})
            assert problem(response) == (413, "TooLarge")
    assert pipeline.lengths == []


async def test_unsupported_media(start_server: StartServer, issuer: TokenIssuer, pipeline):
    server = await start_server()
    async with server.client(issuer.token()) as client:
        for data in (b"", b"abc", b"RIFF" + bytes(100)):
            response = await client.post("/stt/upload", files={"file": ("a.wav", data)})
            assert problem(response) == (422, "UnsupportedMedia")
        files = {"file": ("a.wav", b"x")}
        response = await client.post("/stt/upload", files=files, data={"language": "xx"})
        assert problem(response) == (400, "LanguageUnknown")
        response = await client.post("/stt/upload", files=files, data={"languages": "ko, xx"})
        assert problem(response) == (400, "LanguageUnknown")
        response = await client.post("/stt/upload", files=files, data={"language": "ko", "languages": "ko,en"})
        assert problem(response) == (400, "InvalidRequest")
        response = await client.post("/stt/upload", files=files, data={"channels": "split", "min_speakers": "2"})
        assert problem(response) == (400, "InvalidRequest")
    assert scratch_files(server) == []


async def test_a_full_queue(start_server: StartServer, issuer: TokenIssuer, pipeline, monkeypatch, sample_wav):
    monkeypatch.setattr(job_queue, "MAX_PENDING", 2)
    pipeline.go.clear()
    server = await start_server()
    files = {"file": ("a.wav", sample_wav.read_bytes())}
    async with server.client(issuer.token()) as client:
        first = (await client.post("/stt/upload?async=true", files=files)).json()
        while (await client.get(first["status_url"])).json()["status"] != "running":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for _ in range(2):
            assert (await client.post("/stt/upload?async=true", files=files)).status_code == 202
        response = await client.post("/stt/upload?async=true", files=files)
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


async def test_uploads_being_received_count_as_queued(
    start_server: StartServer, issuer: TokenIssuer, pipeline, monkeypatch, sample_wav
):
    monkeypatch.setattr(job_queue, "MAX_PENDING", 2)
    server = await start_server()
    scratch_dir = Path(server.task.scratch_dir) / "jobs"
    async with server.client(issuer.token()) as client:
        uploads = [Upload(), Upload()]
        coming = [asyncio.create_task(client.post("/stt/upload", content=each, headers=FORM)) for each in uploads]
        await wait_until(lambda: scratch_dir.exists() and len(list(scratch_dir.iterdir())) == 2)
        files = {"file": ("a.wav", sample_wav.read_bytes())}
        assert problem(await client.post("/stt/upload", files=files)) == (429, "QueueFull")
        assert problem(await client.post("/ocr/process", files=files)) == (429, "QueueFull")
        coming[0].cancel()  # a client that disconnects frees its place
        await wait_until(lambda: len(list(scratch_dir.iterdir())) == 1)
        assert (await client.post("/stt/upload", files=files)).status_code == 200
        uploads[1].rest.set()
        assert problem(await coming[1]) == (422, "UnsupportedMedia")


@pytest.mark.parametrize("path", ["/stt/upload", "/stt/process", "/ocr/process"])
async def test_a_body_that_does_not_arrive(start_server: StartServer, issuer: TokenIssuer, monkeypatch, path: str):
    monkeypatch.setattr(body, "RECEIVE_SECONDS", 0.2)
    server = await start_server()
    kind = "application/json" if path == "/stt/process" else FORM["Content-Type"]
    head = f"Host: x\r\nAuthorization: Bearer {issuer.token()}\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n--x\r\n".encode())
    async with asyncio.timeout(10):
        answer = (await reader.read()).decode()  # until the server closes
    writer.close()
    assert answer.startswith("HTTP/1.1 408 ")
    assert '"code":"UploadTimeout"' in answer
    assert scratch_files(server) == []


async def test_results_expire(start_server: StartServer, issuer: TokenIssuer, pipeline, monkeypatch, sample_wav):
    monkeypatch.setattr(job_queue, "MAX_RETAINED", 2)
    server = await start_server()
    files = {"file": ("a.wav", sample_wav.read_bytes())}
    async with server.client(issuer.token()) as client:
        for _ in range(4):
            assert (await client.post("/stt/upload", files=files)).status_code == 200
        assert len(scratch_files(server)) == 2
        monkeypatch.setattr(job_queue, "RESULT_TTL_SECONDS", -1)
        await client.get("/status/none")
    assert scratch_files(server) == []


async def test_a_disconnected_client_cancels_its_job(
    start_server: StartServer, issuer: TokenIssuer, pipeline, sample_wav
):
    pipeline.go.clear()
    server = await start_server()
    async with server.client(issuer.token()) as client:
        asking = asyncio.create_task(client.post("/stt/upload", files={"file": ("a.wav", sample_wav.read_bytes())}))
        await wait_until(lambda: pipeline.lengths)
        asking.cancel()
    await wait_until(lambda: not scratch_files(server))
    assert pipeline.stopped == 1


async def test_draining_rejects_uploads_and_cancels_jobs(
    start_server: StartServer, issuer: TokenIssuer, pipeline, sample_wav
):
    pipeline.go.clear()
    server = await start_server(drainSeconds=1)
    files = {"file": ("a.wav", sample_wav.read_bytes())}
    async with server.client(issuer.token()) as client:
        asking = asyncio.create_task(client.post("/stt/upload", files=files))
        await wait_until(lambda: pipeline.lengths)
        server.server.stop()
        await wait_until(lambda: server.server.readiness.draining)
        assert problem(await client.post("/stt/upload", files=files)) == (503, "Draining")
        assert problem(await asking) == (503, "Draining")
    await asyncio.wait_for(server.running, 10)
