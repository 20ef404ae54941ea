"""A client's WebSocket: its frames are read ahead by a few, so that it is noticed when the client leaves.

No more than `AHEAD_BYTES` are kept: beyond that nothing is read, and the client's own connection fills.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.transports.live_calls import Disconnected, running

log = logging.getLogger(__name__)

MAX_FRAME_BYTES = 1024 * 1024
"""As the servers'."""
AHEAD_BYTES = 1024 * 1024
SEND_SECONDS = 30.0
"""A client that reads nothing for so long has gone."""


class WebSocketClient:
    """The client's end of a live session."""

    def __init__(self, socket: WebSocket) -> None:
        """Read nothing yet.

        Args:
            socket: which is accepted.
        """
        self._socket = socket
        self._frames: deque[str | bytes] = deque()
        self._bytes = 0
        self._changed = asyncio.Condition()
        self.gone = asyncio.Event()
        """The client has left; what it sent before may still be there."""

    async def pump(self) -> None:
        """Read frames until the client leaves."""
        try:
            while True:
                frame = await self._read()
                async with self._changed:
                    await self._changed.wait_for(lambda: not self._frames or self._bytes < AHEAD_BYTES)
                    self._frames.append(frame)
                    self._bytes += len(frame)
                    self._changed.notify_all()
        except Disconnected:
            async with self._changed:
                self.gone.set()
                self._changed.notify_all()

    async def receive(self) -> str | bytes:
        """Return the next frame.

        Raises:
            Disconnected: there are no more.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._frames or self.gone.is_set())
            if not self._frames:
                raise Disconnected
            frame = self._frames.popleft()
            self._bytes -= len(frame)
            self._changed.notify_all()
            return frame

    async def send(self, frame: str | bytes) -> None:
        """Send a frame, unless the client reads too slowly.

        Raises:
            Disconnected: it cannot be reached, or reads nothing for `SEND_SECONDS`.
        """
        try:
            async with asyncio.timeout(SEND_SECONDS):
                if isinstance(frame, str):
                    await self._socket.send_text(frame)
                else:
                    await self._socket.send_bytes(frame)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:  # TimeoutError is an OSError
            raise Disconnected from error

    async def send_json(self, message: dict[str, Any]) -> None:
        """Send a message.

        Raises:
            Disconnected: see `send`.
        """
        await self.send(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    async def fail(self, error: ApiError) -> None:
        """Say why it ends, in a fatal `error` and the close code. Never raises."""
        message = {"type": "error", "code": error.status.code, "message": error.message, "fatal": True}
        with contextlib.suppress(Disconnected):
            await self.send_json(message)
            await self.close(error.status.close, error.status.code)

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection. Never raises."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.close(code, reason)

    async def _read(self) -> str | bytes:
        try:
            message = await self._socket.receive()
        except (RuntimeError, OSError) as error:
            raise Disconnected from error
        if message["type"] == "websocket.disconnect":
            raise Disconnected
        data = message.get("bytes")
        return data if data is not None else message.get("text") or ""


async def serve_client(
    socket: WebSocket,
    work: Callable[[WebSocketClient], Awaitable[None]],
    fail: Callable[[WebSocketClient, ApiError], Awaitable[None]] = WebSocketClient.fail,
    *,
    subprotocol: str | None = None,
) -> None:
    """Serve one connection to its end. Never raises, unless it is cancelled.

    It is accepted before the key is checked: a browser learns nothing of a handshake that is refused.

    Args:
        socket: of the client.
        work: what is done for it.
        fail: says why that ended, as its protocol has it.
        subprotocol: that is agreed upon.
    """
    try:
        await socket.accept(subprotocol=subprotocol)
    except (RuntimeError, OSError):
        return
    client = WebSocketClient(socket)
    async with running(client.pump()):
        try:
            await work(client)
        except Disconnected:
            pass
        except ApiError as error:
            socket.state.error_code = error.status.code
            await fail(client, error)
        except Exception:
            log.exception("a live session met an unexpected error")
            message = "The gateway met an unexpected error. Please report it."
            await fail(client, ApiError(ErrorCode.INTERNAL, message))
