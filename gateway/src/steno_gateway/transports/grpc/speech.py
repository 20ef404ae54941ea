"""`STTService` of gRPC: a live session of a client with an API key, whose server is spoken to over its WebSocket.

What the client calls itself and its session stays its own, as in `original_websocket`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

from websockets.asyncio.client import ClientConnection

from steno_api.gateway.api_keys import Scope
from steno_api.pb.steno.v1 import stt_pb2
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.session_end import SessionEnd, ending_error
from steno_gateway.access.access import Access
from steno_gateway.live.sessions import LiveSessions, SessionRequest
from steno_gateway.live.upstream import status_of
from steno_gateway.transports.grpc.calls import Call, Method
from steno_gateway.transports.live_calls import START_SECONDS, live_call
from steno_gateway.transports.websocket_client import MAX_FRAME_BYTES

MAX_TEXT = 512
"""Characters of what clients call their sessions."""
_KINDS = {
    "speech_started": stt_pb2.SPEECH_STARTED,
    "speech_ended": stt_pb2.SPEECH_ENDED,
    "partial": stt_pb2.PARTIAL,
    "final": stt_pb2.FINAL,
    "flow": stt_pb2.FLOW,
}
SpeechCall = Call[stt_pb2.AudioChunk]


class SpeechService:
    """The service."""

    def __init__(self, access: Access, sessions: LiveSessions) -> None:
        self._access = access
        self._sessions = sessions

    def methods(self, service: str) -> list[Method[Any]]:
        """Return its methods under a name of the service."""
        return [
            Method(
                f"/{service}/StreamingRecognize",
                Scope.STREAM,
                stt_pb2.AudioChunk,
                stt_pb2.TranscriptEvent,
                self._recognize,
            )
        ]

    async def _recognize(self, call: SpeechCall) -> None:
        first = await call.first(START_SECONDS)
        session_id = first.session_id or secrets.token_hex(16)
        request = _request(first, session_id)
        call.state["session"] = self._sessions.name(call.admitted.principal, session_id)
        # The library cancels the call when its client has left.
        never = asyncio.Event().wait()
        async with live_call(self._access, self._sessions, call.admitted, request, never) as live:
            events = _Events(call, session_id)
            await events.send(stt_pb2.TranscriptEvent(type=stt_pb2.SESSION_STARTED))
            await live.relay(_to_server(call, first, live.server), events.pass_on(live.server))
            if events.error is not None:
                raise events.error


class _Events:
    """What the server says, in the proto's terms.

    Attributes:
        error: how the session ended, unless it ended normally.
    """

    def __init__(self, call: SpeechCall, session_id: str) -> None:
        self.error: ApiError | None = None
        self._call = call
        self._session_id = session_id

    async def send(self, event: stt_pb2.TranscriptEvent) -> None:
        event.session_id = self._session_id
        await self._call.send(event)

    async def pass_on(self, server: ClientConnection) -> None:
        async for frame in server:
            message: dict[str, Any] = json.loads(frame)
            kind = message.get("type")
            if kind == "error" and message.get("fatal"):
                status = status_of(message.get("code")) or ErrorCode.INTERNAL.value
                self.error = ApiError(status, str(message.get("message")))
            elif kind == "session_ended":
                await self.send(_ended(message))
                reason = message["reason"]
                self.error = self.error or (ending_error(SessionEnd(reason)) if reason in set(SessionEnd) else None)
            elif kind in _KINDS:
                await self.send(_event(kind, message))


async def _to_server(call: SpeechCall, chunk: stt_pb2.AudioChunk | None, server: ClientConnection) -> None:
    """Pass on audio until there is no more; the server closes once it has said all it has to say."""
    while chunk is not None:
        if len(chunk.audio_data) > MAX_FRAME_BYTES:
            message = "audio_data may have at most 1 MiB: send pieces of a second or less."
            raise ApiError(ErrorCode.TOO_LARGE, message)
        if chunk.audio_data:
            await server.send(chunk.audio_data)
        if chunk.finalize:
            await server.send('{"type":"finalize"}')
        if chunk.is_last:
            break
        chunk = await anext(call.requests, None)
    await server.send('{"type":"end_session"}')


def _request(first: stt_pb2.AudioChunk, session_id: str) -> SessionRequest:
    """Return what a first message asks for.

    Raises:
        ApiError: `InvalidMessage`.
    """
    config = first.config
    texts = {"session_id": first.session_id, "tenant_id": config.tenant_id, "meeting_id": config.meeting_id}
    for name, text in texts.items():
        if len(text) > (253 if name == "meeting_id" else MAX_TEXT):
            raise ApiError(ErrorCode.INVALID_MESSAGE, f"{name} is too long.")
    start: dict[str, Any] = {}
    if config.language:
        start["language"] = config.language
    if config.languages:
        start["languages"] = list(config.languages)
    if config.sample_rate:
        start["sample_rate"] = config.sample_rate
    if config.HasField("interim_results"):
        start["interim_results"] = config.interim_results
    metadata = {name: text for name, text in texts.items() if text and name != "meeting_id"}
    return SessionRequest(session_id, config.meeting_id or None, metadata, start, is_new=not first.session_id)


def _event(kind: str, message: dict[str, Any]) -> stt_pb2.TranscriptEvent:
    """Return the event of a server's message."""
    event = stt_pb2.TranscriptEvent(type=_KINDS[kind])
    if kind == "flow":
        event.flow.state, event.flow.lag_ms = message["state"], message["lag_ms"]
        return event
    event.start_ms = message.get("start_ms", message.get("offset_ms", 0))
    event.end_ms = message.get("end_ms", message.get("offset_ms", 0))
    if kind not in ("partial", "final"):
        return event
    event.seq, event.utterance_id, event.text = message["seq"], str(message["utterance_id"]), message["text"]
    if kind == "partial":
        event.stable_text = message["stable_text"]
        event.stability = len(event.stable_text) / len(event.text) if event.text else 0.0
        return event
    event.stable_text, event.stability, event.is_final = event.text, 1.0, True
    event.speech_final, event.confidence = message["speech_final"], message["confidence"]
    event.language = message["language"] or ""
    event.words.extend(_word(word) for word in message["words"])
    return event


def _word(word: dict[str, Any]) -> stt_pb2.Word:
    """Return a word, whose times a WebSocket has in seconds."""
    start, end = (round(word[name] * 1000) for name in ("start", "end"))
    return stt_pb2.Word(word=word["word"], start_ms=start, end_ms=end, confidence=word["confidence"])


def _ended(message: dict[str, Any]) -> stt_pb2.TranscriptEvent:
    stats, failure = message.get("stats", {}), message.get("failure", {})
    warnings = [
        stt_pb2.WarningSummary(reason=each["reason"], message=each["message"], count=each["count"])
        for each in message.get("warnings", ())
    ]
    ended = stt_pb2.SessionEnded(
        reason=message["reason"],
        audio_seconds=stats.get("audio_seconds", 0.0),
        segments=stats.get("segments", 0),
        manifest=message.get("manifest", ""),
        failure=failure.get("reason", ""),
        message=failure.get("message", ""),
        warnings=warnings,
    )
    return stt_pb2.TranscriptEvent(type=stt_pb2.SESSION_ENDED, ended=ended)
