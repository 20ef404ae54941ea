"""Hundreds of clients without a token on every port of a real server: sessions beside them lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from statistics import median

import grpc
import httpx
import pytest
import websockets
from grpc_health.v1 import health_pb2

from runtime.tests.serve.conftest import TokenIssuer, WebSocketClient
from runtime.tests.serve.process import Process
from steno_api.pb.steno.v1 import stt_pb2, stt_pb2_grpc

from .paired import Event, Stage, p95
from .test_hostile_files import MIB, resident

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

STRANGERS = 200
"""Of each protocol, all from the address that the sessions have as well."""
NOISE_SECONDS = 1.0
"""What a busy machine makes of a handful of connections; a server without room for them makes it many seconds."""
PATIENCE_SECONDS = 120.0


@contextlib.contextmanager
def strangers(module: str, *arguments: str) -> Iterator[Callable[[float], Awaitable[None]]]:
    """Have strangers stand ready; yield what lets them act for some seconds. Then they keep their connections.

    Args:
        module: the program, of this package.
        arguments: of it.
    """
    command = [sys.executable, "-m", f"tests.security.{module}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None

        async def attack(seconds: float) -> None:
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(seconds)
            process.send_signal(signal.SIGSTOP)

        try:
            assert process.stdout.readline() == b"attacking\n"
            process.send_signal(signal.SIGSTOP)
            yield attack
        finally:
            process.kill()


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


async def test_strangers_beside_live_sessions(stage: Stage):
    server, issuer = stage.server, stage.issuer
    let_in: list[Event] = []

    async def keep_using() -> None:
        clock = asyncio.get_running_loop().time
        while True:
            begun = clock()
            let_in.append((begun, await use(server, issuer)))

    await use(server, issuer)  # what is loaded with the first use of it
    before = resident(server)
    grpc_port = server.grpc.rpartition(":")[2]
    with strangers("strangers", str(server.http), grpc_port, str(STRANGERS)) as attack:
        using = asyncio.create_task(keep_using())
        latencies = await stage.converse(stage.crossover.run(attack))
        if using.done():  # by an error
            using.result()
        using.cancel()
    grown = resident(server) - before
    print(f"grown by {grown // MIB} MiB")
    assert grown < 200 * MIB
    stage.crossover.check(latencies, p95)
    quiet, attacked = (
        median(each for turn in stage.crossover.turns if turn.attacked is kind for each in turn.of(let_in))
        for kind in (False, True)
    )
    print(f"let in within {quiet:.2f} and {attacked:.2f} s")
    assert attacked < 1.5 * quiet + NOISE_SECONDS
