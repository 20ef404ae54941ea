"""The original engine's WebSocket `/stt/realtime`: a proxy between a client with an API key and its session's server.

Of the client's messages only the first is read, and of the server's only the answer to it; all others pass as they are.
What the client calls itself, its session and its meeting stays its own: the server is not told, and the client is.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection

from steno_api.gateway.api_keys import Scope
from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.access import Access
from steno_gateway.live.sessions import LiveSessions, SessionRequest
from steno_gateway.transports.http import api_key
from steno_gateway.transports.live_calls import live_call, start_timeout
from steno_gateway.transports.websocket_client import WebSocketClient, serve_client

MAX_START_CHARS, MAX_MESSAGES_BEFORE_START = 16 * 1024, 4
MAX_WAITING = 256
"""Connections that have not sent a key yet; for one more, the oldest of them is closed."""
_OURS = ("type", "event", "session_id", "tenant_id", "meeting_id", "user_id", "api_key", "token")
"""Fields of `start_session` that the server does not get."""
_Text = Annotated[str, Field(max_length=512)]


class StartSession(BaseModel):
    """The fields of `start_session` that are the gateway's; the others are the server's."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    session_id: _Text | None = None
    tenant_id: _Text | None = None
    meeting_id: Annotated[str, Field(max_length=253)] | None = None
    user_id: _Text | None = None
    api_key: Annotated[str, Field(max_length=8192)] | None = None
    token: Annotated[str, Field(max_length=8192)] | None = None

    @property
    def key(self) -> str | None:
        """The API key, where it was not sent before."""
        return self.api_key or self.token

    def request(self, session_id: str) -> SessionRequest:
        """Return what is asked for.

        Args:
            session_id: the client's, or one that was made for it.
        """
        given = {"session_id": self.session_id, "tenant_id": self.tenant_id, "user_id": self.user_id}
        start = {name: value for name, value in (self.model_extra or {}).items() if name not in _OURS}
        return SessionRequest(
            session_id,
            self.meeting_id or None,
            {name: value for name, value in given.items() if value},
            start,
            is_new=not self.session_id,
        )


class OriginalWebSocket:
    """The endpoint."""

    def __init__(self, access: Access, sessions: LiveSessions) -> None:
        self._access = access
        self._sessions = sessions
        self._waiting: dict[asyncio.Timeout, None] = {}

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection to its end. Never raises, unless it is cancelled."""
        await serve_client(socket, partial(self._serve, socket))

    async def _serve(self, socket: WebSocket, client: WebSocketClient) -> None:
        key, start = api_key(socket), None
        if key is None:
            start = await self._start_of_stranger(client)
            key = start.key
        async with self._access.admit(key, Scope.STREAM) as admitted:
            socket.state.principal = admitted.principal
            if start is None:
                async with start_timeout():
                    start = await _first_message(client)
            session_id = start.session_id or secrets.token_hex(16)
            socket.state.session = self._sessions.name(admitted.principal, session_id)
            request = start.request(session_id)
            async with live_call(self._access, self._sessions, admitted, request, client.gone.wait()) as call:
                await client.send_json(_as_the_client_says(call.first, session_id, start.meeting_id))
                code, reason = await call.relay(_to_server(client, call.server), _to_client(client, call.server))
                await client.close(code, reason)

    async def _start_of_stranger(self, client: WebSocketClient) -> StartSession:
        """Return the first message of a client that sends its key with it."""
        async with start_timeout() as scope:
            if len(self._waiting) >= MAX_WAITING:
                next(iter(self._waiting)).reschedule(0)
                self._waiting.pop(next(iter(self._waiting)))
            self._waiting[scope] = None
            try:
                return await _first_message(client)
            finally:
                self._waiting.pop(scope, None)


async def _to_server(client: WebSocketClient, server: ClientConnection) -> None:
    while True:
        await server.send(await client.receive())


async def _to_client(client: WebSocketClient, server: ClientConnection) -> None:
    async for message in server:
        await client.send(message)


async def _first_message(client: WebSocketClient) -> StartSession:
    """Read `start_session`, before which only `keep_alive` may come.

    Raises:
        ApiError: `InvalidMessage` or `TooLarge`.
        Disconnected: there will be none.
    """
    for _ in range(MAX_MESSAGES_BEFORE_START):
        frame = await client.receive()
        if isinstance(frame, bytes):
            raise _invalid("Audio arrived before start_session: send that first, as text.")
        if len(frame) > MAX_START_CHARS:
            raise ApiError(ErrorCode.TOO_LARGE, "start_session may have at most 16 KiB.")
        try:
            message = json.loads(frame)
        except (ValueError, RecursionError):
            raise _invalid("The message is not JSON. Send JSON objects as text, and audio as binary.") from None
        kind = message.get("type", message.get("event")) if isinstance(message, dict) else None
        if kind == "start_session":
            return _start(message)
        if kind != "keep_alive":
            break
    raise _invalid("The first message must be start_session.")


def _start(message: dict[str, Any]) -> StartSession:
    try:
        return StartSession.model_validate(message)
    except ValidationError as error:
        names = sorted({str(item["loc"][0]) for item in error.errors(include_input=False)})
        raise _invalid(f"start_session: wrong value of {', '.join(names)}.") from None


def _as_the_client_says(started: dict[str, Any], session_id: str, meeting_id: str | None) -> dict[str, Any]:
    """Return `session_started` in the client's words."""
    return {**started, "session_id": session_id, "meeting_id": meeting_id or session_id}


def _invalid(message: str) -> ApiError:
    return ApiError(ErrorCode.INVALID_MESSAGE, message)
