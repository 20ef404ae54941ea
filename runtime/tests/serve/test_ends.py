"""How sessions end: clients that vanish or never speak, time that runs out, a server that has to stop."""

from __future__ import annotations

import asyncio
import json
import socket as socket_of_the_system

import pytest

from steno_api.server.reports import SessionReport
from steno_api.server.session_end import SessionEnd
from steno_runtime.serve.errors import ApiError, ErrorCode
from steno_runtime.serve.sessions import live_session

from .conftest import SECOND, Operator, Running, Serve, Talk, until
from .scripted import WORD


async def ended(server: Running) -> SessionReport:
    """The report of the first session that ends."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[SessionReport] = loop.create_future()
    before = server.server.registry.on_end

    def on_end(report: SessionReport) -> None:
        before(report)
        if not told.done():
            told.set_result(report)

    server.server.registry.on_end = on_end
    return await asyncio.wait_for(told, 20)


async def test_a_client_that_vanishes(serve: Serve, operator: Operator):
    server = await serve()
    report = asyncio.create_task(ended(server))
    socket = await server.connect(operator.token())
    talk = Talk(socket)
    await talk.start()
    await socket.send(SECOND)
    await talk.hear("partial")
    socket.transport.abort()  # a reset, no goodbye
    result = (await report).result
    assert result is not None
    assert (result.reason, result.failure) == (SessionEnd.CLIENT_GONE, None)
    assert (await report).figures.segments == 1  # what it said became final


async def test_a_client_that_says_goodbye_in_the_middle(serve: Serve, operator: Operator):
    server = await serve()
    report = asyncio.create_task(ended(server))
    async with server.connect(operator.token()) as socket:
        await Talk(socket).start()
        await socket.send(SECOND)
    assert (await report).result.reason is SessionEnd.CLIENT_GONE
    assert (await report).figures.segments == 1


async def test_one_that_never_speaks_and_keep_alive_is_no_speech(serve: Serve, operator: Operator):
    server = await serve()
    async with server.connect(operator.token(idleTimeoutSeconds=1)) as socket:
        talk = Talk(socket)
        await talk.start()

        async def keep_alive() -> None:
            while True:
                await talk.say("keep_alive")
                await talk.chunk(b"")
                await asyncio.sleep(0.05)

        alive = asyncio.create_task(keep_alive())
        last = await talk.hear("session_ended")
        alive.cancel()
        assert last["reason"] == "IdleTimeout"
        assert await talk.closed() == 4008


class Clock:
    """The sessions' clock: runs as time does, and is set forward when we say so."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return asyncio.get_running_loop().time() + self.ahead

    async def forward(self, seconds: float) -> None:
        """Until the session's watch has looked."""
        self.ahead += seconds
        looks = self.looks
        await until(lambda: self.looks >= looks + 2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(live_session, "now", made)
    monkeypatch.setattr(live_session, "POLL_SECONDS", 0.01)
    return made


async def test_audio_keeps_a_session_from_being_idle(serve: Serve, operator: Operator, clock: Clock):
    server = await serve()
    async with server.connect(operator.token(idleTimeoutSeconds=60)) as socket:
        talk = Talk(socket)
        await talk.start()
        for _ in range(4):
            await clock.forward(30)
            await socket.send(SECOND[:3_200])
            await talk.hear("partial")
        clock.ahead += 61
        assert (await talk.hear("session_ended"))["reason"] == "IdleTimeout"


async def test_a_client_that_waits_for_us_is_not_idle(serve: Serve, operator: Operator, clock: Clock):
    server = await serve()
    async with server.connect(operator.token(idleTimeoutSeconds=60, uid="slow")) as socket:
        talk = Talk(socket)
        await talk.start()
        session = server.engine.sessions["slow"]
        session.room.clear()
        await socket.send(SECOND)
        await session.full.wait()
        await clock.forward(61)
        session.room.set()
        assert (await talk.end())[0]["reason"] == "ClientEnded"
    assert len(talk.texts()) == 1


async def test_the_longest_audio(serve: Serve, operator: Operator):
    server = await serve()
    async with server.connect(operator.token(maxDurationSeconds=2)) as socket:
        talk = Talk(socket)
        await talk.start()
        for _ in range(5):
            await socket.send(SECOND)
        last = await talk.hear("session_ended")
        assert (last["reason"], last["stats"]["audio_seconds"]) == ("MaxDuration", 2.0)
        assert await talk.closed() == 4008
    assert talk.texts() == [" ".join([WORD] * 20)]


async def test_the_longest_time_by_the_clock(serve: Serve, operator: Operator):
    server = await serve()
    async with server.connect(operator.token(maxDurationSeconds=1)) as socket:
        talk = Talk(socket)
        await talk.start()
        await socket.send(SECOND[:3_200])
        assert (await talk.hear("session_ended"))["reason"] == "MaxDuration"
        assert await talk.closed() == 4008
    assert talk.texts() == [WORD]


async def test_a_client_that_does_not_read(serve: Serve, operator: Operator, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_session, "SEND_SECONDS", 0.3)
    server = await serve()
    report = asyncio.create_task(ended(server))
    narrow = socket_of_the_system.socket()
    narrow.setsockopt(socket_of_the_system.SOL_SOCKET, socket_of_the_system.SO_RCVBUF, 4096)  # soon full
    narrow.connect(("127.0.0.1", server.http_port))
    token = operator.token(uid="deaf", maxDurationSeconds=10_000_000)
    async with server.connect(token, max_queue=1, sock=narrow) as socket:
        await Talk(socket).start()
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


async def test_draining(serve: Serve, operator: Operator):
    server = await serve()
    async with server.connect(operator.token()) as socket, server.connect(operator.token()) as late_socket:
        talk, late = Talk(socket), Talk(late_socket)
        await talk.start()
        await socket.send(SECOND)
        await talk.hear("partial")
        server.server.stop()
        last = await talk.hear("session_ended")
        assert last["reason"] == "Drained"
        assert await talk.closed() == 1012
        assert talk.texts() == [" ".join([WORD] * 10)]
        await late.say("start_session")
        assert await late.closed() == 1012
    assert late.error()["code"] == "Draining"
    await asyncio.wait_for(server.running, 8)


async def test_a_draining_server_takes_no_session(serve: Serve, operator: Operator):
    server = await serve(engine={"stuck": True})
    async with server.connect(operator.token()) as socket, server.client() as client:
        talk = Talk(socket)
        await talk.start()
        await socket.send(SECOND)
        await talk.hear("partial")
        server.server.stop()
        await until(lambda: server.server.readiness.draining)
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/health")).json()["status"] == "draining"
        async with server.connect(operator.token()) as another:
            refused = Talk(another)
            await refused.say("start_session")
            assert await refused.closed() == 1012
        assert refused.error()["code"] == "Draining"
        # What does not come to its end is dropped in time.
        assert (await talk.hear("session_ended"))["reason"] == "Drained"
    await asyncio.wait_for(server.running, 8)


@pytest.mark.parametrize("failure", [None, RuntimeError(f"never to be told: {WORD}"), MemoryError()])
async def test_decoding_that_fails(serve: Serve, operator: Operator, failure: Exception | None):
    server = await serve(engine={"fail_after": 40_000} | ({"failure": failure} if failure else {}))
    report = asyncio.create_task(ended(server))
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        await talk.start()
        await socket.send(SECOND)
        await talk.say("finalize")
        await talk.hear("final")
        await socket.send(SECOND)
        error = await talk.hear("error")
        code = "Internal" if isinstance(failure, RuntimeError) else "OutOfMemory"
        assert (error["code"], error["fatal"]) == (code, True)
        assert WORD not in error["message"]
        last = await talk.hear("session_ended")
        assert await talk.closed() == 1011
    assert last["failure"]["reason"] == code
    assert ((await report).result.failure, (await report).figures.segments) == (code, 1)


def test_every_refusal_has_a_grpc_status():
    import grpc

    for code in ErrorCode:
        assert grpc.StatusCode[ApiError(code, "x").status.grpc]
