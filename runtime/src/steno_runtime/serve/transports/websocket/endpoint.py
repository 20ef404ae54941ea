"""`/stt/realtime`: a session over a WebSocket, with the original messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from steno_api.server.claims import SessionClaims
from steno_api.server.session_end import SessionEnd
from steno_runtime.serve.auth import Access, bearer
from steno_runtime.serve.errors import Code, Refusal, refusal_of
from steno_runtime.serve.sessions.live_session import SEND_SECONDS, Live
from steno_runtime.serve.sessions.registry import Registry, Wishes
from steno_runtime.serve.sessions.resampler import Resampler
from steno_runtime.serve.transports.problem_details import refused
from steno_runtime.serve.transports.websocket import messages
from steno_runtime.stream.events import Event

log = logging.getLogger(__name__)

MAX_FRAME_BYTES = 1024 * 1024
START_SECONDS = 10.0
"""In which `start_session` has to come."""
MOST_STRANGERS = 64
"""Connections whose token is yet to come, in `start_session`. Who showed one before the handshake waits with nobody."""
PUBLISH_SECONDS = 15.0
"""For which the last message waits, so that it can name the manifest."""

CLOSE = {
    SessionEnd.CLIENT_ENDED: 1000,
    SessionEnd.IDLE_TIMEOUT: 4008,
    SessionEnd.MAX_DURATION: 4008,
    SessionEnd.DRAINED: 1012,
    SessionEnd.DELETED: 4009,
    SessionEnd.DUPLICATE: 4009,
    SessionEnd.NO_CLIENT: 4008,
}


class Realtime:
    """The endpoint."""

    def __init__(self, registry: Registry, access: Access) -> None:
        self._registry = registry
        self._access = access
        self._strangers = 0

    async def serve(self, socket: WebSocket) -> None:
        """Serves one connection, from before its handshake to its end. Never raises."""
        try:
            claims = self._before_handshake(socket)
        except Refusal as refusal:
            with contextlib.suppress(Exception):
                await socket.send_denial_response(refused(refusal))
            return
        connection = _Connection(socket)
        try:
            await socket.accept()
            live, audio = await self._start(connection, claims)
        except Refusal as refusal:
            await connection.refuse(refusal)
        except (WebSocketDisconnect, RuntimeError, OSError):
            return
        except Exception as error:  # noqa: BLE001
            log.error("a connection failed", extra={"error": type(error).__name__})  # noqa: TRY400 - may quote frames
            await connection.refuse(refusal_of(error))
        else:
            await _converse(connection, live, audio)

    def _before_handshake(self, socket: WebSocket) -> SessionClaims | None:
        """Returns the claims of a token in the URL or a header; None when it is yet to come."""
        query = socket.query_params
        token = bearer(socket.headers.get("authorization")) or query.get("token")
        if token is None and not self._access.open:
            return None
        return self._access.check(self._access.claims(token), session=query.get("session"))

    async def _start(self, connection: _Connection, claims: SessionClaims | None) -> tuple[Live, Resampler]:
        stranger = claims is None
        if stranger and self._strangers >= MOST_STRANGERS:
            raise Refusal(
                Code.SERVER_FULL,
                "Too many clients are connecting. Try again in a few seconds, or send the token with the handshake.",
                retry_after=5,
            )
        self._strangers += stranger
        try:
            async with asyncio.timeout(START_SECONDS):
                message = await connection.first()
        except TimeoutError:
            raise Refusal(Code.START_TIMEOUT, f"No start_session within {START_SECONDS:g} s.") from None
        finally:
            self._strangers -= stranger
        if claims is None:
            claims = self._access.claims(message.token)
            self._access.check(claims, session=connection.query("session"))
        claims = self._access.check(
            claims, session=message.session_id, tenant=message.tenant_id, meeting=message.meeting_id
        )
        audio = Resampler(message.sample_rate)
        wishes = Wishes(message.language, message.interim_results)
        live = self._registry.begin(claims, wishes, connection.send_event)
        with contextlib.suppress(Exception):  # who is gone already is noticed when it is listened to
            await connection.send(
                {
                    "type": "session_started",
                    "session_id": message.session_id or claims.name,
                    "meeting_id": claims.meeting_id,
                    "limits": {
                        "max_duration_seconds": claims.max_duration_seconds,
                        "idle_timeout_seconds": claims.idle_timeout_seconds,
                        "max_frame_bytes": MAX_FRAME_BYTES,
                    },
                }
            )
        return live, audio


async def _converse(connection: _Connection, live: Live, audio: Resampler) -> None:
    """Listens until the session ends, whoever ends it; then says so."""
    listening = asyncio.create_task(_listen(connection, live, audio))
    ending = asyncio.create_task(live.ending.wait())
    refusal: Refusal | None = None
    try:
        await asyncio.wait((listening, ending, live.decoding), return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            refusal = listening.result()
    except Exception as error:  # noqa: BLE001
        log.error("a connection failed", extra={"error": type(error).__name__})  # noqa: TRY400 - may quote frames
        refusal = refusal_of(error)
    finally:
        listening.cancel()
        ending.cancel()
        live.end(SessionEnd.CLIENT_GONE)
    if refusal is not None:
        await connection.refuse(refusal)
        return
    if live.reason is SessionEnd.CLIENT_GONE:
        return
    failure = await asyncio.shield(live.decoding)
    await asyncio.wait((live.done,), timeout=PUBLISH_SECONDS)
    result = live.done.result() if live.done.done() else None
    if failure is not None:
        await connection.try_to_send(messages.of_refusal(refusal_of(failure), fatal=True))
    await connection.try_to_send(messages.session_ended(live.reason, live.figures, result))
    await connection.close(1011 if failure is not None else CLOSE.get(live.reason, 1000))


async def _listen(connection: _Connection, live: Live, audio: Resampler) -> Refusal | None:
    """Takes messages until the session ends; returns what the client did wrong, if that is why."""
    try:
        while not live.ending.is_set():
            frame = await connection.receive()
            if isinstance(frame, bytes):
                await live.feed(audio.convert(frame))
                continue
            kind, fields = messages.parse(frame)
            match kind:
                case "audio_chunk":
                    await live.feed(audio.convert(messages.audio(fields)))
                case "finalize":
                    await live.feed(audio.flush())
                    await live.finalize()
                case "end_session":
                    await live.feed(audio.flush())
                    live.end(SessionEnd.CLIENT_ENDED)
                case "keep_alive":
                    pass
                case "start_session":
                    await connection.send(_not_fatal("The session has started already."))
                case _:
                    await connection.send(_not_fatal("This type of message is not known; it is ignored."))
    except (WebSocketDisconnect, RuntimeError, OSError):
        live.end(SessionEnd.CLIENT_GONE)
    except Refusal as refusal:
        live.end(SessionEnd.CLIENT_GONE)
        return refusal
    return None


def _not_fatal(message: str) -> dict[str, Any]:
    return messages.of_refusal(Refusal(Code.INVALID_MESSAGE, message), fatal=False)


class _Connection:
    """A socket with our manners: JSON out, text or bytes in, and no patience with who does not read."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._sending = asyncio.Lock()

    def query(self, name: str) -> str | None:
        return self._socket.query_params.get(name)

    async def receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        data = message.get("bytes")
        return data if data is not None else message.get("text") or ""

    async def first(self) -> messages.Start:
        """Returns `start_session`, before which only `keep_alive` may come."""
        while True:
            frame = await self.receive()
            if isinstance(frame, bytes):
                raise Refusal(Code.INVALID_MESSAGE, "Audio came before start_session: send that first, as text.")
            kind, fields = messages.parse(frame)
            if kind == "start_session":
                return messages.start(fields)
            if kind != "keep_alive":
                raise Refusal(Code.INVALID_MESSAGE, "The first message must be start_session.")

    async def send(self, message: dict[str, Any]) -> None:
        async with self._sending, asyncio.timeout(SEND_SECONDS):
            await self._socket.send_text(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    async def send_event(self, event: Event) -> None:
        await self.send(messages.of_event(event))

    async def try_to_send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(Exception):
            await self.send(message)

    async def refuse(self, refusal: Refusal) -> None:
        await self.try_to_send(messages.of_refusal(refusal, fatal=True))
        await self.close(refusal.answer.close, refusal.answer.code)

    async def close(self, code: int, reason: str = "") -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.close(code, reason)
