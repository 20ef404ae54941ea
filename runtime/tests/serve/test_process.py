"""The server as a process, with a real model: recordings in real time over both protocols, uploads, SIGTERM, logs."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import websockets

from runtime.tests.conftest import LOOPBACK, S3
from runtime.tests.ocr.render import page
from runtime.tests.stt.conftest import normal
from steno_api.documents.manifest import Manifest
from steno_api.pb.steno.v1 import ocr_pb2, ocr_pb2_grpc, stt_pb2, stt_pb2_grpc

from .conftest import TokenIssuer, WebSocketClient
from .process import Process, paced, pool_task


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture(scope="module")
def arguments(issuer: TokenIssuer, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("server")
    output = {"endpointURL": s3.endpoint, "credentialsDir": s3.credentials(folder / "secret")}
    task = pool_task(issuer, folder, output=output, egress=LOOPBACK.to_wire())
    (folder / "task.json").write_text(json.dumps(task))
    return ["--task-file", str(folder / "task.json"), "--log-level", "DEBUG"]


@pytest.fixture(scope="module")
def server(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("log") / "server.log", *arguments)
    yield process
    process.process.kill()
    process.process.wait()


@pytest.fixture(scope="module")
def pcm(sample_wav: Path) -> bytes:
    with wave.open(str(sample_wav)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16_000, 2, 1)
        return file.readframes(file.getnframes())


@pytest.fixture(scope="module")
def reference(sample_wav: Path) -> str:
    lines = sample_wav.with_suffix(".stm").read_text().splitlines()
    return normal(" ".join(line.split(maxsplit=5)[5] for line in lines if line.strip()))


def error_rate(reference: str, texts: list[str]) -> float:
    import jiwer

    return jiwer.wer(reference, normal(" ".join(texts)))


def assert_nothing_logged(server: Process, *secrets: str) -> None:
    """Check that the log, at level DEBUG, has no recognized text and no token."""
    log = server.log.read_text().lower()
    assert '"level": "info"' in log
    for secret in secrets:
        assert secret.lower() not in log


@pytest.mark.slow
async def test_a_recording_over_websocket(server: Process, issuer: TokenIssuer, s3: S3, pcm: bytes, reference: str):
    prefix = str(uuid.uuid4())
    token = issuer.token(outputURI=f"s3://transcripts/{prefix}", language="en")
    async with server.connect(token) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        ending = asyncio.create_task(ws.expect("session_ended"))
        await paced(pcm, socket.send)
        await ws.send("end_session")
        async with asyncio.timeout(120):
            last = await ending
        assert await ws.closed() == 1000
    assert last["reason"] == "ClientEnded"
    rate = error_rate(reference, ws.texts())
    print(f"websocket: WER {rate:.3f}, {last['stats']}")
    assert rate <= 0.35
    stable: dict[int, str] = {}
    for message in ws.received:
        if message["type"] == "partial":
            assert message["text"].startswith(message["stable_text"])
            assert message["stable_text"].startswith(stable.get(message["utterance_id"], ""))
            stable[message["utterance_id"]] = message["stable_text"]
        elif message["type"] == "final":
            assert message["text"].startswith(stable.get(message["utterance_id"], ""))
            assert message["words"]
    assert stable
    manifest = s3.client.get_object(Bucket="transcripts", Key=f"{prefix}/manifest.json")["Body"].read()
    assert Manifest.model_validate_json(manifest).summary.words > 50
    assert_nothing_logged(server, token, "jersey", "texas", "chicago", "yankee")


@pytest.mark.slow
async def test_a_recording_over_grpc(server: Process, issuer: TokenIssuer, pcm: bytes, reference: str):
    token = issuer.token(language="en")
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = stt_pb2_grpc.STTServiceStub(channel).StreamingRecognize(metadata=(("authorization", f"Bearer {token}"),))

        async def speak() -> None:
            await paced(pcm, lambda audio: call.write(stt_pb2.AudioChunk(audio_data=audio)))
            await call.done_writing()

        speaking = asyncio.create_task(speak())
        events = []
        async with asyncio.timeout(150):
            while (event := await call.read()) is not grpc.aio.EOF:
                events.append(event)
        await speaking
        assert await call.code() is grpc.StatusCode.OK
    texts = [event.text for event in events if event.type == stt_pb2.FINAL]
    rate = error_rate(reference, texts)
    print(f"grpc: WER {rate:.3f}")
    assert rate <= 0.35
    assert events[-1].ended.reason == "ClientEnded"
    assert_nothing_logged(server, token, "jersey", "texas", "chicago", "yankee")


@pytest.mark.slow
async def test_an_upload_and_a_document_beside_a_session(  # noqa: PLR0917
    server: Process, issuer: TokenIssuer, pcm: bytes, reference: str, media: dict[str, Path], tmp_path: Path
):
    token, streaming, foreign = issuer.token(), issuer.token(language="en"), TokenIssuer().token()
    rendered = page("en", 1)
    rendered.image.save(tmp_path / "page.png")
    document = (tmp_path / "page.png").read_bytes()
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        server.connect(streaming, query=True) as socket,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{server.http}", headers=headers, timeout=200, trust_env=False
        ) as client,
        grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel,
    ):  # fmt: skip
        ws = WebSocketClient(socket)
        await ws.start()
        speaking = asyncio.create_task(paced(pcm[: 10 * 32_000], socket.send))
        upload = await client.post(
            "/stt/upload",
            files={"file": ("a.mp3", media["mp3"].read_bytes())},
            data={"language": "en", "diarize": "false"},
        )
        assert upload.status_code == 200, upload.text
        assert error_rate(reference, [upload.json()["transcript"]]) <= 0.35
        read = await client.post("/ocr/process", files={"file": ("p.png", document)}, data={"languages": "en"})
        assert read.status_code == 200, read.text
        assert read.json()["total_pages"] == 1
        assert len(read.json()["text"]) > 100
        stub = ocr_pb2_grpc.OCRServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),)
        one = await stub.ProcessDocument(ocr_pb2.DocumentRequest(content=document, languages=["en"]), metadata=metadata)
        assert (one.text, one.total_pages) == (read.json()["text"], 1)
        assert one.pages[0].regions[0].lines[0].words[0].text
        batch = stub.BatchProcess(metadata=metadata)
        await batch.write(ocr_pb2.DocumentRequest(document_id="bad", content=b"no picture"))
        await batch.write(ocr_pb2.DocumentRequest(document_id="good", content=document, languages=["en"]))
        await batch.done_writing()
        bad, good = await batch.read(), await batch.read()
        assert (bad.document_id, bad.error.code) == ("bad", "UnsupportedMedia")
        assert (good.document_id, good.text) == ("good", one.text)
        await speaking
        assert (await ws.end())[1] == 1000
        assert ws.texts()
    with pytest.raises(websockets.InvalidStatus):
        async with server.connect(foreign, query=True):
            pass
    spoken = ["jersey", "texas", "chicago", "yankee"]
    assert_nothing_logged(server, token, streaming, foreign, *spoken, " ".join(one.text.split()[3:5]))


@pytest.mark.slow
async def test_an_upload_with_speakers(server: Process, issuer: TokenIssuer, media: dict[str, Path]):
    headers = {"Authorization": f"Bearer {issuer.token()}"}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.http}", headers=headers, timeout=200, trust_env=False
    ) as client:

        async def upload(**fields: str) -> dict[str, Any]:
            files = {"file": ("a.wav", media["wav"].read_bytes())}
            response = await client.post("/stt/upload", files=files, data={"language": "en", **fields})
            assert response.status_code == 200, response.text
            return response.json()

        transcript = await upload()
        assert {segment["speaker"] for segment in transcript["segments"]} == {"SPEAKER_00", "SPEAKER_01"}
        assert transcript["speakers"].keys() == {"SPEAKER_00", "SPEAKER_01"}
        assert (transcript["has_diarization"], transcript["total_speakers"]) == (True, 2)
        transcript = await upload(diarize="false")
        assert {segment["speaker"] for segment in transcript["segments"]} == {None}
        assert (transcript["has_diarization"], transcript["total_speakers"]) == (False, 0)


@pytest.mark.slow
async def test_sigterm_in_the_middle(arguments: list[str], issuer: TokenIssuer, s3: S3, pcm: bytes, tmp_path: Path):
    server = Process(tmp_path / "server.log", *arguments)
    prefix = str(uuid.uuid4())
    try:
        async with server.connect(issuer.token(outputURI=f"s3://transcripts/{prefix}", language="en")) as socket:
            ws = WebSocketClient(socket)
            await ws.start()
            await socket.send(pcm[7 * 32_000 : 13 * 32_000])
            await ws.expect("speech_started")
            begun = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                last = await ws.expect("session_ended")
            assert (last["reason"], await ws.closed()) == ("Drained", 1012)
        assert await asyncio.to_thread(server.process.wait, 35) == 0
        assert time.monotonic() - begun < 30
    finally:
        server.process.kill()
        server.process.wait()
    assert ws.texts()
    assert f"{prefix}/manifest.json" in s3.keys("transcripts")


@pytest.mark.parametrize(
    ("task", "code", "said"),
    [("{}", 64, "the task is not valid"), ('{"kind": "Other"}', 64, "the task is not valid")],
)
def test_an_invalid_task(tmp_path: Path, task: str, code: int, said: str):
    server = Process(tmp_path / "server.log", "--task", task, ready=False)
    assert server.process.wait(60) == code
    assert server.entries[-1]["message"].startswith(said)


def test_a_missing_model(arguments: list[str], tmp_path: Path):
    task = json.loads(Path(arguments[1]).read_text())
    task |= {"model": {"name": "half-copied"}, "modelStore": str(tmp_path)}
    (tmp_path / "half-copied").mkdir()
    server = Process(tmp_path / "server.log", "--task", json.dumps(task), ready=False)
    assert server.process.wait(60) == 64
    assert server.entries[-1]["reason"] == "ModelNotFound"
