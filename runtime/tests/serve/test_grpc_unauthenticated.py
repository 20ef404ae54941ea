"""What clients without a token may use of a server over gRPC."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from steno_api.pb.steno.v1 import stt_pb2_grpc
from steno_runtime.serve.sessions.driver import START_SECONDS
from steno_runtime.serve.transports.grpc import server as grpc_server

from .conftest import SECOND, StartServer, TokenIssuer
from .test_grpc import Call, Chunk

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


async def test_unauthenticated_calls_are_limited(
    start_server: StartServer, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(grpc_server, "MAX_UNAUTHENTICATED_CALLS", 2)
    server = await start_server()
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watching = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(5)]
        silent = [channel.stream_unary("/grpc.health.v1.Health/Check")() for _ in range(5)]  # messages that never come
        for call in watching:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call.read()
        for calls in (watching, silent):
            ended, _ = await asyncio.wait([asyncio.create_task(call.code()) for call in calls], timeout=3)
            assert [task.result() for task in ended] == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3
        latest = stub.Watch(health_pb2.HealthCheckRequest())  # who comes last is answered
        assert (await latest.read()).status == health_pb2.HealthCheckResponse.SERVING
        for _ in range(3):
            assert await stub.Check(health_pb2.HealthCheckRequest()).code() is grpc.StatusCode.OK
        assert not latest.done()  # the two have places of their own
        async with Call(server, issuer.token()) as call:
            await call.send(Chunk(audio_data=SECOND, is_last=True))
            assert (await call.read_all())[1] is grpc.StatusCode.OK


@pytest.mark.parametrize(
    "service", ["grpc.reflection.v1alpha.ServerReflection", "grpc.channelz.v1.Channelz", "no.Such"]
)
async def test_only_health_needs_no_token(start_server: StartServer, issuer: TokenIssuer, service: str):
    server = await start_server()
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        method = channel.stream_stream(f"/{service}/ServerReflectionInfo")
        assert await method().code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", f"Bearer {issuer.token()}"),)
        assert await method(metadata=metadata).code() is grpc.StatusCode.UNIMPLEMENTED  # unless the pool asks for it


async def test_too_many_calls_without_a_token_are_delayed(start_server: StartServer, issuer: TokenIssuer, monkeypatch):
    monkeypatch.setattr(grpc_server, "DELAY_SECONDS", 3600.0)
    server = await start_server(unauthenticated={"requestsPerSecond": 1})
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = stt_pb2_grpc.STTServiceStub(channel)
        calls = [stub.StreamingRecognize() for _ in range(20)]
        waiting = [asyncio.create_task(call.code()) for call in calls]
        done, delayed = await asyncio.wait(waiting, timeout=2)
        assert {task.result() for task in done} == {grpc.StatusCode.UNAUTHENTICATED}
        assert 10 <= len(done) <= 15
        assert delayed
        async with Call(server, issuer.token()) as call:
            await call.send(Chunk(audio_data=SECOND, is_last=True))
            assert (await call.read_all())[1] is grpc.StatusCode.OK


@pytest.mark.parametrize("first", [b"", b"PRI * HTTP/2.0\r\n", PREFACE], ids=["silent", "half", "idle"])
async def test_a_connection_without_a_call_is_closed(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, first: bytes
):
    monkeypatch.setattr(grpc_server, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(grpc_server, "IDLE_SECONDS", 0.5)
    server = await start_server()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.grpc_port)
    writer.write(first)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(15):
            while await reader.read(4096):
                pass
    writer.close()


async def test_an_unauthenticated_call_must_send_its_message_in_time(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(grpc_server, "START_SECONDS", 0.1)
    server = await start_server()
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        silent = channel.stream_unary("/grpc.health.v1.Health/Check")()
        assert await asyncio.wait_for(silent.code(), 10) is grpc.StatusCode.DEADLINE_EXCEEDED


LONG_MESSAGE = health_pb2.HealthCheckRequest(service="x" * 2000).SerializeToString()


@pytest.mark.parametrize("message", [LONG_MESSAGE, b"no message"], ids=["long", "odd"])
async def test_a_message_of_health_is_short_and_can_be_parsed(start_server: StartServer, message: bytes):
    server = await start_server()
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        for method in ("Check", "Watch"):
            call = channel.unary_stream(f"/grpc.health.v1.Health/{method}")(message)
            assert await asyncio.wait_for(call.code(), 10) is grpc.StatusCode.INVALID_ARGUMENT


async def test_calls_that_send_no_message_do_not_delay_one_that_does(start_server: StartServer):
    server = await start_server()
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        silent = [channel.stream_unary("/grpc.health.v1.Health/Check")() for _ in range(6)]
        await asyncio.gather(*(call.wait_for_connection() for call in silent))
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert (await asyncio.wait_for(check, START_SECONDS / 2)).status == health_pb2.HealthCheckResponse.SERVING
