"""How sessions end: lost and idle clients, durations that run out, a server that has to stop."""

from __future__ import annotations

import asyncio
import json
import socket as socket_of_the_system

import pytest

from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.reports import SessionReport
from steno_api.server.session_end import SessionEnd
from steno_runtime.serve.sessions import live_session

from .conftest import SECOND, RunningServer, StartServer, TokenIssuer, WebSocketClient, wait_until
from .scripted import WORD


async def next_ended(server: RunningServer) -> SessionReport:
    """Return the report of the next session that ends."""
    loop = asyncio.get_running_loop()
    reported: asyncio.Future[SessionReport] = loop.create_future()
    before = server.server.registry.on_end

    def on_end(report: SessionReport) -> None:
        before(report)
        if not reported.done():
            reported.set_result(report)

    server.server.registry.on_end = on_end
    return await asyncio.wait_for(reported, 20)


async def test_a_connection_that_breaks(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    socket = await server.connect(issuer.token())
    ws = WebSocketClient(socket)
    await ws.start()
    await socket.send(SECOND)
    await ws.expect("partial")
    socket.transport.abort()  # a reset, without a close frame
    result = (await report).result
    assert result is not None
    assert (result.reason, result.failure) == (SessionEnd.CLIENT_GONE, None)
    assert (await report).stats.segments == 1  # what it said became final


async def test_a_client_that_disconnects_without_ending_the_session(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    async with server.connect(issuer.token()) as socket:
        await WebSocketClient(socket).start()
        await socket.send(SECOND)
    assert (await report).result.reason is SessionEnd.CLIENT_GONE
    assert (await report).stats.segments == 1


async def test_a_client_that_sends_no_audio_is_idle_despite_keep_alives(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token(idleTimeoutSeconds=1)) as socket:
        ws = WebSocketClient(socket)
        await ws.start()

        async def keep_alive() -> None:
            while True:
                await ws.send("keep_alive")
                await ws.send_audio(b"")
                await asyncio.sleep(0.05)

        alive = asyncio.create_task(keep_alive())
        last = await ws.expect("session_ended")
        alive.cancel()
        assert last["reason"] == "IdleTimeout"
        assert await ws.closed() == 4008


class Clock:
    """The sessions' clock, which a test can set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return asyncio.get_running_loop().time() + self.ahead

    async def forward(self, seconds: float) -> None:
        """Set the clock forward, and wait until the session has read it."""
        self.ahead += seconds
        reads = self.reads
        await wait_until(lambda: self.reads >= reads + 2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(live_session, "now", made)
    monkeypatch.setattr(live_session, "POLL_SECONDS", 0.01)
    return made


async def test_audio_keeps_a_session_from_being_idle(start_server: StartServer, issuer: TokenIssuer, clock: Clock):
    server = await start_server()
    async with server.connect(issuer.token(idleTimeoutSeconds=60)) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        for _ in range(4):
            await clock.forward(30)
            await socket.send(SECOND[:3_200])
            await ws.expect("partial")
        clock.ahead += 61
        assert (await ws.expect("session_ended"))["reason"] == "IdleTimeout"


async def test_a_client_that_waits_for_the_engine_is_not_idle(
    start_server: StartServer, issuer: TokenIssuer, clock: Clock
):
    server = await start_server()
    async with server.connect(issuer.token(idleTimeoutSeconds=60, uid="slow")) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        session = server.engine.sessions["slow"]
        session.accepting.clear()
        await socket.send(SECOND)
        await session.blocked.wait()
        await clock.forward(61)
        session.accepting.set()
        assert (await ws.end())[0]["reason"] == "ClientEnded"
    assert len(ws.texts()) == 1


async def test_max_duration_of_audio(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token(maxDurationSeconds=2)) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        for _ in range(5):
            await socket.send(SECOND)
        last = await ws.expect("session_ended")
        assert (last["reason"], last["stats"]["audio_seconds"]) == ("MaxDuration", 2.0)
        assert await ws.closed() == 4008
    assert ws.texts() == [" ".join([WORD] * 20)]


async def test_max_duration_by_the_clock(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token(maxDurationSeconds=1)) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND[:3_200])
        assert (await ws.expect("session_ended"))["reason"] == "MaxDuration"
        assert await ws.closed() == 4008
    assert ws.texts() == [WORD]


async def test_a_client_that_does_not_read(
    start_server: StartServer, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(live_session, "SEND_SECONDS", 0.3)
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    narrow = socket_of_the_system.socket()
    narrow.setsockopt(socket_of_the_system.SOL_SOCKET, socket_of_the_system.SO_RCVBUF, 4096)  # soon full
    narrow.connect(("127.0.0.1", server.http_port))
    token = issuer.token(uid="not-reading", maxDurationSeconds=10_000_000)
    async with server.connect(token, max_queue=1, sock=narrow) as socket:
        await WebSocketClient(socket).start()
        socket.transport.pause_reading()
        session = None

        async def speak() -> None:
            while True:
                await socket.send(SECOND * 10)
                await socket.send(json.dumps({"type": "finalize"}))

        speaking = asyncio.create_task(speak())
        session = (await report).result
        speaking.cancel()
        socket.transport.abort()
    assert session is not None
    assert session.reason is SessionEnd.CLIENT_GONE


async def test_draining(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token()) as socket, server.connect(issuer.token()) as late_socket:
        ws, late = WebSocketClient(socket), WebSocketClient(late_socket)
        await ws.start()
        await socket.send(SECOND)
        await ws.expect("partial")
        server.server.stop()
        last = await ws.expect("session_ended")
        assert last["reason"] == "Drained"
        assert await ws.closed() == 1012
        assert ws.texts() == [" ".join([WORD] * 10)]
        await late.send("start_session")
        assert await late.closed() == 1012
    assert late.error()["code"] == "Draining"
    await asyncio.wait_for(server.running, 8)


async def test_a_draining_server_accepts_no_session(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server(engine={"stuck": True})
    async with server.connect(issuer.token()) as socket, server.client() as client:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND)
        await ws.expect("partial")
        server.server.stop()
        await wait_until(lambda: server.server.readiness.draining)
        async with server.prober() as prober:
            assert (await prober.get("/readyz")).status_code == 503
            assert (await prober.get("/livez")).status_code == 200
        assert (await client.get("/health")).json()["status"] == "draining"
        async with server.connect(issuer.token()) as another:
            rejected = WebSocketClient(another)
            await rejected.send("start_session")
            assert await rejected.closed() == 1012
        assert rejected.error()["code"] == "Draining"
        # What does not come to its end is dropped in time.
        assert (await ws.expect("session_ended"))["reason"] == "Drained"
    await asyncio.wait_for(server.running, 8)


@pytest.mark.parametrize("failure", [None, RuntimeError(f"never to be logged: {WORD}"), MemoryError()])
async def test_decoding_that_fails(start_server: StartServer, issuer: TokenIssuer, failure: Exception | None):
    server = await start_server(engine={"fail_after": 40_000} | ({"failure": failure} if failure else {}))
    report = asyncio.create_task(next_ended(server))
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND)
        await ws.send("finalize")
        await ws.expect("final")
        await socket.send(SECOND)
        error = await ws.expect("error")
        code = "Internal" if isinstance(failure, RuntimeError) else "OutOfMemory"
        assert (error["code"], error["fatal"]) == (code, True)
        assert WORD not in error["message"]
        last = await ws.expect("session_ended")
        assert await ws.closed() == 1011
    assert last["failure"]["reason"] == code
    assert ((await report).result.failure, (await report).stats.segments) == (code, 1)


def test_every_error_code_has_a_grpc_status():
    import grpc

    for code in ErrorCode:
        assert grpc.StatusCode[ApiError(code, "x").status.grpc]
