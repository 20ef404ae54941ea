"""What clients without a token may use of a server: connections, time, bytes and requests, over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from steno_runtime.serve import unauthenticated
from steno_runtime.serve.unauthenticated import RateLimit, Slots

from .conftest import RunningServer, StartServer, TokenIssuer, WebSocketClient, wait_until
from .rest_support import problem


class Stranger:
    """A connection on which a test sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def rest(self) -> bytes:
        """Return what the server still sends before it closes the connection."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                return await self.reader.read()
        return b""


@contextlib.asynccontextmanager
async def strangers(server: RunningServer, count: int, first: bytes = b"") -> AsyncIterator[list[Stranger]]:
    """Connect that many, one after the other; each sends something at first."""
    connected: list[Stranger] = []
    try:
        for _ in range(count):
            connected.append(Stranger(*await asyncio.open_connection("127.0.0.1", server.http_port)))
            await connected[-1].send(first)
        yield connected
    finally:
        for one in connected:
            one.writer.close()


HALF_A_HEAD = b"GET /health HTTP/1.1\r\nHost: a\r\n"


async def test_the_oldest_of_the_busiest_address_makes_room():
    dropped: list[str] = []
    slots = Slots(total=4, per_address=3)

    def take(address: str, name: str) -> unauthenticated.Slot:
        return slots.take(address, lambda: dropped.append(name))

    for name in ("a1", "b1", "b2", "b3", "b4"):
        take(name[0], name)
    await wait_until(lambda: dropped == ["b1"])
    gone = take("c", "c1")
    slots.release(gone)
    slots.release(gone)
    take("c", "c2")
    await wait_until(lambda: dropped == ["b1", "b2"])
    for number in range(100):
        take(f"d{number}", "d")
    await wait_until(lambda: len(slots) == 4)
    assert slots.dropped == len(dropped) == 102


async def test_who_leaves_at_once_costs_nobody_a_place():
    dropped: list[str] = []
    slots = Slots(total=4, per_address=2)
    for name in ("first", "second"):
        slots.take("a", lambda name=name: dropped.append(name))
    for _ in range(100):
        slots.release(slots.take("a", lambda: dropped.append("late")))
    slots.take("b", lambda: dropped.append("other"))
    slots.take("b", lambda: dropped.append("other"))
    slots.take("b", lambda: dropped.append("other"))
    await wait_until(lambda: dropped == ["other"])


async def test_one_address_has_so_many_places():
    dropped: list[int] = []
    slots = Slots(total=100, per_address=2)
    for number in range(5):
        slots.take("a", lambda number=number: dropped.append(number))
    await wait_until(lambda: dropped)
    assert (dropped, len(slots), slots.dropped) == ([0, 1, 2], 2, 3)


def test_the_rate_of_an_address(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    rate = RateLimit(2)
    assert [rate.spend("a") for _ in range(21)] == [True] * 20 + [False]
    assert rate.spend("b")
    now += 1
    assert [rate.spend("a") for _ in range(3)] == [True, True, False]
    now += 1e6
    assert [rate.spend("a") for _ in range(21)] == [True] * 20 + [False]
    for number in range(2 * unauthenticated.MAX_ADDRESSES):
        rate.spend(str(number))
    assert len(rate._buckets) == unauthenticated.MAX_ADDRESSES


@pytest.mark.parametrize(
    "first",
    [b"", HALF_A_HEAD, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" + HALF_A_HEAD],
    ids=["silent", "slow", "second"],
)
async def test_a_head_has_to_come_in_time(start_server: StartServer, monkeypatch: pytest.MonkeyPatch, first: bytes):
    monkeypatch.setattr(unauthenticated, "HEAD_SECONDS", 0.3)
    server = await start_server()
    async with strangers(server, 1, first) as [stranger]:
        answer = await stranger.rest()
    assert answer.count(b"200 OK") == first.count(b"\r\n\r\n")


async def test_a_head_that_drips_does_not_last(start_server: StartServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unauthenticated, "HEAD_SECONDS", 0.5)
    server = await start_server()
    async with strangers(server, 1, HALF_A_HEAD) as [stranger], asyncio.timeout(10):
        while not stranger.reader.at_eof() and not stranger.writer.is_closing():
            await stranger.send(b"X")
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(0.05):
                    await stranger.reader.read(1)


async def test_an_endless_head(start_server: StartServer):
    server = await start_server()
    async with strangers(server, 1, HALF_A_HEAD) as [stranger]:
        await stranger.send(b"X-Long: " + b"x" * 100_000)
        assert b" 400 " in (await stranger.rest()).partition(b"\r\n")[0] + b" "


async def test_an_answer_that_is_not_read_does_not_hold_the_connection(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(unauthenticated, "ANSWER_SECONDS", 0.3)
    server = await start_server()
    head = b"POST /stt/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    async with strangers(server, 1, head) as [stranger]:
        await stranger.rest()


@pytest.mark.parametrize("first", [b"", HALF_A_HEAD])
async def test_strangers_do_not_lock_out_who_has_a_token(start_server: StartServer, issuer: TokenIssuer, first: bytes):
    server = await start_server(unauthenticated={"connectionsPerAddress": 8})
    async with strangers(server, 60, first) as connected:
        async with server.client(issuer.token()) as client:
            assert (await client.get("/stt/status")).status_code == 200
        async with server.connect(issuer.token()) as socket:
            await WebSocketClient(socket).start()
            for one in connected[:52]:
                await one.rest()
        await wait_until(lambda: len(server.server._unauthenticated.connections) <= 8)


async def test_a_request_with_a_token_makes_room_for_nobody(
    start_server: StartServer, issuer: TokenIssuer, pipeline, sample_wav: Path
):
    server = await start_server(unauthenticated={"connectionsPerAddress": 4})
    pipeline.go.clear()
    recording = await asyncio.to_thread(sample_wav.read_bytes)
    async with server.client(issuer.token()) as client:
        upload = asyncio.create_task(client.post("/stt/upload", files={"file": ("a.wav", recording)}))
        await wait_until(lambda: pipeline.lengths)
        async with strangers(server, 20, HALF_A_HEAD) as connected:
            await asyncio.gather(*(one.rest() for one in connected[:16]))
            pipeline.go.set()
            assert (await upload).status_code == 200


async def test_too_many_requests_without_a_token(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server(unauthenticated={"requestsPerSecond": 1})
    async with server.client() as client, server.client("not.a.token") as liar:
        answers = [await one.get("/stt/status") for one in [client, liar] * 10]
        assert {answer.status_code for answer in answers} == {401, 503}
        assert problem(answers[-1]) == (503, "ServerFull")
        assert answers[-1].headers["connection"] == "close"
        assert problem(await client.get("/openapi.json")) == (503, "ServerFull")
        assert (await client.get("/health")).status_code == 200
    async with server.client(issuer.token()) as client:
        assert (await client.get("/stt/status")).status_code == 200
    async with server.connect(issuer.token()) as socket:
        await WebSocketClient(socket).start()


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (['{"type": "keep_alive"}'] * 4, 1007),
        (['{"type": "keep_alive", "padding": "' + "x" * 20_000 + '"}'], 1009),
        (['{"type": "start_session", "token": "' + "x" * 20_000 + '"}'], 1009),
    ],
    ids=["many", "long", "token"],
)
async def test_messages_before_the_token(start_server: StartServer, messages: list[str], code: int):
    server = await start_server()
    async with server.connect() as socket:
        for message in messages:
            await socket.send(message)
        assert await WebSocketClient(socket).closed() == code


async def test_bytes_before_the_token(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(max_size=None) as socket:
        with contextlib.suppress(Exception):
            await socket.send(b"x" * 1_000_000)
        assert await WebSocketClient(socket).closed() in (1013, 1006)
    async with server.connect() as socket:  # a client with a token need not wait for an answer before it sends audio
        ws = WebSocketClient(socket)
        await ws.send("start_session", token=issuer.token())
        await socket.send(bytes(900_000))
        await socket.send(bytes(900_000))
        assert (await ws.end())[0]["stats"]["audio_seconds"] == pytest.approx(1_800_000 / 32_000, abs=0.1)
