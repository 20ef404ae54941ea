"""`STTService` at the gateway: a client with an API key, and behind it the real server with a scripted engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.tests.serve.conftest import SECOND, RunningServer
from runtime.tests.serve.scripted import WORD
from steno_api.gateway.api_keys import ApiKeyLimits, NewApiKey, Scope
from steno_api.pb.steno.v1 import stt_pb2
from steno_gateway.access import access

from .live_support import Live, live_gateway, real_server, until

Chunk = stt_pb2.AudioChunk
NAMES = ("steno.v1.STTService", "STTService")


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with live_gateway(tmp_path, stream={"poolRef": {"name": "calls"}}) as found:
        yield found


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[tuple[Live, RunningServer]]:
    async with real_server(tmp_path) as found:
        yield found


@contextlib.asynccontextmanager
async def recognize(live: Live, key: str | None, service: str = NAMES[0], header: str = "authorization") -> Any:
    """A call, by a client that knows the names alone, as one made of the original proto does."""
    options = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{live.grpc_port}", options=options) as channel:
        method = channel.stream_stream(
            f"/{service}/StreamingRecognize", Chunk.SerializeToString, stt_pb2.TranscriptEvent.FromString
        )
        value = f"Bearer {key}" if header == "authorization" else key
        call = method(metadata=((header, value),) if key else ())
        try:
            yield call
        finally:
            call.cancel()


async def rest(call: Any) -> list[stt_pb2.TranscriptEvent]:
    found: list[stt_pb2.TranscriptEvent] = []
    async with asyncio.timeout(30):
        while isinstance(event := await call.read(), stt_pb2.TranscriptEvent):
            found.append(event)
    return found


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with contextlib.suppress(grpc.aio.AioRpcError):
        await rest(call)  # the status comes after what was sent before
    async with asyncio.timeout(30):
        return await call.code(), dict(await call.trailing_metadata() or ()).get("steno-code", "")


@pytest.mark.parametrize(("service", "header"), [(NAMES[0], "authorization"), (NAMES[1], "x-api-key")])
async def test_a_session_with_the_real_server(real: tuple[Live, RunningServer], service: str, header: str):
    live, server = real
    async with recognize(live, live.key().key, service, header) as call:
        config = stt_pb2.StreamConfig(language="ko", tenant_id="tenant_abc", meeting_id="meeting_456")
        await call.write(Chunk(session_id="session_123", audio_data=SECOND, sequence=1, config=config))
        await call.write(Chunk(finalize=True))
        await call.write(Chunk(audio_data=SECOND, sequence=2))
        await call.write(Chunk(is_last=True))
        events = await rest(call)
        assert await call.code() == grpc.StatusCode.OK
        assert int(dict(await call.initial_metadata())["ratelimit-remaining"]) > 0
    assert {event.session_id for event in events} == {"session_123"}
    spoken = [stt_pb2.SPEECH_STARTED, stt_pb2.SPEECH_ENDED, stt_pb2.FINAL]
    shown = [event.type for event in events if event.type not in (stt_pb2.PARTIAL, stt_pb2.FLOW)]
    assert shown == [stt_pb2.SESSION_STARTED, *spoken, *spoken, stt_pb2.SESSION_ENDED]
    partial = next(event for event in events if event.type == stt_pb2.PARTIAL)
    assert partial.text.startswith(partial.stable_text)
    assert 0 < partial.stability < 1
    assert next(event for event in events if event.type == stt_pb2.FLOW).flow.lag_ms == 7
    finals = [event for event in events if event.type == stt_pb2.FINAL]
    assert [event.text for event in finals] == [" ".join([WORD] * 10)] * 2
    assert finals[1].is_final
    assert (finals[1].start_ms, finals[1].end_ms, len(finals[1].words)) == (1000, 2000, 10)
    assert finals[1].words[0].start_ms == 1000
    ended = events[-1].ended
    assert (ended.reason, ended.audio_seconds, ended.segments) == ("ClientEnded", 2.0, 2)
    assert server.engine.configs[0].language == "ko"
    (session,) = live.cluster.objects.values()
    assert session["spec"]["metadata"] == {"session_id": "session_123", "tenant_id": "tenant_abc"}
    assert session["spec"]["meetingID"] == "meeting_456"


async def test_a_client_that_half_closes_gets_what_it_said(real: tuple[Live, RunningServer]):
    live, _ = real
    async with recognize(live, live.key().key) as call:
        await call.write(Chunk(audio_data=SECOND))
        await call.done_writing()
        events = await rest(call)
    assert [event.text for event in events if event.type == stt_pb2.FINAL] == [" ".join([WORD] * 10)]
    assert events[-1].type == stt_pb2.SESSION_ENDED
    assert len(events[0].session_id) == 32, "made up, so that the client can come back"


async def test_an_error_of_the_server_is_the_calls(real: tuple[Live, RunningServer]):
    live, _ = real
    async with recognize(live, live.key().key) as call:
        await call.write(Chunk(audio_data=SECOND, config=stt_pb2.StreamConfig(language="xx")))
        assert await refusal(call) == (grpc.StatusCode.INVALID_ARGUMENT, "LanguageUnknown")


@pytest.mark.parametrize(
    ("code", "status", "key", "chunk"),
    [
        ("KeyMissing", grpc.StatusCode.UNAUTHENTICATED, None, None),
        ("KeyInvalid", grpc.StatusCode.UNAUTHENTICATED, "steno_aaaaaaaa_" + "a" * 40, None),
        ("ScopeMissing", grpc.StatusCode.PERMISSION_DENIED, {"scopes": frozenset({Scope.STT})}, None),
        ("InvalidMessage", grpc.StatusCode.INVALID_ARGUMENT, {}, Chunk(session_id="x" * 513)),
        ("TooLarge", grpc.StatusCode.INVALID_ARGUMENT, {}, Chunk(audio_data=b"\0" * (1024 * 1024 + 2))),
    ],
)
async def test_who_is_refused_learns_why(live: Live, code: str, status: grpc.StatusCode, key: Any, chunk: Any):
    async with recognize(live, live.key(**key).key if isinstance(key, dict) else key) as call:
        if chunk is not None:
            await call.write(chunk)
        assert await refusal(call) == (status, code)
    if code != "TooLarge":
        assert not live.cluster.objects
        assert not live.server.received


async def test_a_key_has_a_rate_and_a_number_of_calls(live: Live):
    made = live.key(limits=ApiKeyLimits(concurrent_requests=1))
    async with recognize(live, made.key) as first:
        await first.write(Chunk())
        await first.read()
        async with recognize(live, made.key) as second:
            assert await refusal(second) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RateLimited")
            assert "retry-after" in dict(await second.trailing_metadata())


async def test_a_revoked_key_ends_its_calls(live: Live, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access, "REVOCATION_SECONDS", 0.05)
    made = live.key()
    async with recognize(live, made.key) as call:
        await call.write(Chunk())
        await call.read()
        live.revoke(made)
        assert await refusal(call) == (grpc.StatusCode.UNAUTHENTICATED, "KeyInvalid")
    await asyncio.wait_for(live.server.sockets[0].wait_closed(), 10)


async def test_a_refusal_of_the_server_is_the_clients(live: Live):
    live.server.refusals[:] = ["SessionConnected"]
    async with recognize(live, live.key().key) as call:
        await call.write(Chunk(session_id="session_123"))
        assert await refusal(call) == (grpc.StatusCode.FAILED_PRECONDITION, "SessionConnected")


async def test_a_lost_server_has_the_client_connect_again(live: Live):
    async with recognize(live, live.key().key) as call:
        await call.write(Chunk())
        await call.read()
        live.server.sockets[0].transport.abort()
        assert await refusal(call) == (grpc.StatusCode.UNAVAILABLE, "Draining")


async def test_a_client_that_leaves_leaves_its_server(live: Live):
    async with recognize(live, live.key().key) as call:
        await call.write(Chunk())
        await call.read()
    await asyncio.wait_for(live.server.sockets[0].wait_closed(), 10)


async def test_a_client_that_leaves_while_it_waits_leaves_nothing(live: Live):
    live.cluster.on_create = lambda _: None
    async with recognize(live, live.key().key) as call:
        await call.write(Chunk())
        await until(lambda: live.cluster.objects)
    await until(lambda: not live.cluster.objects)


async def test_a_server_that_reads_nothing_stops_the_client(live: Live):
    async with recognize(live, live.key().key) as call:
        await call.write(Chunk())
        await call.read()
        live.server.sockets[0].transport.pause_reading()
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                while sent < 200:
                    await call.write(Chunk(audio_data=b"\0" * 1_000_000))
                    sent += 1
        live.server.sockets[0].transport.resume_reading()
    assert sent < 60, "what is under way is in buffers of bounded size"


async def test_a_call_is_one_line_of_the_audit_log(live: Live, caplog: pytest.LogCaptureFixture):
    made: NewApiKey = live.key()
    with caplog.at_level(logging.INFO, "steno_gateway.audit"):
        async with recognize(live, made.key) as call:
            await call.write(Chunk(session_id="session_123", is_last=True))
            await rest(call)
        async with recognize(live, None) as call:
            await refusal(call)
    first, second = (vars(each) for each in caplog.records if each.name == "steno_gateway.audit")
    assert (first["method"], first["route"], first["status"]) == ("GRPC", f"/{NAMES[0]}/StreamingRecognize", "OK")
    assert (first["api_key"], first["tenant"], first["client"]) == (made.record.id, "acme", "127.0.0.1")
    assert first["session"] in live.cluster.objects
    assert (second["status"], second["error"]) == ("UNAUTHENTICATED", "KeyMissing")
    assert "session_123" not in str(first)
    assert made.key not in str(first)


async def test_health_needs_no_key(live: Live):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{live.grpc_port}", options=[("grpc.enable_http_proxy", 0)]) as to:
        stub = health_pb2_grpc.HealthStub(to)
        for service in ("", *NAMES, "OCRService"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
