"""The gRPC half of a server: tokens before messages, health, reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from steno_api.server.task import PoolTask
from steno_runtime.serve.auth import Access
from steno_runtime.serve.errors import Code, Refusal
from steno_runtime.serve.sessions.registry import Registry
from steno_runtime.serve.transports.grpc.calls import Context, abort, token_of
from steno_runtime.serve.transports.grpc.ocr import MAX_DOCUMENT_BYTES, OCRService
from steno_runtime.serve.transports.grpc.pb.steno.v1 import ocr_pb2, ocr_pb2_grpc, stt_pb2, stt_pb2_grpc
from steno_runtime.serve.transports.grpc.stt import STTService
from steno_runtime.serve.transports.websocket.endpoint import START_SECONDS
from steno_runtime.serve.uploads.body import RECEIVE_SECONDS
from steno_runtime.serve.uploads.documents import DocumentRest
from steno_runtime.serve.uploads.service import Desk

_OURS = "/steno.v1."
SPARE_CALLS = 32
"""With a token, beside one for each session: documents, and clients that are refused."""
MOST_STRANGERS = 8
"""Calls of health and reflection, which need no token."""

SERVICES = (
    stt_pb2.DESCRIPTOR.services_by_name["STTService"].full_name,
    ocr_pb2.DESCRIPTOR.services_by_name["OCRService"].full_name,
)


class GrpcServer:
    """The server, with the health service told by `set_ready`."""

    def __init__(self, task: PoolTask, registry: Registry, desk: Desk, documents: DocumentRest) -> None:
        self._health = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        self.server = grpc.aio.server(
            interceptors=[_Guard(desk.access, task.max_sessions + SPARE_CALLS)],
            options=[
                ("grpc.max_receive_message_length", MAX_DOCUMENT_BYTES + 64 * 1024),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.max_metadata_size", 16 * 1024),
            ],
        )
        stt_pb2_grpc.add_STTServiceServicer_to_server(STTService(registry, desk.access), self.server)
        ocr_pb2_grpc.add_OCRServiceServicer_to_server(OCRService(desk, documents), self.server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.server)

    async def set_ready(self, *, ready: bool) -> None:
        """Says whether the services take calls."""
        serving = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, serving)


class _Guard(grpc.aio.ServerInterceptor):
    """Before any message of a call is read: refuses it without a token that holds, and beyond so many at once.

    The library's own limit counts a call until the client has read its answer, and does not know strangers from others.
    """

    def __init__(self, access: Access, most: int) -> None:
        self._access = access
        self._clients = _Places(most, RECEIVE_SECONDS)
        self._strangers = _Places(MOST_STRANGERS, START_SECONDS)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        places = self._strangers
        if handler_call_details.method.startswith(_OURS):
            try:
                self._access.claims(token_of(handler_call_details.invocation_metadata))
            except Refusal as refusal:
                return _refuse(refusal)
            places = self._clients
        handler = await continuation(handler_call_details)
        return None if handler is None else places.counted(handler)


class _Places:
    """So many calls at once.

    Args:
        most: calls.
        seconds: in which a method's only message has to come.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._free = most
        self._seconds = seconds

    def counted(self, handler: Any) -> Any:
        async def answer(requests: AsyncIterator[Any], context: Context) -> None:
            if not self._free:
                await abort(context, Refusal(Code.SERVER_FULL, "Too many calls at once. Try again later."))
            self._free -= 1
            try:
                await _serve(handler, requests, context, self._seconds)
            except Refusal as refusal:
                await abort(context, refusal)
            finally:
                self._free += 1

        # As a stream, whatever the method is: so it is counted before its message is waited for.
        return grpc.stream_stream_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)


async def _serve(handler: Any, requests: AsyncIterator[Any], context: Context, seconds: float) -> None:
    """Calls a method of any arity, written in any of the library's styles."""
    given: Any = requests
    if not handler.request_streaming:
        try:
            async with asyncio.timeout(seconds):
                given = await anext(requests, None)
        except TimeoutError:
            raise Refusal(Code.START_TIMEOUT, f"No message within {seconds:g} s.") from None
        if given is None:
            raise Refusal(Code.INVALID_MESSAGE, "The call ended before its message.")
    methods = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    answered = next(method for method in methods if method is not None)(given, context)
    if isinstance(answered, AsyncIterator):
        async for each in answered:
            await context.write(each)
    elif (one := await answered) is not None:
        await context.write(one)


def _refuse(refusal: Refusal) -> Any:
    async def answer(_: AsyncIterator[bytes], context: Context) -> None:
        await abort(context, refusal)

    # As a stream of bytes, whatever the method is: so none of its messages is waited for.
    return grpc.stream_stream_rpc_method_handler(answer)
