"""Clients that send faster than the engine decodes, and clients that leave: nothing of what they sent is lost."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest

from steno_api.pb.steno.v1 import stt_pb2
from steno_api.server.session_end import SessionEnd
from steno_runtime.serve.sessions import live_session

from .conftest import SECOND, StartServer, TokenIssuer, WebSocketClient, wait_until
from .test_grpc import Call, Chunk
from .test_session_endings import next_ended

PINGS = {"ping_interval": 0.2, "ping_timeout": 5}
MINUTE = SECOND * 60


async def send_minutes(socket, minutes: int) -> None:
    for _ in range(minutes):
        for at in range(0, len(MINUTE), 1_000_000):
            await socket.send(MINUTE[at : at + 1_000_000])


async def test_s18_pings_are_answered_while_audio_waits(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    token = issuer.token(uid="fast", maxDurationSeconds=3_600)
    async with server.connect(token, **PINGS) as socket:
        ws = WebSocketClient(socket)
        await ws.start(interim_results=False)
        session = server.engine.sessions["fast"]
        session.accepting.clear()
        await send_minutes(socket, 12)
        await session.blocked.wait()
        for _ in range(3):
            await asyncio.wait_for(await socket.ping(), 5)
        session.accepting.set()
        last, code = await ws.end()
    assert (last["reason"], code) == ("ClientEnded", 1000)
    assert last["stats"]["audio_seconds"] == 720


async def test_s18_pings_are_answered_while_the_rest_is_decoded(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token(uid="slow"), **PINGS) as socket:
        ws = WebSocketClient(socket)
        await ws.start(interim_results=False)
        session = server.engine.sessions["slow"]
        session.accepting.clear()
        await send_minutes(socket, 1)
        await ws.send("end_session")
        await session.blocked.wait()
        for _ in range(3):  # S26 (e): what comes after the end is read, and means nothing
            await ws.send("keep_alive")
            await socket.send(SECOND)
            await socket.send("{")
            await asyncio.wait_for(await socket.ping(), 5)
        session.accepting.set()
        last = await ws.expect("session_ended")
        assert await ws.closed() == 1000
    assert (last["reason"], last["stats"]["audio_seconds"]) == ("ClientEnded", 60)


async def test_s18_a_client_that_is_too_far_ahead_has_to_wait(
    start_server: StartServer, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(live_session, "BACKLOG_BYTES", len(SECOND))
    server = await start_server()
    async with server.connect(issuer.token(uid="ahead", maxDurationSeconds=36_000), max_size=None) as socket:
        ws = WebSocketClient(socket)
        await ws.start(interim_results=False)
        session = server.engine.sessions["ahead"]
        session.accepting.clear()
        sending = asyncio.create_task(send_minutes(socket, 30))
        await session.blocked.wait()
        await wait_until(lambda: socket.transport.get_write_buffer_size() > 0)
        assert not sending.done()
        session.accepting.set()
        await sending
        last, code = await ws.end()
    assert (code, last["stats"]["audio_seconds"]) == (1000, 1_800)


async def test_what_waits_when_the_server_stops_is_said_to_be_lost(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token(uid="late")) as socket:
        ws = WebSocketClient(socket)
        await ws.start(interim_results=False)
        server.engine.sessions["late"].accepting.clear()
        await socket.send(SECOND * 10)
        await server.engine.sessions["late"].blocked.wait()
        server.server.stop()
        last = await ws.expect("session_ended")
    assert (last["reason"], last["failure"]["reason"]) == ("Drained", "Preempted")
    assert "10.0 s" in last["failure"]["message"]


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize(
    ("how", "reason"),
    [("close", SessionEnd.CLIENT_GONE), ("end and close", SessionEnd.CLIENT_ENDED)],
)
async def test_s26_a_client_that_leaves_after_its_last_chunk(
    start_server: StartServer, issuer: TokenIssuer, *, how: str, reason: SessionEnd, slow: bool
):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    async with server.connect(issuer.token(uid="leaves")) as socket:
        ws = WebSocketClient(socket)
        await ws.start(interim_results=False)
        session = server.engine.sessions["leaves"]
        if slow:
            session.accepting.clear()
        for _ in range(8):
            await socket.send(SECOND)
        if how == "end and close":
            await ws.send("end_session")
        await socket.close()
    session.accepting.set()
    ended = await report
    assert ended.result.reason is reason
    assert (ended.stats.audio_seconds, len(session.finals[0].words)) == (8, 80)


async def test_s26_the_end_in_the_packet_of_the_last_chunk(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    async with server.connect(issuer.token(uid="packet")) as socket:
        ws = WebSocketClient(socket)
        await ws.start(interim_results=False)
        socket.protocol.send_binary(SECOND * 8)
        socket.protocol.send_text(json.dumps({"type": "end_session"}).encode())
        socket.transport.write(b"".join(socket.protocol.data_to_send()))
        await ws.expect("session_ended")
    ended = await report
    assert (ended.result.reason, ended.stats.audio_seconds) == (SessionEnd.CLIENT_ENDED, 8)


async def test_s26_a_connection_that_breaks_while_audio_waits(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    socket = await server.connect(issuer.token(uid="breaks"))
    ws = WebSocketClient(socket)
    await ws.start(interim_results=False)
    session = server.engine.sessions["breaks"]
    session.accepting.clear()
    for _ in range(8):
        await socket.send(SECOND)
    await asyncio.wait_for(await socket.ping(), 5)  # all of it has arrived
    socket.transport.abort()
    session.accepting.set()
    ended = await report
    assert (ended.result.reason, ended.stats.audio_seconds) == (SessionEnd.CLIENT_GONE, 8)


@pytest.mark.parametrize("last", [True, False])
async def test_s26_a_call_whose_client_has_no_more_audio(start_server: StartServer, issuer: TokenIssuer, *, last: bool):
    server = await start_server()
    async with Call(server, issuer.token(uid="call")) as call:
        await call.send(Chunk(audio_data=SECOND * 8, is_last=last, config=stt_pb2.StreamConfig(interim_results=False)))
        await call.call.done_writing()
        events, status, _ = await call.read_all()
    assert status is grpc.StatusCode.OK
    assert (events[-1].ended.reason, events[-1].ended.audio_seconds) == ("ClientEnded", 8)
