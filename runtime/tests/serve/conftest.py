"""A real server on real sockets with a scripted engine, and tokens such as the operator issues."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import websockets
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from runtime.tests.conftest import LOOPBACK, Web, reply
from steno_api.server.reports import PoolReport
from steno_api.server.task import PoolTask
from steno_runtime.serve.server import Server
from steno_runtime.serve.uploads import transcription
from steno_runtime.stt.options import TranscriptionOptions

from .rest_support import FakePipeline
from .scripted import ScriptedEngine

PATH = "/v1/pools/reports"
SECOND = b"\x01\x02" * 16_000


async def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds that has no event."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass
class TokenIssuer:
    """Has the operator's signing key, and issues tokens."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> str:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        name = changed.pop("name", f"s-{uuid.uuid4().hex[:8]}")
        claims = {
            "iss": "steno-operator", "aud": "steno-pool:team-a/default", "sub": f"team-a/{name}", "iat": now,
            "exp": now + 600, "uid": str(uuid.uuid4()), "tenant": "acme", "meetingID": "standup-42",
            "formats": ["json"],
        }  # fmt: skip
        return {key: value for key, value in (claims | changed).items() if value is not None}

    def token(self, **changed: Any) -> str:
        return jwt.encode(self.claims(**changed), self.private, algorithm="EdDSA")


@dataclass
class RunningServer:
    """A server that runs in this process."""

    server: Server
    engine: ScriptedEngine
    task: PoolTask
    running: asyncio.Task[None]
    http_port: int
    grpc_port: int
    probe_port: int

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def connect(self, token: str | None = None, query: str = "", **options: Any) -> Any:
        """A WebSocket; the token goes into the header."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"ws://127.0.0.1:{self.http_port}/stt/realtime{query}"
        return websockets.connect(url, additional_headers=headers, compression=None, proxy=None, **options)

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(base_url=self.http, headers=headers, trust_env=False, timeout=60)

    def prober(self) -> httpx.AsyncClient:
        """A client of probes and metrics."""
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.probe_port}", trust_env=False, timeout=60)

    async def stop(self) -> None:
        self.server.stop()
        await self.running


StartServer = Callable[..., Awaitable[RunningServer]]


@pytest.fixture
def issuer() -> TokenIssuer:
    return TokenIssuer()


async def run_server(
    issuer: TokenIssuer, folder: Path, engine: dict[str, Any] | None = None, **changes: Any
) -> RunningServer:
    """Start a server.

    Args:
        issuer: of the tokens that it accepts.
        folder: for its models and scratch files.
        engine: attributes of the scripted engine.
        changes: fields of its task's wire format.
    """
    encoder = folder / "models" / "ge2e" / "pretrained.pt"
    encoder.parent.mkdir(parents=True, exist_ok=True)
    encoder.touch()
    document: dict[str, Any] = {
        "modelStore": str(folder / "models"),
        "pool": {"namespace": "team-a", "name": "default", "uid": "pool-1"}, "tenant": "acme",
        "model": {"name": "whisper-base"}, "scratchDir": str(folder / f"scratch-{uuid.uuid4().hex}"),
        "maxSessions": 4, "tokenKeys": [issuer.public], "httpPort": 0, "grpcPort": 0, "probePort": 0, "drainSeconds": 4,
        "egress": LOOPBACK.to_wire(),
    }  # fmt: skip
    task = PoolTask.model_validate(document | changes)
    made: list[ScriptedEngine] = []

    def load(options: TranscriptionOptions, *, max_sessions: int) -> Any:
        made.append(ScriptedEngine(options, max_sessions, **(engine or {})))
        return made[0]

    server = Server(task, load)
    running = asyncio.create_task(server.run())
    ports = await server.listening
    await wait_until(lambda: server.readiness.ready or running.done())
    return RunningServer(server, made[0], task, running, *ports)


@pytest.fixture
async def start_server(issuer: TokenIssuer, tmp_path: Path) -> AsyncIterator[StartServer]:
    """Start a server; see `run_server`."""
    started: list[RunningServer] = []

    async def start(engine: dict[str, Any] | None = None, **changes: Any) -> RunningServer:
        started.append(await run_server(issuer, tmp_path, engine, **changes))
        return started[-1]

    yield start
    for running in started:
        await running.stop()


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    """Replaces the pipeline that transcribes uploads."""
    made = FakePipeline()
    monkeypatch.setattr(transcription, "transcribe", made)
    return made


class Endpoint:
    """The operator's endpoint, with answers that a test sets."""

    def __init__(self, web: Web, folder) -> None:
        self.web = web
        self.token = folder / "token"
        self.token.write_text("report-token\n")
        self.answer(end=[], known=[])

    @property
    def reporting(self) -> dict[str, Any]:
        return {"url": self.web.url, "tokenFile": str(self.token), "intervalSeconds": 0.1}

    def answer(self, **answer: Any) -> None:
        self.web.routes[PATH] = reply(200, json.dumps(answer).encode())

    @property
    def reports(self) -> list[PoolReport]:
        return [PoolReport.model_validate_json(body) for body in self.web.bodies_of(PATH)]

    async def wait_for_report(self, condition) -> PoolReport:
        """Return the first report for which `condition` holds."""
        async with asyncio.timeout(15):
            while True:
                for report in self.reports:
                    with contextlib.suppress(LookupError, AttributeError):
                        if condition(report):
                            return report
                await asyncio.sleep(0.02)


@pytest.fixture
def endpoint(web: Web, tmp_path) -> Endpoint:
    return Endpoint(web, tmp_path)


@dataclass
class WebSocketClient:
    """A client of `/stt/realtime` that keeps what it received."""

    socket: Any
    received: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def send_audio(self, pcm: bytes) -> None:
        await self.send("audio_chunk", audio_data=base64.b64encode(pcm).decode())

    async def expect(self, kind: str) -> dict[str, Any]:
        """Return the next message of that type."""
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), 20))
            self.received.append(message)
            if message["type"] == kind:
                return message

    async def start(self, **fields: Any) -> dict[str, Any]:
        await self.send("start_session", **fields)
        return await self.expect("session_started")

    async def end(self) -> tuple[dict[str, Any], int]:
        """Ends the session; returns the last message and the close code."""
        await self.send("end_session")
        last = await self.expect("session_ended")
        return last, await self.closed()

    async def closed(self) -> int:
        """Return the close code, once everything has been received."""
        try:
            while True:
                self.received.append(json.loads(await asyncio.wait_for(self.socket.recv(), 20)))
        except websockets.ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else 1006

    def texts(self) -> list[str]:
        return [message["text"] for message in self.received if message["type"] == "final"]

    def error(self) -> dict[str, Any]:
        return next(message for message in self.received if message["type"] == "error")
