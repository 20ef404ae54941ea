"""Clients without a token that hold and abuse connections of a server on this machine, until they are killed.

Separate because it is a process of its own: what it does must not delay the clients that a test measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable

import grpc
import websockets
from grpc_health.v1 import health_pb2

EACH_SECONDS = 1.0
"""Pause of a stranger whose connection was closed."""
HALF_A_HEAD = b"GET /health HTTP/1.1\r\nHost: a\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
HEALTH = "/grpc.health.v1.Health"


async def hold(port: int, first: bytes, drip: bytes = b"") -> None:
    """Connect, send something, and hold the connection until the server closes it.

    Args:
        port: of the server.
        first: sent at once.
        drip: sent every second after that.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(first)
        while not reader.at_eof():
            writer.write(drip)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await reader.read(4096)
    finally:
        writer.close()


async def upload(port: int) -> None:
    """Send a body for which there is no token."""
    body = b"x" * (1 << 20)
    head = f"POST /stt/upload HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\nAuthorization: Bearer e30\r\n\r\n"
    await hold(port, head.encode() + body)


async def ask(port: int) -> None:
    """Ask for the largest answer there is, without reading it."""
    await hold(port, b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 20)


async def chat(port: int, message: str) -> None:
    """Open a WebSocket, and send messages before any token."""
    url = f"ws://127.0.0.1:{port}/stt/realtime"
    async with websockets.connect(url, compression=None, proxy=None, max_size=None) as socket:
        while message:
            await socket.send(message)
            await asyncio.sleep(0.2)
        await socket.wait_closed()


async def call(target: str, method: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
    """Hold a call open on a connection of its own until the server ends it."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        one = channel.stream_stream(method)(metadata=metadata)
        if method.endswith("Watch"):
            await one.write(health_pb2.HealthCheckRequest().SerializeToString())
        while await one.read() is not grpc.aio.EOF:
            pass


async def insist(act: Callable[[], Awaitable[None]]) -> None:
    """Begin again whenever the server is done with it."""
    while True:
        with contextlib.suppress(Exception):
            await act()
        await asyncio.sleep(EACH_SECONDS)


async def main(http: int, grpc_port: int, count: int) -> None:
    """Run `count` strangers for each of HTTP, WebSocket and gRPC, of all sorts."""
    target, bad = f"127.0.0.1:{grpc_port}", (("authorization", "Bearer e30"),)
    long = '{"type": "keep_alive", "x": "' + "x" * 1_000_000 + '"}'
    protocols: list[list[Callable[[], Awaitable[None]]]] = [
        [
            lambda: hold(http, b""),
            lambda: hold(http, HALF_A_HEAD, b"x"),
            lambda: hold(http, HALF_A_HEAD + b"\r\n", b""),
            lambda: upload(http),
            lambda: ask(http),
        ],
        [
            lambda: chat(http, ""),
            lambda: chat(http, '{"type": "keep_alive"}'),
            lambda: chat(http, '{"type": "start_session", "token": "e30"}'),
            lambda: chat(http, long),
        ],
        [
            lambda: hold(grpc_port, b""),
            lambda: hold(grpc_port, PREFACE),
            lambda: call(target, f"{HEALTH}/Watch"),
            lambda: call(target, f"{HEALTH}/Check"),
            lambda: call(target, "/steno.v1.STTService/StreamingRecognize", bad),
        ],
    ]
    async with asyncio.TaskGroup() as group:
        for acts in protocols:
            for number in range(count):
                group.create_task(insist(acts[number % len(acts)]))
        print("attacking", flush=True)


if __name__ == "__main__":
    os.nice(5)  # in earnest, they have machines of their own
    asyncio.run(main(*map(int, sys.argv[1:4])))
