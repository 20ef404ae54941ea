"""Clients that come back to their session when their connection was lost: no word is lost, and none is said twice."""

from __future__ import annotations

import asyncio

import pytest

from steno_api.server.session_end import SessionEnd
from steno_runtime.serve.sessions import client_link, driver

from .conftest import SECOND, StartServer, TokenIssuer, WebSocketClient, wait_until
from .scripted import WORD
from .test_session_endings import next_ended

TENTH = SECOND[:3_200]
TEN = " ".join([WORD] * 10)


async def test_a_client_that_comes_back_goes_on_where_it_was(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    token = issuer.token(uid="back")
    first = await server.connect(token)
    ws = WebSocketClient(first)
    started = await ws.start(resume={"seq": 0})
    assert started["resume"] == {"taken": 0, "seconds": 30}
    await first.send(SECOND)
    await ws.send("finalize")
    final = await ws.expect("final")
    await first.send(SECOND[:16_000])
    await ws.expect("partial")
    first.transport.abort()
    async with server.connect(token) as second:
        back = WebSocketClient(second)
        started = await back.start(resume={"seq": final["seq"]}, language="ko")
        assert started["resume"]["taken"] == 3
        await second.send(SECOND[16_000:])
        last, code = await back.end()
    assert (last["reason"], code) == ("ClientEnded", 1000)
    assert (last["stats"]["audio_seconds"], last["stats"]["segments"]) == (2, 2)
    assert [*ws.texts(), *back.texts()] == [TEN, TEN]
    assert [config.language for config in server.engine.configs] == ["auto"], "one session, as it began"


async def test_what_it_missed_is_sent_again(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    token = issuer.token(uid="missed")
    first = await server.connect(token)
    ws = WebSocketClient(first)
    await ws.start(resume={"seq": 0}, interim_results=False)
    await first.send(SECOND)
    await ws.send("finalize")
    seen = await ws.expect("final")
    session = server.engine.sessions["missed"]
    session.accepting.clear()
    await first.send(SECOND)
    await ws.send("finalize")
    await session.blocked.wait()
    first.transport.abort()
    session.accepting.set()
    await wait_until(lambda: len(session.finals) == 2)
    for after, expected in ((0, [1, 2]), (seen["seq"], [2])):
        async with server.connect(token) as socket:
            back = WebSocketClient(socket)
            await back.start(resume={"seq": after})
            while [each["seq"] for each in back.received if each["type"] == "final"] != expected:
                await back.expect("final")
    async with server.connect(token) as socket:
        back = WebSocketClient(socket)
        await back.start(resume={"seq": 2})
        await back.end()
        assert back.texts() == []


async def test_a_new_connection_takes_the_session_over(start_server: StartServer, issuer: TokenIssuer):
    """As when the loss of the old one has not been noticed."""
    server = await start_server()
    token = issuer.token(uid="over")
    async with server.connect(token) as first, server.connect(token) as second:
        old, new = WebSocketClient(first), WebSocketClient(second)
        await old.start(resume={"seq": 0})
        await first.send(TENTH)
        await old.expect("partial")
        assert (await new.start(resume={"seq": 0}))["resume"]["taken"] == 1
        assert await old.closed() == 4009
        assert old.error()["code"] == "SessionConnected"
        await second.send(SECOND[3_200:])
        await new.end()
        assert new.texts() == [TEN]


async def test_a_client_that_does_not_come_back_has_gone(
    start_server: StartServer, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client_link, "RESUME_SECONDS", 0.2)
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    token = issuer.token(uid="gone")
    async with server.connect(token) as socket:
        ws = WebSocketClient(socket)
        await ws.start(resume={"seq": 0})
        await socket.send(SECOND)
    result = (await report).result
    assert result is not None
    assert (result.reason, (await report).stats.segments) == (SessionEnd.CLIENT_GONE, 1)


async def test_a_session_that_waits_for_its_client_ends_when_the_server_stops(
    start_server: StartServer, issuer: TokenIssuer
):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    async with server.connect(issuer.token()) as socket:
        await WebSocketClient(socket).start(resume={"seq": 0})
        await socket.send(SECOND)
        await wait_until(lambda: any(each.audio for each in server.engine.sessions.values()))
    await server.stop()
    result = (await report).result
    assert result is not None
    assert result.reason is SessionEnd.DRAINED


async def test_a_client_learns_what_it_need_not_keep(
    start_server: StartServer, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(driver, "TAKEN_SECONDS", 0.0)
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start(resume={})
        for count in (1, 2):
            await socket.send(TENTH)
            assert (await ws.expect("taken"))["messages"] == count
        await ws.send("audio_chunk", audio_data="?")
        assert (await ws.expect("taken"))["messages"] == 3


async def test_a_client_that_did_not_ask_for_it_is_told_nothing_of_it(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    token = issuer.token()
    async with server.connect(token) as first:
        assert "resume" not in await WebSocketClient(first).start()
        async with server.connect(token) as second:
            ws = WebSocketClient(second)
            await ws.send("start_session", resume={"seq": 0})
            assert await ws.closed() == 4009
            assert ws.error()["code"] == "SessionConnected"


@pytest.mark.parametrize("resume", [{"seq": -1}, {"seq": "1"}, 3])
async def test_resume_has_a_number(start_server: StartServer, issuer: TokenIssuer, resume: object):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.send("start_session", resume=resume)
        await ws.closed()
        assert (ws.error()["code"], "resume" in ws.error()["message"]) == ("InvalidMessage", True)
