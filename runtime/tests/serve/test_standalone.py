"""A server without a cluster, asked as the original engines' own documents ask, and with API keys."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import websockets
import yaml

from hack.paths import ROOT
from runtime.tests.conftest import Web
from steno_api.failures import FailureReason
from steno_api.gateway import key_files
from steno_api.gateway.api_keys import NewApiKey, Scope, new_api_key
from steno_api.gateway.key_files import change_entries
from steno_api.pb.steno.v1 import ocr_pb2, stt_pb2
from steno_runtime import logs
from steno_runtime.errors import WorkError
from steno_runtime.serve.main import _parser, serve_standalone  # pyright: ignore[reportPrivateUsage]
from steno_runtime.serve.standalone import StandaloneOptions, environment
from steno_runtime.serve.uploads.mounted_files import MountedFiles

from .conftest import SECOND, RunningServer, TokenIssuer, WebSocketClient, run_server, wait_until
from .rest_support import FakePipeline, problem
from .scripted import WORD

PROCESS = """\
{
  "audio_url": "/path/to/audio.wav",
  "meeting_id": "meeting_123",
  "tenant_id": "tenant_abc",
  "user_id": "user_xyz",
  "language": "ko"
}
"""
"""The body of the original engine's example, as it is there."""
FORM = {"meeting_id": "meeting_123", "tenant_id": "tenant_abc", "user_id": "user_xyz", "language": "ko"}
START = (
    '{"type":"start_session","session_id":"session_123","tenant_id":"tenant_abc","meeting_id":"meeting_456",'
    '"language":"ko"}'
)
"""What `JSON.stringify` makes of it."""

Start = Callable[..., Awaitable[RunningServer]]


@pytest.fixture
async def standalone(issuer: TokenIssuer, tmp_path: Path) -> AsyncIterator[Start]:
    """Start a server by its options."""
    started: list[RunningServer] = []

    async def start(**options: Any) -> RunningServer:
        ports = {"port": 0, "grpc_port": 0, "probe_port": 0}
        given = StandaloneOptions(model_store=tmp_path / "models", model="whisper-base", **ports, **options)
        started.append(await run_server(issuer, tmp_path, **given.task(tmp_path / "scratch").to_wire()))
        return started[-1]

    yield start
    for running in started:
        await running.stop()


@pytest.fixture
def recordings(tmp_path: Path, sample_wav: Path) -> Path:
    root = tmp_path / "recordings"
    (root / "path" / "to").mkdir(parents=True)
    (root / "path" / "to" / "audio.wav").write_bytes(sample_wav.read_bytes())
    return root


def make_key(path: Path, **changes: Any) -> NewApiKey:
    fields = {"tenant": "acme", "namespace": "local", "scopes": frozenset(Scope), "created": datetime.now(UTC)}
    made = new_api_key(**(fields | changes))
    change_entries(path, {made.record.id: made.record.to_json()})
    return made


async def ask(server: RunningServer, head: str, body: bytes = b"", port: int | None = None) -> tuple[int, Any]:
    """Send a request byte for byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port or server.http_port)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    writer.write(f"{head}Connection: close\r\n{length}\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    top, _, rest = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(rest)


CURL = "Host: localhost:8001\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n"


async def test_the_requests_of_the_original_engine(
    standalone: Start, pipeline: FakePipeline, recordings: Path, sample_wav
):
    server = await standalone(audio_root=recordings)
    status, health = await ask(server, f"GET /health HTTP/1.1\r\n{CURL}")
    assert (status, health["status"]) == (200, "ok")
    status, engine = await ask(server, f"GET /stt/status HTTP/1.1\r\n{CURL}")
    assert (status, engine["ready"]) == (200, True)
    head = f"POST /stt/process HTTP/1.1\r\n{CURL}Content-Type: application/json\r\n"
    status, document = await ask(server, head, PROCESS.encode())
    assert status == 200
    expected = {
        "meeting_id", "tenant_id", "transcript", "segments", "speakers", "confidence", "processing_time", "language",
        "total_segments", "total_speakers", "has_diarization",
    }  # fmt: skip
    assert expected <= document.keys()
    assert (document["meeting_id"], document["tenant_id"], document["language"]) == ("meeting_123", "tenant_abc", "ko")
    assert document["metadata"] == {"tenant_id": "tenant_abc", "user_id": "user_xyz"}
    async with server.client() as client:
        files = {"file": ("audio_file.wav", sample_wav.read_bytes())}
        uploaded = (await client.post("/stt/upload", data=FORM, files=files)).json()
        assert uploaded["meeting_id"] == "meeting_123"
        later = (await client.post("/stt/upload?async=true", data=FORM, files=files)).json()
        await wait_until(lambda: server.server.readiness.ready)
        async with asyncio.timeout(20):
            while (state := (await client.get(f"/status/{later['job_id']}")).json())["status"] != "succeeded":
                assert state["status"] in ("queued", "running")
        assert state["result"]["meeting_id"] == "meeting_123"
    assert pipeline.lengths == [480_000] * 3


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8001", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:8001", 200),
        ("127.9.9.9", 200),
        ("[::1]:8001", 200),
        ("rebound.example.com:8001", 403),
        ("localhost.example.com", 403),
        ("192.168.1.7:8001", 403),
        ("127.0.0.1.example.com", 403),
        ("", 403),
    ],
)
async def test_without_keys_no_web_page_asks_by_a_name_of_its_own(
    standalone: Start, tmp_path: Path, host: str, status: int
):
    server = await standalone()
    head = f"HTTP/1.1\r\nHost: {host}\r\n"
    found, body = await ask(server, f"GET /stt/status {head}")
    assert (found, body.get("code")) == (status, None if status == 200 else "HostNotAllowed")
    upgrade = f"{head}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    if status != 200:
        found, body = await ask(server, f"GET /stt/realtime {upgrade}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n")
        assert (found, body["code"]) == (403, "HostNotAllowed")
        assert (await ask(server, f"GET /readyz {head}", port=server.probe_port))[0] == 403


async def test_with_keys_any_name_will_do(standalone: Start, tmp_path: Path):
    keys = tmp_path / "keys.json"
    made = make_key(keys)
    server = await standalone(keys=keys)
    head = f"GET /stt/status HTTP/1.1\r\nHost: stt.example.com\r\nAuthorization: Bearer {made.key}\r\n"
    assert (await ask(server, head))[0] == 200


async def test_the_messages_of_the_original_engine(standalone: Start):
    server = await standalone()
    async with websockets.connect(f"ws://127.0.0.1:{server.http_port}/stt/realtime", proxy=None) as socket:
        ws = WebSocketClient(socket)
        await socket.send(START)
        started = await ws.expect("session_started")
        assert (started["session_id"], started["meeting_id"]) == ("session_123", "meeting_456")
        await socket.send(f'{{"type":"audio_chunk","audio_data":"{base64.b64encode(SECOND).decode()}"}}')
        assert WORD in (await ws.expect("partial"))["text"]
    assert server.engine.configs[0].language == "ko"


async def test_the_services_have_the_original_names_too(standalone: Start, tmp_path: Path):
    keys = tmp_path / "keys.json"
    metadata = (("x-api-key", make_key(keys).key),)
    server = await standalone(keys=keys)
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        recognize = channel.stream_stream(
            "/STTService/StreamingRecognize",
            request_serializer=stt_pb2.AudioChunk.SerializeToString,
            response_deserializer=stt_pb2.TranscriptEvent.FromString,
        )
        call = recognize(iter([stt_pb2.AudioChunk(audio_data=SECOND, is_last=True)]), metadata=metadata)
        events = [event async for event in call]
        assert [event.type for event in events if event.is_final] == [stt_pb2.FINAL]
        for method in ("ProcessDocument", "BatchProcess"):
            read = channel.stream_stream(
                f"/OCRService/{method}",
                request_serializer=ocr_pb2.DocumentRequest.SerializeToString,
                response_deserializer=ocr_pb2.OCRResponse.FromString,
            )
            call = read(iter([ocr_pb2.DocumentRequest()]), metadata=metadata)
            if method == "BatchProcess":
                assert [each.error.code async for each in call] == ["InvalidRequest"]
            else:
                assert (await call.code(), await call.details()) == (
                    grpc.StatusCode.INVALID_ARGUMENT, "Set `content`, or `document_url`.",
                )  # fmt: skip


async def test_a_key_says_which_tenant_and_what_for(standalone: Start, tmp_path: Path, pipeline, sample_wav):
    keys = tmp_path / "keys.json"
    mine, theirs, ocr = make_key(keys), make_key(keys, tenant="other"), make_key(keys, scopes=frozenset({Scope.OCR}))
    server = await standalone(keys=keys, host="127.0.0.1")
    files = {"file": ("a.wav", sample_wav.read_bytes())}
    async with server.client() as nobody, server.client(mine.key) as client, server.client(theirs.key) as other:
        assert problem(await nobody.get("/stt/status")) == (401, "KeyMissing")
        assert (await nobody.get("/health")).status_code == 200
        assert (await nobody.get("/stt/status", headers={"X-API-Key": mine.key})).status_code == 200
        job = (await client.post("/stt/upload?async=true", data=FORM, files=files)).json()["status_url"]
        assert problem(await other.get(job)) == (404, "JobNotFound")
        document = (await client.post("/stt/upload", data=FORM, files=files)).json()
        assert (document["tenant_id"], document["meeting_id"]) == ("acme", "meeting_123")
    async with server.client(ocr.key) as client:
        assert problem(await client.post("/stt/upload", data=FORM, files=files)) == (403, "ScopeMissing")


@pytest.mark.parametrize("where", ["header", "X-API-Key", "query", "message"])
async def test_where_a_live_client_puts_its_key(standalone: Start, tmp_path: Path, where: str):
    keys = tmp_path / "keys"
    keys.mkdir()
    key = make_key(keys).key
    server = await standalone(keys=keys)
    headers = {"header": {"Authorization": f"Bearer {key}"}, "X-API-Key": {"X-API-Key": key}}.get(where, {})
    url = f"ws://127.0.0.1:{server.http_port}/stt/realtime" + (f"?api_key={key}" if where == "query" else "")
    async with websockets.connect(url, additional_headers=headers, proxy=None) as socket:
        ws = WebSocketClient(socket)
        fields = json.loads(START) | ({"api_key": key} if where == "message" else {})
        await socket.send(json.dumps(fields))
        assert (await ws.expect("session_started"))["session_id"] == "session_123"
    assert server.engine.configs[0].tenant == "acme"


async def test_live_clients_without_a_good_key(standalone: Start, tmp_path: Path):
    keys = tmp_path / "keys.json"
    documents = make_key(keys, scopes=frozenset({Scope.OCR})).key
    server = await standalone(keys=keys)
    for fields, code in (({}, 4001), ({"token": "steno_x"}, 4001), ({"api_key": documents}, 4003)):
        async with server.connect() as socket:
            ws = WebSocketClient(socket)
            await socket.send(json.dumps(json.loads(START) | fields))
            assert await ws.closed() == code


async def test_keys_are_made_and_revoked_while_it_runs(
    standalone: Start, tmp_path: Path, pipeline: FakePipeline, sample_wav, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(key_files, "RELOAD_SECONDS", 0.05)
    keys = tmp_path / "keys.json"
    old = make_key(keys)
    server = await standalone(keys=keys)
    pipeline.go.clear()
    async with server.client(old.key) as client, server.connect(old.key) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        upload = asyncio.create_task(client.post("/stt/upload", files={"file": ("a.wav", sample_wav.read_bytes())}))
        await wait_until(lambda: pipeline.lengths)
        new = make_key(keys)
        change_entries(keys, {old.record.id: None})
        assert problem(await upload) == (401, "KeyInvalid")
        assert await ws.closed() == 4009
        assert problem(await client.get("/stt/status")) == (401, "KeyInvalid")
    async with server.client(new.key) as client:
        assert (await client.get("/stt/status")).status_code == 200
    assert pipeline.stopped == 1


async def test_what_may_be_fetched(standalone: Start, pipeline, recordings: Path, web: Web, sample_wav):
    allowed = web.serve("/calls/a.wav", sample_wav.read_bytes())
    (recordings / "outside").symlink_to("/etc")
    (recordings / "inside.wav").symlink_to("path/to/audio.wav")
    (recordings / "loop").symlink_to("loop")
    os.mkfifo(recordings / "pipe")
    server = await standalone(
        audio_root=recordings, allow_sources=(f"{web.url}/calls",), allow_networks=("127.0.0.0/8",)
    )
    async with server.client() as client:
        for good in (allowed, "/path/to/audio.wav", "inside.wav", f"{recordings}/path/to/audio.wav"):
            response = await client.post("/stt/process", json={"audio_url": good})
            assert response.status_code == 200, good
        for bad, answer in (
            ("/path/../path/to/audio.wav", (403, "SourceNotAllowed")),
            ("..", (403, "SourceNotAllowed")),
            ("/", (403, "SourceNotAllowed")),
            ("a\0b", (403, "SourceNotAllowed")),
            ("outside/hostname", (403, "SourceNotAllowed")),
            ("outside/no-such-file", (403, "SourceNotAllowed")),
            ("file:///etc/hostname", (403, "SourceNotAllowed")),
            (f"{web.url}/other.wav", (403, "SourceNotAllowed")),
            ("s3://bucket/a.wav", (403, "SourceNotAllowed")),
            ("/etc/hostname", (404, "SourceNotFound")),
            ("/path/to", (404, "SourceNotFound")),
            ("pipe", (404, "SourceNotFound")),
            ("/path/to/audio.wav/x", (404, "SourceNotFound")),
            ("loop", (502, "SourceUnavailable")),
        ):
            response = await client.post("/stt/process", json={"audio_url": bad})
            assert problem(response) == answer, bad
    assert len(pipeline.lengths) == 4


async def test_without_a_root_a_path_is_refused(standalone: Start):
    server = await standalone()
    status, answer = await ask(
        server, f"POST /stt/process HTTP/1.1\r\n{CURL}Content-Type: application/json\r\n", PROCESS.encode()
    )
    assert (status, answer["code"]) == (403, "SourceNotAllowed")
    assert "--audio-root" in answer["detail"]


def test_a_file_of_more_than_the_limit(tmp_path: Path):
    with (tmp_path / "big.wav").open("wb") as file:
        file.truncate(101 * 1024 * 1024)
    (tmp_path / "job").mkdir()
    with pytest.raises(WorkError) as caught:
        MountedFiles(tmp_path).copy("big.wav", tmp_path / "job", check=lambda: None, on_bytes=lambda *_: None)
    assert caught.value.reason is FailureReason.TOO_LARGE


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"host": "0.0.0.0"}, "--keys"),
        ({"host": "192.168.1.7"}, "--keys"),
        ({"host": "::"}, "--keys"),
        ({"host": "stt.example.com"}, "--keys"),
        ({"model": "../models"}, "--model"),
        ({"batch_size": 1000}, "--batch-size"),
        ({"device": "tpu"}, "--device"),
        ({"max_sessions": 0}, "--max-sessions"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, options: dict[str, Any], word: str):
    with pytest.raises(WorkError) as caught:
        StandaloneOptions(model_store=tmp_path, **options).task(tmp_path)
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert word in caught.value.message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_without_keys_this_machine_alone_is_served(tmp_path: Path, host: str):
    assert StandaloneOptions(model_store=tmp_path, host=host).task(tmp_path).anonymous


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"host": "0.0.0.0"}, "--keys"),
        ({"keys": Path("/nowhere/keys.json")}, "steno key create"),
        ({"audio_root": Path("/nowhere")}, "--audio-root"),
        ({"host": "192.0.2.1", "keys": Path("keys")}, "192.0.2.1"),
    ],
)
def test_a_server_that_cannot_start_says_why(tmp_path: Path, caplog, monkeypatch, options: dict[str, Any], word: str):
    (tmp_path / "keys").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    assert serve_standalone(StandaloneOptions(model_store=tmp_path, **options)) == 64
    assert word in caplog.records[-1].why


@pytest.mark.parametrize("file", ["compose.yaml", ".env.example", "docs/serve.md"])
def test_names_of_variables_are_those_that_are_read(file: str):
    names = set(re.findall(r"\b(?:STENO_[A-Z_]+|PORT|WHISPER_BATCH_SIZE)\b", (ROOT / file).read_text()))
    compose_only = {"STENO_IMAGE", "STENO_AUDIO_DIR", "STENO_KEYS_DIR"}
    assert {name for name in names - compose_only if not environment({name: "1"})} == set()
    assert "WHISPER_BATCH_SIZE" in names


def test_compose_starts_the_server_with_options_that_it_has():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    server, models = compose["services"]["steno"], compose["services"]["models"]
    set_here = {name: str(value) for name, value in server["environment"].items() if value and "$" not in str(value)}
    arguments = _parser(environment({**set_here, "PORT": "8001"})).parse_args(server["entrypoint"][1:])
    assert (arguments.standalone, str(arguments.audio_root), arguments.port) == (True, "/audio", 8001)
    assert server["build"] == models["build"]
    assert (ROOT / server["build"]["dockerfile"]).is_file()


def test_the_environment_of_the_original_engine():
    assert environment({"PORT": "8001", "WHISPER_BATCH_SIZE": "8", "STENO_KEYS": ""}) == {
        "port": "8001", "batch_size": "8",
    }  # fmt: skip
