"""`STTService.StreamingRecognize`: a session over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import grpc

from steno_api.server.claims import SessionClaims
from steno_api.server.session_end import SessionEnd
from steno_runtime.serve.auth import Access
from steno_runtime.serve.errors import Answer, Code, Refusal, refusal_of
from steno_runtime.serve.sessions.live_session import SEND_SECONDS, Live
from steno_runtime.serve.sessions.registry import Registry, Wishes
from steno_runtime.serve.sessions.resampler import Resampler
from steno_runtime.serve.transports.grpc.calls import Context, abort, token_of
from steno_runtime.serve.transports.grpc.pb.steno.v1 import stt_pb2, stt_pb2_grpc
from steno_runtime.serve.transports.websocket.endpoint import MAX_FRAME_BYTES, PUBLISH_SECONDS, START_SECONDS
from steno_runtime.stream.events import Event, Final, Lag, Partial, SpeechEnded, SpeechStarted

log = logging.getLogger(__name__)

HALF_CLOSE_SECONDS = 0.05
_LONGEST_LANGUAGE = 16

ENDS = {
    SessionEnd.IDLE_TIMEOUT: (Answer("IdleTimeout", 408, 4008, "DEADLINE_EXCEEDED"), "No audio came for too long."),
    SessionEnd.MAX_DURATION: (Answer("MaxDuration", 408, 4008, "DEADLINE_EXCEEDED"), "The session's time is over."),
    SessionEnd.DRAINED: (Code.DRAINING.value, "The server had to stop; what was said until then is kept."),
    SessionEnd.DELETED: (Code.SESSION_ENDED.value, "The StreamSession was deleted."),
    SessionEnd.DUPLICATE: (Code.SESSION_CONNECTED.value, "A client is connected to this session elsewhere."),
    SessionEnd.NO_CLIENT: (Code.SESSION_ENDED.value, "The session's time is over."),
}


class STTService(stt_pb2_grpc.STTServiceServicer):
    """The service; whoever calls it has shown a token that holds."""

    def __init__(self, registry: Registry, access: Access) -> None:
        self._registry = registry
        self._access = access

    async def StreamingRecognize(  # noqa: N802 - the name of the original API
        self, request_iterator: AsyncIterator[stt_pb2.AudioChunk], context: Context
    ) -> None:
        """See the proto."""
        try:
            await self._converse(request_iterator, context)
        except Refusal as refusal:
            await abort(context, refusal)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001
            log.error("a call failed", extra={"error": type(error).__name__})  # noqa: TRY400 - may quote messages
            await abort(context, refusal_of(error))

    async def _converse(self, chunks: AsyncIterator[stt_pb2.AudioChunk], context: Context) -> None:
        claims = self._access.claims(token_of(context.invocation_metadata()))
        reader = aiter(chunks)
        try:
            async with asyncio.timeout(START_SECONDS):
                first = await anext(reader, None)
        except TimeoutError:
            raise Refusal(Code.START_TIMEOUT, f"No message within {START_SECONDS:g} s.") from None
        if first is None:
            raise Refusal(Code.INVALID_MESSAGE, "The call ended before its first message.")
        live, audio, events = self._begin(claims, first, context)
        listening = asyncio.create_task(_listen(reader, first, live, audio))
        ending = asyncio.create_task(live.ending.wait())
        refusal: Refusal | None = None
        try:
            await events.send(stt_pb2.TranscriptEvent(type=stt_pb2.SESSION_STARTED))
            await asyncio.wait((listening, ending, live.decoding), return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                refusal = listening.result()
        finally:
            listening.cancel()
            ending.cancel()
            live.end(SessionEnd.CLIENT_GONE)  # unless it ended otherwise: the call is cancelled, or broke
        if refusal is not None:
            raise refusal
        await self._conclude(live, events)

    def _begin(
        self, claims: SessionClaims, first: stt_pb2.AudioChunk, context: Context
    ) -> tuple[Live, Resampler, _Events]:
        config = first.config
        claims = self._access.check(
            claims, session=first.session_id, tenant=config.tenant_id, meeting=config.meeting_id
        )
        if len(config.language) > _LONGEST_LANGUAGE:
            raise Refusal(Code.LANGUAGE_UNKNOWN, "config.language must be an ISO 639 code, or `auto`.")
        audio = Resampler(config.sample_rate or 16_000)
        interim = config.interim_results if config.HasField("interim_results") else None
        events = _Events(context, first.session_id or claims.name)
        return self._registry.begin(claims, Wishes(config.language or None, interim), events.send_event), audio, events

    async def _conclude(self, live: Live, events: _Events) -> None:
        failure = await asyncio.shield(live.decoding)
        await asyncio.wait((live.done,), timeout=PUBLISH_SECONDS)
        if live.reason is SessionEnd.CLIENT_GONE:  # connected perhaps, but it does not read
            return
        result = live.done.result() if live.done.done() else None
        figures = live.figures
        ended = stt_pb2.SessionEnded(
            reason=live.reason,
            audio_seconds=figures.audio_seconds,
            segments=figures.segments,
            manifest=(result.manifest or "") if result else "",
            failure=(result.failure or "") if result else "",
            message=result.message if result else "",
        )
        with contextlib.suppress(Exception):
            await events.send(stt_pb2.TranscriptEvent(type=stt_pb2.SESSION_ENDED, ended=ended))
        if failure is not None:
            raise refusal_of(failure)
        if live.reason in ENDS:
            raise Refusal(*ENDS[live.reason])


async def _listen(
    chunks: AsyncIterator[stt_pb2.AudioChunk], first: stt_pb2.AudioChunk, live: Live, audio: Resampler
) -> Refusal | None:
    """Takes messages until the session ends; returns what the client did wrong, if that is why."""
    chunk: stt_pb2.AudioChunk | None = first
    try:
        while chunk is not None and not live.ending.is_set():
            _check_size(chunk)
            await live.feed(audio.convert(chunk.audio_data))
            if chunk.finalize:
                await live.feed(audio.flush())
                await live.finalize()
            chunk = None if chunk.is_last else await _next(chunks)
    except Refusal as refusal:
        live.end(SessionEnd.CLIENT_GONE)
        return refusal
    except Exception:  # noqa: BLE001  (whatever the library raises: the call is broken)
        live.end(SessionEnd.CLIENT_GONE)
        return None
    await live.feed(audio.flush())
    live.end(SessionEnd.CLIENT_ENDED)
    return None


async def _next(chunks: AsyncIterator[stt_pb2.AudioChunk]) -> stt_pb2.AudioChunk | None:
    chunk = await anext(chunks, None)
    if chunk is None:
        # A call that broke ends its messages just as one that is half closed. What tells them apart is that the
        # library cancels our task a moment later; the context's `cancelled` and `done` speak of the answer only.
        await asyncio.sleep(HALF_CLOSE_SECONDS)
    return chunk


def _check_size(chunk: stt_pb2.AudioChunk) -> None:
    if len(chunk.audio_data) > MAX_FRAME_BYTES:
        raise Refusal(Code.TOO_LARGE, "audio_data may have 1 MiB at most: send pieces of a second or less.")


class _Events:
    """Sends a session's events, one after the other."""

    def __init__(self, context: Context, session_id: str) -> None:
        self._context = context
        self._session_id = session_id
        self._sending = asyncio.Lock()

    async def send(self, message: stt_pb2.TranscriptEvent) -> None:
        message.session_id = self._session_id
        async with self._sending, asyncio.timeout(SEND_SECONDS):
            await self._context.write(message)

    async def send_event(self, event: Event) -> None:
        await self.send(_of(event))


def _of(event: Event) -> stt_pb2.TranscriptEvent:
    match event:
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
