"""The original engine's WebSocket, byte for byte as its clients send it, between them and a session's server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from steno_api.gateway.api_keys import ApiKeyLimits, Scope
from steno_gateway.access import access
from steno_gateway.transports import original_websocket

from .live_support import CREATED, Live, live_gateway, until

# What JSON.stringify makes of the objects in the original engine's example.
START = (
    '{"type":"start_session","session_id":"session_123","tenant_id":"tenant_abc","meeting_id":"meeting_456",'
    '"language":"ko"}'
)
CHUNK = '{"type":"audio_chunk","audio_data":"AAAAAAAAAAAAAAAAAAAAAA=="}'
END = '{"type":"end_session"}'


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with live_gateway(tmp_path, stream={"poolRef": {"name": "calls"}, "idleTimeoutSeconds": 30}) as found:
        yield found


async def ended(socket: Any) -> tuple[dict[str, Any], int, str]:
    """The last message, and the close code and reason."""
    last: dict[str, Any] = {}
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(10):
            async for message in socket:
                last = json.loads(message)
    return last, socket.close_code, socket.close_reason


async def test_the_original_messages_in_their_order(live: Live):
    async with live.connect(live.key()) as socket:
        await socket.send(START)
        await socket.send(CHUNK)
        started = json.loads(await socket.recv())
        assert (started["session_id"], started["meeting_id"]) == ("session_123", "meeting_456")
        assert await socket.recv() == '{"type":"partial", "text":"안녕"}', "as the server sent it"
        await socket.send(b"\0" * 3200)
        await socket.recv()
        await socket.send(END)
        last, code, reason = await ended(socket)
    assert (last["type"], code, reason) == ("session_ended", 1000, "ClientEnded")
    assert live.server.received == [{"type": "start_session", "language": "ko"}, CHUNK, b"\0" * 3200, END]
    (session,) = live.cluster.objects.values()
    assert live.server.tokens == [f"Bearer {session['metadata']['uid']}"]
    assert session["metadata"]["labels"]["steno.dev/gateway"] == "steno-gateway"
    spec = session["spec"]
    assert (spec["poolRef"], spec["idleTimeoutSeconds"]) == ({"name": "calls"}, 30)
    assert (spec["meetingID"], spec["tenantRef"]) == ("meeting_456", {"name": "acme"})
    assert spec["metadata"] == {"session_id": "session_123", "tenant_id": "tenant_abc"}
    assert spec["ttlSecondsAfterFinished"] == 300


@pytest.mark.parametrize("place", ["query", "message"])
async def test_a_browser_sends_its_key_in_the_url_or_the_first_message(live: Live, place: str):
    key = live.key().key
    query, fields = (f"?api_key={key}", {}) if place == "query" else ("", {"api_key": key})
    async with live.connect(query=query) as socket:
        await socket.send(json.dumps({"type": "start_session", **fields}))
        started = json.loads(await socket.recv())
        assert len(started["session_id"]) == 32, "made up, so that the client can come back"
        assert started["meeting_id"] == started["session_id"]
    assert key not in json.dumps(live.server.received)


@pytest.mark.parametrize(
    ("code", "close", "key", "message"),
    [
        ("KeyMissing", 4001, None, START),
        ("KeyInvalid", 4001, "steno_aaaaaaaa_" + "a" * 40, None),
        ("KeyExpired", 4001, {"expires": datetime(2026, 1, 1, tzinfo=UTC)}, None),
        ("ScopeMissing", 4003, {"scopes": frozenset({Scope.STT})}, None),
        ("InvalidMessage", 1007, {}, "no json"),
        ("InvalidMessage", 1007, {}, CHUNK),
        ("InvalidMessage", 1007, {}, b"\0\0"),
        ("InvalidMessage", 1007, {}, '{"type":"start_session","session_id":7}'),
        ("TooLarge", 1009, {}, '{"type":"start_session","x":"' + "x" * 17_000 + '"}'),
        ("InvalidRequest", 1007, {"tenant": "a" * 64}, START),
    ],
)
async def test_who_is_refused_learns_why_and_nothing_is_created(
    live: Live, code: str, close: int, key: Any, message: Any
):
    query = f"?api_key={live.key(**key).key}" if isinstance(key, dict) else f"?api_key={key}" if key else ""
    async with live.connect(query=query) as socket:
        if message is not None:
            await socket.send(message)
        error, found, reason = await ended(socket)
    assert (error["type"], error["code"], error["fatal"], found, reason) == ("error", code, True, close, code)
    assert not live.cluster.objects
    assert not live.server.received


async def test_a_key_has_a_rate_and_a_number_of_sessions(live: Live):
    made = live.key(limits=ApiKeyLimits(concurrent_requests=1))
    async with live.connect(made) as first:
        await first.send(START)
        await first.recv()
        async with live.connect(made) as second:
            assert (await ended(second))[1:] == (1013, "RateLimited")
    slow = live.key(limits=ApiKeyLimits(requests_per_minute=1))
    for expected in (None, 1013):
        async with live.connect(slow) as socket:
            if expected is None:
                await socket.send(START)
                await socket.recv()
            else:
                assert (await ended(socket))[1] == expected


async def test_a_revoked_key_ends_its_sessions(live: Live, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access, "REVOCATION_SECONDS", 0.05)
    made, other = live.key(), live.key()
    async with live.connect(made) as socket, live.connect(other) as untouched:
        await socket.send(START)
        await socket.recv()
        await untouched.send('{"type":"start_session"}')
        await untouched.recv()
        live.revoke(made)
        error, code, _ = await ended(socket)
        assert (error["code"], code) == ("KeyInvalid", 4001)
        await untouched.send(CHUNK)
        assert json.loads(await untouched.recv())["type"] == "partial"
    await asyncio.wait_for(live.server.sockets[0].wait_closed(), 5)


async def test_the_same_session_id_finds_the_same_session(live: Live):
    made = live.key()
    for _ in range(2):  # the second time through any replica: nothing of it is kept
        async with live.connect(made) as socket:
            await socket.send(START)
            await socket.recv()
    assert len(live.cluster.objects) == 1
    assert len(set(live.server.tokens)) == 1
    async with live.connect(live.key(tenant="other")) as socket:
        await socket.send(START)
        await socket.recv()
    assert len(live.cluster.objects) == 2, "another tenant's session of that name is another"


async def test_an_ended_session_makes_way_for_a_new_one(live: Live):
    made = live.key()
    for _ in range(2):
        async with live.connect(made) as socket:
            await socket.send(START)
            assert json.loads(await socket.recv())["type"] == "session_started"
        (name,) = live.cluster.objects
        live.cluster.set_status(name, completionTime=CREATED, endpoints=[])
    assert len(live.cluster.deleted) == 1
    assert len(set(live.server.tokens)) == 2


async def test_what_passes_is_waited_for(live: Live, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("steno_gateway.live.sessions.RETRY_SECONDS", 0.01)
    live.answers[:] = [409, 409]
    live.server.refusals[:] = ["ServerFull", "Draining"]
    async with live.connect(live.key()) as socket:
        await socket.send(START)
        assert json.loads(await socket.recv())["type"] == "session_started"
    assert len(live.server.sockets) == 3


async def test_a_refusal_of_the_server_is_the_clients(live: Live):
    live.server.refusals[:] = ["SessionConnected"]
    async with live.connect(live.key()) as socket:
        await socket.send(START)
        assert (await ended(socket))[1:] == (4009, "SessionConnected")
    assert live.cluster.objects, "it is somebody's"


async def test_a_session_that_is_not_ready_in_time_says_what_it_waits_for(tmp_path: Path):
    async with live_gateway(tmp_path, streamWaitSeconds=0.2) as live:
        queue = {"reason": "PoolFull", "message": "All 4 places are taken."}
        live.cluster.on_create = lambda name: live.cluster.set_status(name, queue=queue)
        async with live.connect(live.key()) as socket:
            await socket.send('{"type":"start_session"}')
            error, code, reason = await ended(socket)
        assert (code, reason) == (1013, "ServerFull")
        assert "All 4 places are taken." in error["message"]
        assert not live.cluster.objects, "nobody can come back to it"


async def test_a_session_that_its_tenant_may_not_have_says_so(live: Live):
    failed = {"type": "Failed", "status": "True", "reason": "QuotaExceeded", "message": "Two streams are open.",
              "lastTransitionTime": CREATED}  # fmt: skip
    fail = partial(live.cluster.set_status, completionTime=CREATED, conditions=[failed])
    live.cluster.on_create = partial(asyncio.get_running_loop().call_soon, fail)
    async with live.connect(live.key()) as socket:
        await socket.send(START)
        error, code, reason = await ended(socket)
    assert (code, reason, error["message"]) == (1013, "QuotaExceeded", "Two streams are open.")


async def test_a_client_that_leaves_while_it_waits_leaves_nothing(live: Live):
    live.cluster.on_create = lambda _: None
    async with live.connect(live.key()) as socket:
        await socket.send('{"type":"start_session"}')
        await until(lambda: live.cluster.objects)
    await until(lambda: not live.cluster.objects)


async def test_a_session_that_nobody_comes_for_is_swept(live: Live):
    async with live.connect(live.key()) as socket:
        await socket.send(START)
        await socket.recv()
    ready = datetime.fromisoformat(CREATED)
    await live.sessions.sweep(ready + timedelta(seconds=119))
    assert live.cluster.objects
    (name,) = live.cluster.objects
    live.cluster.set_status(name, startTime=CREATED)
    await live.sessions.sweep(ready + timedelta(seconds=121))
    assert live.cluster.objects, "a client was connected: the operator ends it"
    live.cluster.objects[name]["status"].pop("startTime")
    live.cluster.set_status(name)
    await live.sessions.sweep(ready + timedelta(seconds=121))
    assert not live.cluster.objects


async def test_a_lost_server_has_the_client_connect_again(live: Live):
    async with live.connect(live.key()) as socket:
        await socket.send(START)
        await socket.recv()
        live.server.sockets[0].transport.abort()
        assert (await ended(socket))[1:] == (1012, "Draining")


async def test_a_client_that_says_nothing_makes_room_for_others(live: Live, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(original_websocket, "MAX_WAITING", 1)
    async with live.connect() as silent:
        await until(lambda: live.endpoint._waiting)
        async with live.connect() as socket:
            await socket.send(json.dumps({"type": "start_session", "api_key": live.key().key}))
            assert json.loads(await socket.recv())["type"] == "session_started"
        assert (await ended(silent))[1:] == (4008, "StartTimeout")


async def test_a_server_that_reads_nothing_stops_the_client(live: Live):
    async with live.connect(live.key()) as socket:
        await socket.send(START)
        await socket.recv()
        live.server.sockets[0].transport.pause_reading()
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while sent < 200:
                    await socket.send(b"\0" * 1_000_000)
                    sent += 1
        live.server.sockets[0].transport.resume_reading()
    assert sent < 60, "what is under way is in buffers of bounded size"


async def test_a_session_is_one_line_of_the_audit_log(live: Live, caplog: pytest.LogCaptureFixture):
    made = live.key()
    with caplog.at_level(logging.INFO, "steno_gateway.audit"):
        async with live.connect(query=f"?api_key={made.key}") as socket:
            await socket.send(START)
            await socket.recv()
            await socket.send(END)
            await ended(socket)
        async with live.connect() as socket:
            await socket.send(START)
            await ended(socket)
    first, second = (vars(each) for each in caplog.records if each.name == "steno_gateway.audit")
    assert (first["route"], first["status"], first["api_key"], first["tenant"]) == (
        "/stt/realtime", 1000, made.record.id, "acme",
    )  # fmt: skip
    assert first["session"] in live.cluster.objects
    assert first["millis"] >= 0
    assert (second["status"], second["error"]) == (4001, "KeyMissing")
    assert "session_123" not in str(first)
    assert made.key not in str(first)
