"""Clients without a token that send HTTP/2 frames as a server should not be sent them, until they are killed.

Separate because it is a process of its own: what it does must not delay the clients that a test measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import grpc

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
CANCEL = struct.pack(">I", 8)
FRAMES = 50
"""At a time."""
EACH_SECONDS = 0.1
"""Between them, and before a connection that was closed is made again."""
MESSAGE_SECONDS = 1.0
"""Between large messages: what is measured is what they take of the server, not of the machine that both share."""
LARGE = bytes(31 << 20)
"""A message just within what a document may have."""
LIVE = "/steno.v1.STTService/StreamingRecognize"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def field(name: str, value: str, *, indexed: bool = False) -> bytes:
    """Write a header as HPACK's literal, up to 16 KiB; an indexed one can be repeated as one byte."""

    def text(words: str) -> bytes:
        size = len(words)
        if size < 127:
            return bytes([size]) + words.encode()
        rest, coded = size - 127, bytearray([127])
        while rest >= 128:
            coded.append(rest % 128 | 128)
            rest //= 128
        return bytes([*coded, rest]) + words.encode()

    return (b"\x40" if indexed else b"\0") + text(name) + text(value)


def head(stream: int, method: str, flags: int = END_HEADERS, **more: str) -> bytes:
    names = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "a", "te": "trailers"}
    names |= {"content-type": "application/grpc", "authorization": "Bearer e30"}
    names |= {name.replace("_", "-"): value for name, value in more.items()}
    return frame(HEADERS, flags, stream, b"".join(field(*each) for each in names.items()))


def each(write: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield frames of ever new streams, so many at a time."""
    streams = itertools.count(1, 2)
    while True:
        yield b"".join(write(next(streams)) for _ in range(FRAMES))


def once(first: bytes, then: Callable[[], bytes]) -> Iterator[bytes]:
    yield first
    while True:
        yield then()


def header_bomb(stream: int) -> bytes:
    """Write a call whose header of 4 KiB stands there 4,000 times, a byte each."""
    block = field("x", "y" * 4000, indexed=True) + b"\xbe" * 4000
    return frame(HEADERS, 0, stream, b"".join(field(*each) for each in ((":path", LIVE), (":method", "POST")))) + frame(
        CONTINUATION, END_HEADERS, stream, block
    )


FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "calls that are reset at once": lambda: each(lambda at: head(at, LIVE) + frame(RST_STREAM, 0, at, CANCEL)),
    "checks of health that are reset at once": lambda: each(
        lambda at: head(at, CHECK) + frame(RST_STREAM, 0, at, CANCEL)
    ),
    "calls whose answers are not read": lambda: each(lambda at: head(at, LIVE, END_HEADERS | END_STREAM)),
    "watches of health": lambda: each(lambda at: head(at, WATCH) + frame(DATA, END_STREAM, at, bytes(5))),
    "settings": lambda: once(b"", lambda: frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 4096)) * FRAMES),
    "pings": lambda: once(b"", lambda: frame(PING, 0, 0, b"12345678") * FRAMES),
    "window updates": lambda: once(b"", lambda: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * FRAMES),
    "priorities": lambda: each(lambda at: frame(PRIORITY, 0, at, struct.pack(">IB", 0, 1))),
    "headers without end": lambda: once(
        frame(HEADERS, 0, 1, field(":path", LIVE)),
        lambda: frame(CONTINUATION, 0, 1, field("x", "y" * 8000)) * FRAMES,
    ),
    "headers that are repeated by a byte": lambda: each(header_bomb),
    "empty data": lambda: once(head(1, LIVE), lambda: frame(DATA, 0, 1) * FRAMES),
    "an unread body": lambda: once(head(1, LIVE), lambda: frame(DATA, 0, 1, bytes(16_000))),
}
MESSAGES = {
    "checks with large messages": (CHECK, grpc.Compression.NoCompression),
    "watches with large messages": (WATCH, grpc.Compression.NoCompression),
    "checks with messages that inflate": (CHECK, grpc.Compression.Gzip),
    "calls with messages that inflate": (LIVE, grpc.Compression.Gzip),
}
"""Of calls that keep to the protocol."""


async def flood(port: int, make: Callable[[], Iterator[bytes]]) -> None:
    """Send to one connection, without reading, until the server closes it or takes nothing for a while."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    try:
        writer.write(PREFACE + frame(SETTINGS, 0, 0))
        for sent in make():
            writer.write(sent)
            async with asyncio.timeout(5.0):
                await writer.drain()
            await asyncio.sleep(EACH_SECONDS)
    finally:
        writer.transport.abort()


async def send(port: int, method: str, compression: grpc.Compression) -> None:
    """Send a large message, on a connection of its own, and wait for the answer."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.stream_stream(method)(compression=compression, timeout=20.0)
        await call.write(LARGE)
        await call.code()
    await asyncio.sleep(MESSAGE_SECONDS)


async def insist(act: Callable[[], Awaitable[None]]) -> None:
    """Begin again whenever the server is done with a connection."""
    while True:
        with contextlib.suppress(OSError, TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await act()
        await asyncio.sleep(EACH_SECONDS)


async def main(port: int, count: int, names: list[str]) -> None:
    """Run `count` connections of each flood, or of those that are named."""
    acts: dict[str, Callable[[], Awaitable[None]]] = {
        **{name: partial(flood, port, make) for name, make in FLOODS.items()},
        **{name: partial(send, port, *call) for name, call in MESSAGES.items()},
    }
    async with asyncio.TaskGroup() as group:
        for name in names or acts:
            for _ in range(count):
                group.create_task(insist(acts[name]))
        print("attacking", flush=True)


if __name__ == "__main__":
    os.nice(5)  # in earnest, they have machines of their own
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
