"""gRPC service `STTService`: live sessions over `StreamingRecognize`."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

from steno_api.gateway.api_keys import Scope
from steno_api.pb.steno.v1 import stt_pb2, stt_pb2_grpc
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.session_end import ending_error
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.serve.auth import Authenticator
from steno_runtime.serve.sessions.driver import (
    MAX_AUDIO_BYTES,
    Audio,
    ClientMessage,
    Disconnected,
    End,
    Finalize,
    ServerEvent,
    SessionDriver,
    SessionEnding,
    Start,
    Started,
)
from steno_runtime.serve.sessions.live_session import SEND_SECONDS
from steno_runtime.serve.sessions.registry import SessionOverrides
from steno_runtime.serve.transports.grpc.calls import Context, abort, metadata_token
from steno_runtime.stream.events import Final, Lag, Partial, SpeechEnded, SpeechStarted

HALF_CLOSE_SECONDS = 0.05
_MAX_LANGUAGE_CHARS = 16


class STTService(stt_pb2_grpc.STTServiceServicer):
    """The service. An interceptor has checked the caller's token already."""

    def __init__(self, driver: SessionDriver, authenticator: Authenticator) -> None:
        self._driver = driver
        self._authenticator = authenticator

    async def StreamingRecognize(  # noqa: N802 - the name of the original API
        self, request_iterator: AsyncIterator[stt_pb2.AudioChunk], context: Context
    ) -> None:
        """See the proto."""
        connection = GrpcConnection(request_iterator, context)
        try:
            claims = self._authenticator.authenticate(metadata_token(context.invocation_metadata()), Scope.STREAM)
        except ApiError as error:
            await abort(context, error)
        await self._driver.serve(connection, claims)
        if connection.error is not None:
            await abort(context, connection.error)


class GrpcConnection:
    """A `ClientConnection` over a call.

    Attributes:
        error: the status to end the call with; None: OK.
    """

    def __init__(self, chunks: AsyncIterator[stt_pb2.AudioChunk], context: Context) -> None:
        self.error: ApiError | None = None
        self._chunks = aiter(chunks)
        self._context = context
        self._session_id = ""
        self._half_closed = False
        self._sending = asyncio.Lock()
        self._pending: deque[ClientMessage] = deque()
        """Messages of chunks that were read: one chunk may be several."""

    async def start(self) -> Start:
        """See `ClientConnection`: the first chunk, which may have audio too."""
        chunk = await anext(self._chunks, None)
        if chunk is None:
            raise ApiError(ErrorCode.INVALID_MESSAGE, "The call ended before its first message.")
        config = chunk.config
        if max(map(len, [config.language, *config.languages])) > _MAX_LANGUAGE_CHARS:
            raise ApiError(ErrorCode.LANGUAGE_UNKNOWN, "config.language must be a BCP 47 tag, or `auto`.")
        self._pending += _messages(chunk)
        interim = config.interim_results if config.HasField("interim_results") else None
        return Start(
            session=chunk.session_id,
            tenant=config.tenant_id,
            meeting=config.meeting_id,
            sample_rate=config.sample_rate or SAMPLE_RATE,
            overrides=SessionOverrides(config.language or None, interim, tuple(config.languages[:16])),
        )

    def authenticate(self) -> None:
        """See `ClientConnection`: an interceptor has done so."""

    async def receive(self) -> ClientMessage:
        """See `ClientConnection`."""
        while not self._pending:
            chunk = await self._next_chunk()
            if chunk is None:
                # A call that broke ends its messages just as one that is half closed. What tells them apart is that
                # the library cancels our task a moment later; the context's `cancelled` and `done` speak of the answer
                # only.
                if self._half_closed:
                    raise Disconnected
                self._half_closed = True
                await asyncio.sleep(HALF_CLOSE_SECONDS)
                return End()
            self._pending += _messages(chunk)
        message = self._pending.popleft()
        if isinstance(message, Audio) and len(message.data) > MAX_AUDIO_BYTES:
            raise ApiError(ErrorCode.TOO_LARGE, "audio_data may have at most 1 MiB: send pieces of a second or less.")
        return message

    async def send(self, event: ServerEvent) -> None:
        """See `ClientConnection`."""
        if isinstance(event, Started):
            self._session_id = event.session
        await self._write(_event_message(event))

    async def close(self, ending: SessionEnding | ApiError) -> None:
        """See `ClientConnection`; the caller then ends the call with `error`."""
        if isinstance(ending, ApiError):
            self.error = ending
            return
        with contextlib.suppress(Exception):
            await self._write(_ended_message(ending))
        self.error = ending.error or ending_error(ending.reason)

    async def _next_chunk(self) -> stt_pb2.AudioChunk | None:
        try:
            return await anext(self._chunks, None)
        except Exception as error:  # any error of the library means that the call is broken
            raise Disconnected from error

    async def _write(self, message: stt_pb2.TranscriptEvent) -> None:
        message.session_id = self._session_id
        async with self._sending, asyncio.timeout(SEND_SECONDS):
            await self._context.write(message)


def _messages(chunk: stt_pb2.AudioChunk) -> list[ClientMessage]:
    """Return the messages of a chunk, in order."""
    messages: list[ClientMessage] = [Audio(chunk.audio_data)]
    if chunk.finalize:
        messages.append(Finalize())
    if chunk.is_last:
        messages.append(End())
    return messages


def _ended_message(ending: SessionEnding) -> stt_pb2.TranscriptEvent:
    result = ending.result
    ended = stt_pb2.SessionEnded(
        reason=ending.reason,
        audio_seconds=ending.stats.audio_seconds,
        segments=ending.stats.segments,
        manifest=(result.manifest or "") if result else "",
        failure=(result.failure or "") if result else "",
        message=result.message if result else "",
        warnings=[
            stt_pb2.WarningSummary(reason=warning.reason, message=warning.message, count=warning.count)
            for warning in (result.warnings if result else ())
        ],
    )
    return stt_pb2.TranscriptEvent(type=stt_pb2.SESSION_ENDED, ended=ended)


def _event_message(event: ServerEvent) -> stt_pb2.TranscriptEvent:
    match event:
        case Started():
            return stt_pb2.TranscriptEvent(type=stt_pb2.SESSION_STARTED)
        case SpeechStarted():
            kind, offset = stt_pb2.SPEECH_STARTED, event.offset_ms
            return stt_pb2.TranscriptEvent(type=kind, start_ms=offset, end_ms=offset)
        case SpeechEnded():
            kind, offset = stt_pb2.SPEECH_ENDED, event.offset_ms
            return stt_pb2.TranscriptEvent(type=kind, start_ms=offset, end_ms=offset)
        case Partial():
            return stt_pb2.TranscriptEvent(
                type=stt_pb2.PARTIAL,
                seq=event.seq,
                utterance_id=str(event.utterance),
                text=event.text,
                stable_text=event.stable_text,
                stability=len(event.stable_text) / len(event.text) if event.text else 0.0,
                start_ms=event.start_ms,
                end_ms=event.end_ms,
            )
        case Final():
            return stt_pb2.TranscriptEvent(
                type=stt_pb2.FINAL,
                seq=event.seq,
                utterance_id=str(event.utterance),
                text=event.text,
                stable_text=event.text,
                stability=1.0,
                is_final=True,
                speech_final=event.speech_final,
                confidence=event.confidence,
                language=event.language,
                start_ms=event.start_ms,
                end_ms=event.end_ms,
                words=[
                    stt_pb2.Word(word=w.word, start_ms=w.start_ms, end_ms=w.end_ms, confidence=w.confidence)
                    for w in event.words
                ],
            )
        case Lag():
            flow = stt_pb2.FlowControl(state=event.state, lag_ms=event.lag_ms)
            return stt_pb2.TranscriptEvent(type=stt_pb2.FLOW, flow=flow)
