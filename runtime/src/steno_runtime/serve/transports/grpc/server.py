"""gRPC server: the services, health and reflection, behind an interceptor that checks tokens before messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from steno_runtime.serve.access import SessionAccess
from steno_runtime.serve.auth import Authenticator
from steno_runtime.serve.errors import ApiError, ErrorCode
from steno_runtime.serve.sessions.driver import START_SECONDS, SessionDriver
from steno_runtime.serve.transports.grpc.calls import Context, abort, metadata_token
from steno_runtime.serve.transports.grpc.ocr import MAX_DOCUMENT_BYTES, OCRService
from steno_runtime.serve.transports.grpc.pb.steno.v1 import ocr_pb2, ocr_pb2_grpc, stt_pb2, stt_pb2_grpc
from steno_runtime.serve.transports.grpc.stt import STTService
from steno_runtime.serve.uploads.body import RECEIVE_SECONDS
from steno_runtime.serve.uploads.documents import DocumentService
from steno_runtime.serve.uploads.service import UploadService

_AUTHENTICATED_PREFIX = "/steno.v1."
_LIVE_PREFIX = "/steno.v1.STTService/"
EXTRA_CALLS = 32
"""With a token, beside one for each session: documents, and calls that end with an error."""
MAX_UNAUTHENTICATED_CALLS = 8
"""Calls of health and reflection, which need no token."""

SERVICES = (
    stt_pb2.DESCRIPTOR.services_by_name["STTService"].full_name,
    ocr_pb2.DESCRIPTOR.services_by_name["OCRService"].full_name,
)


class GrpcServer:
    """The server; `set_ready` sets what its health service answers."""

    def __init__(
        self, max_sessions: int, driver: SessionDriver, uploads: UploadService, documents: DocumentService
    ) -> None:
        authenticator = uploads.authenticator
        self._health = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        self.server = grpc.aio.server(
            interceptors=[_AuthInterceptor(authenticator, uploads.access, max_sessions + EXTRA_CALLS)],
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
        stt_pb2_grpc.add_STTServiceServicer_to_server(STTService(driver, authenticator), self.server)
        ocr_pb2_grpc.add_OCRServiceServicer_to_server(OCRService(uploads, documents), self.server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.server)

    async def set_ready(self, *, ready: bool) -> None:
        """Set whether the services are reported as serving."""
        serving = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, serving)


class _AuthInterceptor(grpc.aio.ServerInterceptor):
    """Rejects a call without a valid token, and calls beyond a limit, before any of its messages is read.

    The library's own limit counts a call until the client has read its answer, and does not distinguish clients with a
    token from others.
    """

    def __init__(self, authenticator: Authenticator, access: SessionAccess, max_calls: int) -> None:
        self._authenticator, self._access = authenticator, access
        self._authenticated = ConcurrencyLimit(max_calls, RECEIVE_SECONDS)
        self._unauthenticated = ConcurrencyLimit(MAX_UNAUTHENTICATED_CALLS, START_SECONDS)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        limit, guard, method = self._unauthenticated, contextlib.nullcontext, handler_call_details.method
        if method.startswith(_AUTHENTICATED_PREFIX):
            try:
                claims = self._authenticator.authenticate(metadata_token(handler_call_details.invocation_metadata))
                self._access.check(claims, new_work=True)
            except ApiError as error:
                return _error_handler(error)
            limit = self._authenticated
            if not method.startswith(_LIVE_PREFIX):  # a live session ends by itself, with what was said published
                guard = partial(self._access.hold, claims)
        handler = await continuation(handler_call_details)
        return None if handler is None else limit.wrap(handler, guard)


class ConcurrencyLimit:
    """Limits the calls that are served at the same time.

    Args:
        max_calls: how many.
        seconds: within which the only message of a method that takes one has to arrive.
    """

    def __init__(self, max_calls: int, seconds: float) -> None:
        self._free = max_calls
        self._seconds = seconds

    def wrap(self, handler: Any, guard: Callable[[], AbstractAsyncContextManager[None]]) -> Any:
        """Return a handler whose calls count, and run within `guard`."""

        async def serve(requests: AsyncIterator[Any], context: Context) -> None:
            if not self._free:
                await abort(context, ApiError(ErrorCode.SERVER_FULL, "Too many calls at once. Try again later."))
            self._free -= 1
            try:
                async with guard():
                    await _call(handler, requests, context, self._seconds)
            except ApiError as error:
                await abort(context, error)
            finally:
                self._free += 1

        # As a stream, whatever the method is: so a call counts before its message has arrived.
        return grpc.stream_stream_rpc_method_handler(serve, handler.request_deserializer, handler.response_serializer)


async def _call(handler: Any, requests: AsyncIterator[Any], context: Context, seconds: float) -> None:
    """Call a method of any arity, written in any of the library's styles."""
    request: Any = requests
    if not handler.request_streaming:
        try:
            async with asyncio.timeout(seconds):
                request = await anext(requests, None)
        except TimeoutError:
            message = f"The call's message did not arrive within {seconds:g} s."
            raise ApiError(ErrorCode.START_TIMEOUT, message) from None
        if request is None:
            raise ApiError(ErrorCode.INVALID_MESSAGE, "The call ended before its message.")
    methods = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    response = next(method for method in methods if method is not None)(request, context)
    if isinstance(response, AsyncIterator):
        async for each in response:
            await context.write(each)
    elif (one := await response) is not None:
        await context.write(one)


def _error_handler(error: ApiError) -> Any:
    async def answer(_: AsyncIterator[bytes], context: Context) -> None:
        await abort(context, error)

    # As a stream of bytes, whatever the method is: so none of its messages is waited for.
    return grpc.stream_stream_rpc_method_handler(answer)
