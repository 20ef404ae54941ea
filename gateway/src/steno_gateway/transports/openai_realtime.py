"""OpenAI's Realtime API for transcription: `WS /v1/realtime?intent=transcription`, for unchanged SDKs.

A client's session becomes a StreamSession with its first audio: until then it may say what it wants. docs/openai.md has
the table of events.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
from functools import partial
from typing import Any

from pydantic import ValidationError
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection

from steno_api.gateway.api_keys import Scope
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.session_end import SessionEnd, ending_error
from steno_gateway.access.access import Access
from steno_gateway.live.sessions import LiveSessions, SessionRequest
from steno_gateway.live.upstream import status_of
from steno_gateway.settings import Settings
from steno_gateway.transports.http import api_key
from steno_gateway.transports.live_calls import Disconnected, live_call, running, until_revoked
from steno_gateway.transports.openai_rest import OpenAIError, envelope, model_names, require_model
from steno_gateway.transports.realtime_events import Event, RealtimeSession, Translator, event_id, pcm, updated
from steno_gateway.transports.websocket_client import WebSocketClient, serve_client

FIRST_AUDIO_SECONDS = 300.0
"""Within which a session has to have audio."""
LIVE_MODELS = ("gpt-realtime-whisper", "gpt-live-transcribe")
"""OpenAI's names of models for live sessions, beside those of recordings."""
_PROTOCOL, _KEY_PROTOCOL = "realtime", "openai-insecure-api-key."
_UPDATES = {"session.update": "session.updated", "transcription_session.update": "transcription_session.updated"}


class RealtimeEndpoint:
    """The endpoint."""

    def __init__(self, settings: Settings, access: Access, sessions: LiveSessions) -> None:
        """Serve nothing yet.

        Args:
            settings: of the gateway.
            access: who may ask.
            sessions: what is asked for.
        """
        self._access = access
        self._sessions = sessions
        self._models = (*model_names(settings), *LIVE_MODELS)

    async def serve(self, socket: WebSocket) -> None:
        """Serve one connection to its end. Never raises, unless it is cancelled."""
        offered = socket.scope.get("subprotocols", ())
        agreed = _PROTOCOL if _PROTOCOL in offered else None
        await serve_client(socket, partial(self._serve, socket), _fail, subprotocol=agreed)

    async def _serve(self, socket: WebSocket, client: WebSocketClient) -> None:
        async with self._access.admit(_key(socket), Scope.STREAM) as admitted:
            socket.state.principal = admitted.principal
            self._require_transcription(socket)
            session_id = f"sess_{secrets.token_hex(10)}"
            conversation = _Conversation(client, session_id, self._models, beta="openai-beta" in socket.headers)
            await conversation.begin()
            async with (
                running(until_revoked(self._access, admitted)) as revoked,
                running(conversation.settle()) as settling,
            ):
                await asyncio.wait((settling, revoked), return_when=asyncio.FIRST_COMPLETED)
                if not settling.done():
                    revoked.result()
                first = settling.result()
            socket.state.session = self._sessions.name(admitted.principal, session_id)
            start = conversation.session.start()
            request = SessionRequest(session_id, None, {"session_id": session_id}, start, is_new=True)
            async with live_call(self._access, self._sessions, admitted, request, client.gone.wait()) as call:
                up = conversation.to_server(call.server, first)
                code, reason = await call.relay(up, conversation.to_client(call.server))
                if conversation.error is not None:
                    raise conversation.error
                await client.close(code, reason)

    def _require_transcription(self, socket: WebSocket) -> None:
        """Check that a session of transcription is asked for.

        Raises:
            ApiError: `NotSupported` or `model_not_found`.
        """
        intent, model = (socket.query_params.get(name) for name in ("intent", "model"))
        if intent != "transcription":
            message = "Only sessions of transcription are supported: add ?intent=transcription to the address."
            raise OpenAIError(ErrorCode.NOT_SUPPORTED, message, "intent")
        if model:
            require_model(model, self._models)


class _Conversation:
    """What is said in a session.

    Attributes:
        session: its settings.
        error: how it ended, unless it ended normally.
    """

    def __init__(self, client: WebSocketClient, session_id: str, models: tuple[str, ...], *, beta: bool) -> None:
        self.session = RealtimeSession()
        self.error: ApiError | None = None
        self._client = client
        self._id = session_id
        self._models = models
        self._beta = beta
        self._translator = Translator()
        self._is_settled = False
        self._has_audio = False

    async def begin(self) -> None:
        """Say that the session is there."""
        kind = "transcription_session.created" if self._beta else "session.created"
        await self._send({"type": kind, "session": self._shown()})

    async def settle(self) -> bytes:
        """Read what the client wants of its session until its first audio; return that.

        Raises:
            ApiError: `StartTimeout`.
            Disconnected: the client has left.
        """
        try:
            async with asyncio.timeout(FIRST_AUDIO_SECONDS):
                while (audio := await self._receive()) is None:
                    pass
        except TimeoutError:
            message = f"There was no audio within {FIRST_AUDIO_SECONDS:g} s."
            raise ApiError(ErrorCode.START_TIMEOUT, message) from None
        self._is_settled = True
        assert isinstance(audio, bytes)  # noqa: S101 - nothing else is passed on before that
        return audio

    async def to_server(self, server: ClientConnection, first: bytes) -> None:
        """Pass on what the client says."""
        frame: str | bytes | None = first
        while True:
            if frame is not None:
                await server.send(frame)
            frame = await self._receive()

    async def to_client(self, server: ClientConnection) -> None:
        """Pass on what the server says."""
        async for frame in server:
            message: dict[str, Any] = json.loads(frame)
            if message["type"] == "error" and message.get("fatal"):
                status = status_of(message.get("code")) or ErrorCode.INTERNAL.value
                self.error = ApiError(status, str(message.get("message")))
            elif message["type"] == "session_ended" and message["reason"] in set(SessionEnd):
                self.error = self.error or ending_error(SessionEnd(message["reason"]))
            for event in self._translator.translate(message):
                await self._send(event)

    async def _receive(self) -> str | bytes | None:
        """Read one event, and return what of it is the server's; what is wrong with it is answered."""
        frame = await self._client.receive()
        event: Event = {}
        try:
            event = _parse(frame)
            return await self._handle(event)
        except ApiError as error:
            await self._send(_error(error, event.get("event_id")))
            return None

    async def _handle(self, event: dict[str, Any]) -> str | bytes | None:
        kind = event.get("type")
        match kind:
            case "input_audio_buffer.append":
                audio = self._audio(event.get("audio"))
                self._has_audio = self._has_audio or bool(audio)
                return audio or None
            case "input_audio_buffer.commit":
                if not self._has_audio:
                    message = "There is no audio since the last commit."
                    raise ApiError(ErrorCode.INVALID_AUDIO, message)
                self._has_audio = False
                return '{"type":"finalize"}'
            case "input_audio_buffer.clear":
                self._translator.clear()
                had_audio, self._has_audio = self._has_audio, False
                await self._send({"type": "input_audio_buffer.cleared"})
                return '{"type":"finalize"}' if had_audio else None
            case "session.update" | "transcription_session.update":
                self._update(event.get("session"))
                await self._send({"type": _UPDATES[kind], "session": self._shown(beta=kind != "session.update")})
                return None
            case _:
                raise ApiError(ErrorCode.NOT_SUPPORTED, "Events of this type are not supported in transcription.")

    def _audio(self, encoded: Any) -> bytes:
        if not isinstance(encoded, str):
            raise OpenAIError(ErrorCode.INVALID_AUDIO, "audio must be base64.", "audio")
        try:
            return pcm(base64.b64decode(encoded, validate=True), self.session.format.type)
        except (binascii.Error, ValueError):
            raise OpenAIError(ErrorCode.INVALID_AUDIO, "audio is not base64: it was left out.", "audio") from None

    def _update(self, said: Any) -> None:
        """Change the session's settings, unless there is audio already.

        Raises:
            OpenAIError: `InvalidRequest`, `NotSupported`, `model_not_found`.
        """
        if not isinstance(said, dict):
            raise OpenAIError(ErrorCode.INVALID_REQUEST, "session must be an object.", "session")
        if said.get("type", "transcription") != "transcription":
            raise OpenAIError(ErrorCode.NOT_SUPPORTED, "Only sessions of transcription are supported.", "session.type")
        if said.get("include"):
            raise OpenAIError(ErrorCode.NOT_SUPPORTED, "include is not supported: leave it out.", "session.include")
        try:
            wanted = updated(self.session, said)
        except ValidationError as error:
            name = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
            raise OpenAIError(ErrorCode.INVALID_REQUEST, f"{name} has no value that this server knows.", name) from None
        if wanted.transcription.model is not None:
            require_model(wanted.transcription.model, self._models)
        if self._is_settled and wanted != self.session:
            message = "Format, model and languages can be set until the first audio only."
            raise OpenAIError(ErrorCode.NOT_SUPPORTED, message, "session")
        self.session = wanted

    def _shown(self, *, beta: bool | None = None) -> Event:
        return self.session.shown(self._id, self._models[0], beta=self._beta if beta is None else beta)

    async def _send(self, event: Event) -> None:
        await self._client.send_json({"event_id": event_id(), **event})


def _parse(frame: str | bytes) -> Event:
    """Read a client's event.

    Raises:
        ApiError: `InvalidMessage`.
    """
    try:
        event = json.loads(frame)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise ApiError(ErrorCode.INVALID_MESSAGE, "An event is a JSON object, as text.")
    return event


def _error(error: ApiError, of: Any = None) -> Event:
    """Return the event of an error.

    Args:
        error: which.
        of: ID of the client's event, if it has one.
    """
    said = envelope(error).model_dump()["error"]
    return {"type": "error", "error": {**said, "event_id": of if isinstance(of, str) else None}}


async def _fail(client: WebSocketClient, error: ApiError) -> None:
    """Say why the session ends. Never raises."""
    try:
        await client.send_json({"event_id": event_id(), **_error(error)})
    except Disconnected:
        return
    await client.close(error.status.close, error.status.code)


def _key(socket: WebSocket) -> str | None:
    """Return the API key: as elsewhere, or as a browser of OpenAI's sends it, among the subprotocols."""
    protocols = socket.scope.get("subprotocols", ())
    found = next((each.removeprefix(_KEY_PROTOCOL) for each in protocols if each.startswith(_KEY_PROTOCOL)), None)
    return api_key(socket) or found
