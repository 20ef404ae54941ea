"""The gRPC services over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from pathlib import Path
from typing import Self

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from PIL import Image

from steno_api.pb.steno.v1 import ocr_pb2, ocr_pb2_grpc, stt_pb2, stt_pb2_grpc
from steno_api.server.session_end import SessionEnd
from steno_runtime.serve.sessions import live_session
from steno_runtime.serve.transports.grpc import server as grpc_server
from steno_runtime.serve.transports.grpc import stt

from .conftest import SECOND, RunningServer, StartServer, TokenIssuer, wait_until
from .scripted import WORD
from .test_session_endings import next_ended
from .test_websocket import BAD, tokens

Chunk = stt_pb2.AudioChunk


class WithToken(grpc.StreamStreamClientInterceptor):
    """Sends a token with each call."""

    def __init__(self, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)

    def intercept_stream_stream(self, continuation, client_call_details, request_iterator):
        details = client_call_details._replace(metadata=self._metadata)
        return continuation(details, request_iterator)


class Call:
    """One StreamingRecognize."""

    def __init__(self, server: RunningServer, token: str | None) -> None:
        self.channel = grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)])
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.call = stt_pb2_grpc.STTServiceStub(self.channel).StreamingRecognize(metadata=metadata)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()
        await self.channel.close()

    async def send(self, *chunks: stt_pb2.AudioChunk) -> None:
        for chunk in chunks:
            await self.call.write(chunk)

    async def read_all(self) -> tuple[list[stt_pb2.TranscriptEvent], grpc.StatusCode, str]:
        """Return the remaining events, the status and its code."""
        events = []
        try:
            async with asyncio.timeout(20):
                while (event := await self.call.read()) is not grpc.aio.EOF:
                    events.append(event)
        except grpc.aio.AioRpcError:
            pass
        trailing = dict(await self.call.trailing_metadata())
        return events, await self.call.code(), trailing.get("steno-code", "")


def events_of_type(events: list[stt_pb2.TranscriptEvent], kind: int) -> list[stt_pb2.TranscriptEvent]:
    return [event for event in events if event.type == kind]


async def test_the_languages_that_may_be_detected(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with Call(server, issuer.token()) as call:
        config = stt_pb2.StreamConfig(languages=["ko", "en"])
        await call.send(Chunk(config=config), Chunk(audio_data=SECOND[:3_200], is_last=True))
        await call.read_all()
    assert (server.engine.configs[0].language, server.engine.configs[0].languages) == ("auto", ("ko", "en"))


async def test_a_session(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with Call(server, issuer.token(name="standup")) as call:
        config = stt_pb2.StreamConfig(language="ko", sample_rate=16_000, tenant_id="acme")
        await call.send(
            Chunk(session_id="standup", config=config), Chunk(audio_data=SECOND[:6_400], finalize=True),
            Chunk(audio_data=SECOND[:3_200], is_last=True),
        )  # fmt: skip
        events, status, _ = await call.read_all()
    assert status is grpc.StatusCode.OK
    assert [events[0].type, events[-1].type] == [stt_pb2.SESSION_STARTED, stt_pb2.SESSION_ENDED]
    first, second = events_of_type(events, stt_pb2.FINAL)
    assert (first.text, first.is_final, first.language, first.end_ms) == (f"{WORD} {WORD}", True, "ko", 200)
    assert (first.words[1].word, first.words[1].start_ms, first.utterance_id) == (WORD, 100, "0")
    assert (second.text, second.start_ms) == (WORD, 200)
    partial = events_of_type(events, stt_pb2.PARTIAL)[0]
    assert (partial.stable_text, partial.is_final) == (WORD, False)
    assert 0 < partial.stability < 1
    assert events_of_type(events, stt_pb2.FLOW)[0].flow.state == "ok"
    last = events[-1].ended
    assert (last.reason, last.segments, last.failure) == ("ClientEnded", 2, "")
    assert last.audio_seconds == pytest.approx(0.3)
    assert {event.session_id for event in events} == {"standup"}


async def test_a_session_without_speech_says_so(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    async with Call(server, issuer.token()) as call:
        await call.send(Chunk(audio_data=bytes(1_600), is_last=True))  # less than a word of the scripted engine
        events, _, _ = await call.read_all()
    (told,) = events[-1].ended.warnings
    (reported,) = (await report).result.warnings
    assert (told.reason, told.message, told.count) == ("NoSpeech", reported.message, 1)


async def test_a_document_without_text_says_so(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    blank = io.BytesIO()
    Image.new("L", (300, 200), 255).save(blank, "PNG")
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = ocr_pb2_grpc.OCRServiceStub(channel)
        metadata = (("authorization", f"Bearer {issuer.token()}"),)
        response = await stub.ProcessDocument(ocr_pb2.DocumentRequest(content=blank.getvalue()), metadata=metadata)
    (warning,) = response.warnings
    assert (response.text, warning.reason, warning.page) == ("", "PagesEmpty", 0)
    assert warning.message


@pytest.mark.parametrize("extension", ["webm", "ogg"])
async def test_s9_what_a_browser_records_is_decoded(
    start_server: StartServer, issuer: TokenIssuer, media: dict[str, Path], extension: str
):
    server = await start_server()
    async with Call(server, issuer.token(uid=extension)) as call:
        await call.send(Chunk(audio_data=media[extension].read_bytes()[:20_000], is_last=True))
        await wait_until(lambda: extension in server.engine.sessions)
        session = server.engine.sessions[extension]
        assert (await call.read_all())[1] == grpc.StatusCode.OK
    assert len(session.audio) > 20_000


@pytest.mark.parametrize("extension", ["mp3", "m4a"])
async def test_s9_a_container_is_refused_by_name(
    start_server: StartServer, issuer: TokenIssuer, media: dict[str, Path], extension: str
):
    server = await start_server()
    async with Call(server, issuer.token()) as call:
        await call.send(Chunk(audio_data=media[extension].read_bytes()[:4_096]))
        _, status, code = await call.read_all()
    assert (status, code) == (grpc.StatusCode.INVALID_ARGUMENT, "InvalidAudio")


async def test_s4_finalize_within_a_sample(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with Call(server, issuer.token(uid="odd")) as call:
        await call.send(Chunk(audio_data=SECOND[:3_201], finalize=True))
        await wait_until(lambda: "odd" in server.engine.sessions)
        session = server.engine.sessions["odd"]
        await call.send(Chunk(audio_data=SECOND[3_201:], is_last=True))
        await call.read_all()
    assert bytes(session.audio) == SECOND


async def test_closing_the_clients_half_ends_a_session_too(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with Call(server, issuer.token()) as call:
        await call.send(Chunk(audio_data=SECOND, config=stt_pb2.StreamConfig(interim_results=False)))
        await call.call.done_writing()
        events, status, _ = await call.read_all()
    assert status is grpc.StatusCode.OK
    assert len(events_of_type(events, stt_pb2.FINAL)) == 1
    assert not events_of_type(events, stt_pb2.PARTIAL)


@pytest.mark.parametrize("bad", [*BAD, "missing"])
async def test_bad_tokens(start_server: StartServer, issuer: TokenIssuer, bad: str):
    server = await start_server()
    token, code, _ = (tokens(issuer) | {"missing": (None, "TokenMissing", 401)})[bad]
    async with Call(server, token) as call:
        _, status, received = await call.read_all()
    assert (status, received) == (grpc.StatusCode.UNAUTHENTICATED, code)
    assert server.engine.configs == []
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = ocr_pb2_grpc.OCRServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ProcessDocument(ocr_pb2.DocumentRequest(content=b"x" * 1024 * 1024), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert not token or token not in (caught.value.details() or "")


@pytest.mark.parametrize(
    ("chunk", "status", "code"),
    [
        (Chunk(session_id="other"), "PERMISSION_DENIED", "SessionMismatch"),
        (Chunk(config=stt_pb2.StreamConfig(tenant_id="rival")), "PERMISSION_DENIED", "TenantMismatch"),
        (Chunk(config=stt_pb2.StreamConfig(sample_rate=7)), "INVALID_ARGUMENT", "InvalidAudio"),
        (Chunk(config=stt_pb2.StreamConfig(sample_rate=-1)), "INVALID_ARGUMENT", "InvalidAudio"),
        (Chunk(config=stt_pb2.StreamConfig(language="xx")), "INVALID_ARGUMENT", "LanguageUnknown"),
        (Chunk(config=stt_pb2.StreamConfig(language="x" * 100)), "INVALID_ARGUMENT", "LanguageUnknown"),
        (Chunk(config=stt_pb2.StreamConfig(languages=["x" * 100])), "INVALID_ARGUMENT", "LanguageUnknown"),
        (Chunk(audio_data=bytes(1024 * 1024 + 1)), "INVALID_ARGUMENT", "TooLarge"),
    ],
)
async def test_a_wrong_first_message(
    start_server: StartServer, issuer: TokenIssuer, chunk: Chunk, status: str, code: str
):
    server = await start_server()
    async with Call(server, issuer.token()) as call:
        await call.send(chunk)
        _, got, received = await call.read_all()
    assert (got.name, received) == (status, code)
    await wait_until(lambda: not server.server.registry.open_sessions)


async def test_no_message(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with Call(server, issuer.token()) as call:
        await call.call.done_writing()
        _, status, _ = await call.read_all()
    assert status is grpc.StatusCode.INVALID_ARGUMENT


async def test_bytes_that_are_not_a_message(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        raw = channel.stream_stream("/steno.v1.STTService/StreamingRecognize")
        call = raw(metadata=(("authorization", f"Bearer {issuer.token()}"),))
        await call.write(b"\xff\xff\xff\xff")
        assert await asyncio.wait_for(call.code(), 20) is not grpc.StatusCode.OK
    assert server.server.registry.open_sessions == 0


async def test_busy_and_ended_sessions(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server(maxSessions=1)
    token = issuer.token()
    async with Call(server, token) as first:
        await first.send(Chunk(audio_data=SECOND))
        assert (await first.call.read()).type == stt_pb2.SESSION_STARTED
        async with Call(server, token) as second:
            await second.send(Chunk())
            assert (await second.read_all())[1:] == (grpc.StatusCode.FAILED_PRECONDITION, "SessionConnected")
        async with Call(server, issuer.token()) as third:
            await third.send(Chunk())
            assert (await third.read_all())[1:] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ServerFull")
        await first.send(Chunk(is_last=True))
        assert (await first.read_all())[1] is grpc.StatusCode.OK
    async with Call(server, token) as again:
        await again.send(Chunk())
        assert (await again.read_all())[1:] == (grpc.StatusCode.FAILED_PRECONDITION, "SessionEnded")


async def test_a_connection_that_breaks(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    async with Call(server, issuer.token()) as call:
        await call.send(Chunk(audio_data=SECOND))
        while (await call.call.read()).type != stt_pb2.PARTIAL:
            pass
    assert (await report).result.reason is SessionEnd.CLIENT_GONE
    assert (await report).stats.segments == 1


async def test_a_client_that_does_not_read(
    start_server: StartServer, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(live_session, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(stt, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(grpc_server, "EXTRA_CALLS", 0)
    server = await start_server(maxSessions=1)
    report = asyncio.create_task(next_ended(server))
    async with Call(server, issuer.token(maxDurationSeconds=10_000_000)) as silent_reader:

        async def speak() -> None:
            while True:
                await silent_reader.send(Chunk(audio_data=SECOND * 10, finalize=True))

        speaking = asyncio.create_task(speak())
        result = (await report).result
        assert result is not None
        assert result.reason is SessionEnd.CLIENT_GONE
        async with asyncio.timeout(20):  # its place among the calls is free again, although it is still connected
            while True:
                async with Call(server, issuer.token()) as call:
                    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                        await call.send(Chunk(audio_data=SECOND, is_last=True))
                    if (await call.read_all())[1] is grpc.StatusCode.OK:
                        break
        speaking.cancel()


async def test_a_client_that_sends_no_audio(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with Call(server, issuer.token(idleTimeoutSeconds=1)) as call:
        await call.send(Chunk())
        events, status, code = await call.read_all()
    assert (status, code, events[-1].ended.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "IdleTimeout", "IdleTimeout")


async def test_max_duration_of_audio(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with Call(server, issuer.token(maxDurationSeconds=1)) as call:
        await call.send(Chunk(audio_data=SECOND), Chunk(audio_data=SECOND))
        events, status, code = await call.read_all()
    assert (status, code) == (grpc.StatusCode.DEADLINE_EXCEEDED, "MaxDuration")
    assert len(events_of_type(events, stt_pb2.FINAL)) == 1


async def test_draining(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with Call(server, issuer.token()) as call:
        await call.send(Chunk(audio_data=SECOND))
        while (await call.call.read()).type != stt_pb2.PARTIAL:
            pass
        server.server.stop()
        events, status, code = await call.read_all()
    assert (status, code) == (grpc.StatusCode.UNAVAILABLE, "Draining")
    assert (len(events_of_type(events, stt_pb2.FINAL)), events[-1].ended.reason) == (1, "Drained")
    await asyncio.wait_for(server.running, 8)


async def test_health_and_reflection(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server(engine={}, grpcReflection=True)
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "steno.v1.STTService", "steno.v1.OCRService"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def reflected() -> set[str]:
        with grpc.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as plain:
            database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(plain, WithToken(issuer.token())))
            assert "AudioChunk" in str(database.FindFileContainingSymbol("steno.v1.STTService"))
            return set(database.get_services())

    names = await asyncio.to_thread(reflected)
    assert {"steno.v1.STTService", "steno.v1.OCRService", "grpc.health.v1.Health"} <= names


async def test_an_expired_token_does_not_end_an_open_session(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with Call(server, issuer.token(exp=int(time.time()) - 3)) as call:  # within the leeway for clocks
        await call.send(Chunk(audio_data=SECOND, is_last=True))
        assert (await call.read_all())[1] is grpc.StatusCode.OK
