"""WebSocket endpoint `/stt/realtime`: live sessions with JSON messages, and audio as base64 or binary frames."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from steno_api.gateway.api_keys import Scope
from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode
from steno_runtime.serve.auth import Authenticator, header_token, query_token
from steno_runtime.serve.sessions.driver import (
    Audio,
    ClientMessage,
    Disconnected,
    End,
    Finalize,
    KeepAlive,
    ServerEvent,
    SessionDriver,
    SessionEnding,
    Start,
    Started,
    Unreadable,
)
from steno_runtime.serve.sessions.live_session import SEND_SECONDS
from steno_runtime.serve.transports.http_connection import connection_of
from steno_runtime.serve.transports.problem_details import error_response
from steno_runtime.serve.transports.websocket import messages

MAX_START_CHARS, MAX_MESSAGES_BEFORE_START = 16 * 1024, 4
"""Of messages up to and including `start_session`: each is parsed before a token may have been checked."""
DECODING_FAILED = 1011
"""Close code of a session whose decoding broke off, for any failure."""


class WebSocketEndpoint:
    """The endpoint."""

    def __init__(self, driver: SessionDriver, authenticator: Authenticator) -> None:
        self._driver = driver
        self._authenticator = authenticator

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection, from before its handshake to its end. Never raises."""
        session = socket.query_params.get("session")
        try:
            claims = self._authenticate(socket, session)
        except ApiError as error:
            with contextlib.suppress(Exception):
                await socket.send_denial_response(error_response(error))
            return
        try:
            await socket.accept()
        except (WebSocketDisconnect, RuntimeError, OSError):
            return
        await self._driver.serve(WebSocketConnection(socket), claims, session=session)

    def _authenticate(self, socket: WebSocket, session: str | None) -> SessionClaims | None:
        """Return the claims of a token in a header or the URL; None: it will come with `start_session`."""
        token = header_token(socket.headers) or query_token(socket.query_params)
        if token is None and not self._authenticator.allows_anonymous:
            return None
        return self._authenticator.check_claims(self._authenticator.authenticate(token, Scope.STREAM), session=session)


class WebSocketConnection:
    """A `ClientConnection` over a WebSocket: JSON out, text or bytes in."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._sending = asyncio.Lock()

    async def start(self) -> Start:
        """See `ClientConnection`: `start_session`, before which only `keep_alive` may come."""
        for _ in range(MAX_MESSAGES_BEFORE_START):
            frame = await self._receive_frame()
            if isinstance(frame, str) and len(frame) > MAX_START_CHARS:
                raise ApiError(ErrorCode.TOO_LARGE, "start_session may have at most 16 KiB.")
            if isinstance(frame, bytes):
                message = "Audio arrived before start_session: send that first, as text."
                raise ApiError(ErrorCode.INVALID_MESSAGE, message)
            kind, fields = messages.parse(frame)
            if kind == "start_session":
                return messages.parse_start(fields)
            if kind != "keep_alive":
                break
        raise ApiError(ErrorCode.INVALID_MESSAGE, "The first message must be start_session.")

    def authenticate(self) -> None:
        """See `ClientConnection`."""
        connection = connection_of(self._socket.scope)
        if connection is not None:
            connection.authenticate()

    async def receive(self) -> ClientMessage:
        """See `ClientConnection`; what the client need not be cut off for is answered here."""
        while True:
            frame = await self._receive_frame()
            if isinstance(frame, bytes):
                return Audio(frame)
            kind, fields = messages.parse(frame)
            match kind:
                case "audio_chunk":
                    try:
                        return Audio(messages.parse_audio(fields))
                    except messages.InvalidChunkError as error:
                        await self._warn(error)
                        return Unreadable()
                case "finalize":
                    return Finalize()
                case "end_session":
                    return End()
                case "keep_alive":
                    return KeepAlive()
                case "start_session":
                    await self._warn(_ignored("The session has been started already."))
                case _:
                    await self._warn(_ignored("This type of message is unknown; it is ignored."))

    async def send(self, event: ServerEvent) -> None:
        """See `ClientConnection`."""
        if isinstance(event, Started):
            await self._send(messages.started_message(event))
        else:
            await self._send(messages.event_message(event))

    async def close(self, ending: SessionEnding | ApiError) -> None:
        """See `ClientConnection`: a fatal `error`, or `session_ended`, then the close code that belongs to it."""
        if isinstance(ending, ApiError):
            await self._try_to_send(messages.error_message(ending, fatal=True))
            await self._close(ending.status.close, ending.status.code)
            return
        if ending.error is not None:
            await self._try_to_send(messages.error_message(ending.error, fatal=True))
        await self._try_to_send(messages.session_ended_message(ending.reason, ending.stats, ending.result))
        await self._close(DECODING_FAILED if ending.error is not None else ending.reason.close_code or 1000)

    async def _receive_frame(self) -> str | bytes:
        try:
            message = await self._socket.receive()
        except (RuntimeError, OSError) as error:
            raise Disconnected from error
        if message["type"] == "websocket.disconnect":
            raise Disconnected
        data = message.get("bytes")
        return data if data is not None else message.get("text") or ""

    async def _warn(self, error: ApiError) -> None:
        try:
            await self._send(messages.error_message(error, fatal=False))
        except (WebSocketDisconnect, RuntimeError, OSError) as broken:  # TimeoutError is an OSError
            raise Disconnected from broken

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._sending, asyncio.timeout(SEND_SECONDS):
            await self._socket.send_text(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    async def _try_to_send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(Exception):
            await self._send(message)

    async def _close(self, code: int, reason: str = "") -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.close(code, reason)


def _ignored(message: str) -> ApiError:
    return ApiError(ErrorCode.INVALID_MESSAGE, message)
