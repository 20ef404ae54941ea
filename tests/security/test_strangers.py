"""Hundreds of clients without a token on every port of a real server: sessions beside them lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import grpc
import httpx
import jiwer
import pytest
import websockets
from grpc_health.v1 import health_pb2

from runtime.tests.serve.conftest import TokenIssuer, WebSocketClient
from runtime.tests.serve.process import Process, paced
from runtime.tests.stt.conftest import normal
from steno_runtime.serve.transports.grpc.pb.steno.v1 import stt_pb2, stt_pb2_grpc

from .test_hostile_files import MIB, resident

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STRANGERS = 200
"""Of each protocol, all from the address that the sessions have as well."""
ROUNDS = 2
"""Without strangers and with them, in turns."""
SECONDS = 15
"""Of the recording."""
NOISE_SECONDS = 0.5
"""What two busy cores make of any percentile; a loop that serves strangers first is late by many seconds."""
PATIENCE_SECONDS = 120.0


@contextlib.contextmanager
def strangers(server: Process) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.security.strangers", str(server.http), server.grpc.rpartition(":")[2]]
    with subprocess.Popen([*command, str(STRANGERS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"attacking\n"
            yield
        finally:
            process.kill()


@dataclass
class Spoken:
    """What came of a live session."""

    texts: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    """Of partials and finals, from when the client had spoken what they hold."""
    audio_seconds: float = 0.0


async def speak(server: Process, token: str, pcm: bytes) -> Spoken:
    """Speak in real time."""
    spoken, clock = Spoken(), asyncio.get_running_loop().time
    async with server.connect(token) as socket:
        await WebSocketClient(socket).start()
        begun = clock()

        async def listen() -> None:
            async for text in socket:
                message: dict[str, Any] = json.loads(text)
                if message["type"] in ("partial", "final"):
                    spoken.latencies.append(clock() - begun - message["end_ms"] / 1000)
                if message["type"] == "final":
                    spoken.texts.append(message["text"])
                if message["type"] == "session_ended":
                    assert message["reason"] == "ClientEnded"
                    spoken.audio_seconds = message["stats"]["audio_seconds"]

        listening = asyncio.create_task(listen())
        await paced(pcm, socket.send)
        await socket.send('{"type": "end_session"}')
        await listening
    return spoken


async def use(server: Process, issuer: TokenIssuer) -> float:
    """Begin something over each protocol, with a token and at once; return the seconds that the slowest took."""
    slowest, clock = 0.0, time.monotonic
    token = issuer.token(language="en")
    headers = {"Authorization": f"Bearer {token}"}
    metadata = (("authorization", f"Bearer {token}"),)
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]

    began = clock()
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        answer = await client.get(f"http://127.0.0.1:{server.http}/stt/status", headers=headers)
        assert answer.status_code == 200
        slowest = max(slowest, clock() - began)
        began = clock()
        assert (await client.get(f"http://127.0.0.1:{server.http}/health")).json()["status"] == "ok"
    slowest = max(slowest, clock() - began)

    began = clock()
    async with grpc.aio.insecure_channel(server.grpc, options=options) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        answer = await check(b"", timeout=PATIENCE_SECONDS)
        assert health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.SERVING
        slowest = max(slowest, clock() - began)
        began = clock()
        call = stt_pb2_grpc.STTServiceStub(channel).StreamingRecognize(metadata=metadata, timeout=PATIENCE_SECONDS)
        await call.write(stt_pb2.AudioChunk(audio_data=bytes(3200)))
        assert (await call.read()).type == stt_pb2.SESSION_STARTED
        slowest = max(slowest, clock() - began)
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass

    began = clock()
    async with server.connect(issuer.token(language="en")) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        slowest = max(slowest, clock() - began)
        assert (await ws.end())[1] == 1000
    began = clock()  # the token comes with the first message, so here the address matters
    url = f"ws://127.0.0.1:{server.http}/stt/realtime"
    async with websockets.connect(url, compression=None, proxy=None, local_addr=("127.0.0.2", 0)) as socket:
        ws = WebSocketClient(socket)
        await ws.start(token=issuer.token(language="en"))
        slowest = max(slowest, clock() - began)
        assert (await ws.end())[1] == 1000
    return slowest


def p95(spoken: list[Spoken]) -> float:
    return quantiles([each for one in spoken for each in one.latencies], n=20)[-1]


async def test_strangers_beside_live_sessions(server: Process, issuer: TokenIssuer, sample_wav: Path):
    with wave.open(str(sample_wav)) as file:
        pcm = file.readframes(SECONDS * file.getframerate())

    async def converse() -> tuple[list[Spoken], list[float]]:
        speaking = [asyncio.create_task(speak(server, issuer.token(language="en"), pcm)) for _ in range(2)]
        accepted: list[float] = []
        while not all(task.done() for task in speaking):
            accepted.append(await use(server, issuer))
        spoken = await asyncio.gather(*speaking)
        for one in spoken:
            assert one.audio_seconds == pytest.approx(len(pcm) / 32_000, abs=0.1)
        return spoken, accepted

    await use(server, issuer)  # what is loaded with the first use of it
    before, alone, attacked = resident(server), [], []
    let_in_alone: list[float] = []
    let_in_attacked: list[float] = []
    for _ in range(ROUNDS):
        undisturbed, seconds = await converse()
        let_in_alone += seconds
        with strangers(server):
            disturbed, seconds = await converse()
        let_in_attacked += seconds
        alone.append(p95(undisturbed))
        attacked.append(p95(disturbed))
        print(f"p95 alone {alone[-1]:.2f}, beside {3 * STRANGERS} strangers {attacked[-1]:.2f}", flush=True)
        said = normal(" ".join(undisturbed[0].texts))
        assert said
        for one in disturbed:
            assert jiwer.wer(said, normal(" ".join(one.texts))) < 0.2
    grown = resident(server) - before
    print(f"let in within {median(let_in_alone):.2f} and {median(let_in_attacked):.2f} s; grown by {grown // MIB} MiB")
    assert grown < 200 * MIB
    assert min(attacked) < 1.5 * max(alone) + NOISE_SECONDS
    assert median(let_in_attacked) < 1.5 * median(let_in_alone) + 2 * NOISE_SECONDS
