"""gRPC server: the services and health, behind an interceptor that checks tokens before messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from steno_api.pb.steno.v1 import ocr_pb2, ocr_pb2_grpc, stt_pb2, stt_pb2_grpc
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.task import PoolTask
from steno_api.tls import ServingCertificate
from steno_runtime.serve.sessions.driver import START_SECONDS, SessionDriver
from steno_runtime.serve.transports.grpc.calls import Context, abort, metadata_token
from steno_runtime.serve.transports.grpc.ocr import MAX_DOCUMENT_BYTES, OCRService
from steno_runtime.serve.transports.grpc.stt import STTService
from steno_runtime.serve.unauthenticated import HEAD_SECONDS, Slots, UnauthenticatedClients
from steno_runtime.serve.uploads.body import RECEIVE_SECONDS
from steno_runtime.serve.uploads.documents import DocumentService
from steno_runtime.serve.uploads.service import UploadService

_HEALTH_PREFIX = "/grpc.health.v1.Health/"
_WATCH = f"{_HEALTH_PREFIX}Watch"
_LIVE = ("/steno.v1.STTService/", "/STTService/")
EXTRA_CALLS = 32
"""With a token, beside one for each session: documents, and calls that end with an error."""
MAX_UNAUTHENTICATED_CALLS = 8
"""Calls of health, which need no token: of `Check`, and again of `Watch`, which a load balancer holds open."""
MAX_HEALTH_BYTES = 1024
"""Of the message of a call of health: the name of a service."""
DELAY_SECONDS = 0.5
"""Of a call without a token that is one too many of its address."""
IDLE_SECONDS = 15.0
"""Without a call, after which a connection is closed; the library takes up to twice as long."""

SERVICES = (
    stt_pb2.DESCRIPTOR.services_by_name["STTService"].full_name,
    ocr_pb2.DESCRIPTOR.services_by_name["OCRService"].full_name,
)


class GrpcServer:
    """The server; `set_ready` sets what its health service answers."""

    def __init__(
        self,
        task: PoolTask,
        unauthenticated: UnauthenticatedClients,
        driver: SessionDriver,
        uploads: UploadService,
        documents: DocumentService,
    ) -> None:  # fmt: skip
        """Create the server.

        Args:
            task: the pool's.
            unauthenticated: what clients without a token may use.
            driver: of live sessions.
            uploads: authorizes documents.
            documents: reads them.
        """
        authenticator, max_calls = uploads.authenticator, task.max_sessions + EXTRA_CALLS
        self._health = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        self.server = grpc.aio.server(
            interceptors=[_AuthInterceptor(uploads, max_calls, unauthenticated)],
            options=[
                ("grpc.max_receive_message_length", MAX_DOCUMENT_BYTES + 64 * 1024),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.absolute_max_metadata_size", 16 * 1024),
                # A proxy may bring all calls over one connection. Those that are refused need room, too.
                ("grpc.max_concurrent_streams", 2 * max_calls + 2 * MAX_UNAUTHENTICATED_CALLS),
                # The library knows nothing of tokens: what these limit are connections that have no call.
                ("grpc.max_allowed_incoming_connections", unauthenticated.limits.connections + max_calls),
                ("grpc.server_handshake_timeout_ms", int(HEAD_SECONDS * 1000)),
                ("grpc.max_connection_idle_ms", int(IDLE_SECONDS * 1000)),
            ],
        )
        for server in (self.server, _WithoutPackage(self.server)):
            stt_pb2_grpc.add_STTServiceServicer_to_server(STTService(driver, authenticator), server)
            ocr_pb2_grpc.add_OCRServiceServicer_to_server(OCRService(uploads, documents), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        if task.grpc_reflection:
            names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self.server)

    def listen(self, address: str, certificate: ServingCertificate | None) -> int:
        """Open a port and return its number.

        Args:
            address: `host:port`; port 0: any.
            certificate: looked at in each handshake; None: plain text.

        Raises:
            RuntimeError: the port is in use.
        """
        if certificate is None:
            return self.server.add_insecure_port(address)
        return self.server.add_secure_port(address, _credentials(certificate))

    async def set_ready(self, *, ready: bool) -> None:
        """Set whether the services are reported as serving."""
        serving = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES, *(service.rpartition(".")[2] for service in SERVICES)):
            await self._health.set(name, serving)


def _credentials(certificate: ServingCertificate) -> grpc.ServerCredentials:
    """Return credentials that show the certificate that is current in each handshake."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        pair = certificate.pair
        return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)])

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration)


class _WithoutPackage:
    """Adds services to a server under their names without the package, as the original engine's proto has them."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, _: Any) -> None:
        """They have the package in their names."""

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """Add the methods of a service."""
        name = service.rpartition(".")[2]
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


class _AuthInterceptor(grpc.aio.ServerInterceptor):
    """Rejects a call without a valid token, and calls beyond a limit, before any of its messages is read.

    The library's own limit counts a call until the client has read its answer, and does not distinguish clients with a
    token from others.
    """

    def __init__(self, uploads: UploadService, max_calls: int, unauthenticated: UnauthenticatedClients) -> None:
        self._uploads = uploads
        self._unauthenticated = unauthenticated
        self._authenticated = ConcurrencyLimit(max_calls, RECEIVE_SECONDS)
        self._checks = HealthLimit(MAX_UNAUTHENTICATED_CALLS, unauthenticated)
        self._watches = HealthLimit(MAX_UNAUTHENTICATED_CALLS, unauthenticated)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = handler_call_details.method
        if method.startswith(_HEALTH_PREFIX):
            handler = await continuation(handler_call_details)
            limit = self._watches if method == _WATCH else self._checks
            return None if handler is None else limit.wrap(handler)
        try:
            claims = self._uploads.authenticate(metadata_token(handler_call_details.invocation_metadata))
        except ApiError as error:
            return _error_handler(error, self._unauthenticated)
        guard = contextlib.nullcontext
        if not method.startswith(_LIVE):  # a live session ends by itself, with what was said published
            guard = partial(self._uploads.access.hold, claims)
        handler = await continuation(handler_call_details)
        return None if handler is None else self._authenticated.wrap(handler, guard)


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


class HealthLimit:
    """Limits calls that need no token: one too many takes the place of the oldest of the busiest address.

    The library takes a message into memory whole, up to the size of a document, before anything here sees it: a long
    one is dropped at once.

    Args:
        max_calls: how many are served at the same time.
        unauthenticated: what clients without a token may use.
    """

    def __init__(self, max_calls: int, unauthenticated: UnauthenticatedClients) -> None:
        self._slots = Slots(max_calls, max_calls)
        self._unauthenticated = unauthenticated

    def wrap(self, handler: Any) -> Any:
        """Return a handler whose calls count."""

        async def serve(_: AsyncIterator[bytes], context: Context) -> None:
            address = _address(context)
            await _delay(address, self._unauthenticated)
            scope = asyncio.timeout(None)  # a load balancer watches for as long as it lives
            slot = self._slots.take(address, lambda: scope.reschedule(asyncio.get_running_loop().time()))
            try:
                async with scope:
                    request = _decode(handler, await _receive(context, START_SECONDS))
                    await _respond(handler, request, context)
            except ApiError as error:
                await abort(context, error)
            except TimeoutError:
                await abort(context, ApiError(ErrorCode.SERVER_FULL, "Too many calls at once. Try again later."))
            finally:
                self._slots.release(slot)

        return grpc.stream_stream_rpc_method_handler(serve, response_serializer=handler.response_serializer)


def _decode(handler: Any, message: bytes) -> Any:
    """Parse the message of a call of health.

    Raises:
        ApiError: it is none.
    """
    if len(message) > MAX_HEALTH_BYTES:
        del message
        raise ApiError(ErrorCode.INVALID_MESSAGE, f"The message has more than {MAX_HEALTH_BYTES} bytes.")
    try:
        return handler.request_deserializer(message)
    except DecodeError:
        raise ApiError(ErrorCode.INVALID_MESSAGE, "The call's message cannot be parsed.") from None


async def _delay(address: str, unauthenticated: UnauthenticatedClients) -> None:
    """Wait if an address makes too many calls: its connection, which may be a proxy's, has so many at a time."""
    if not unauthenticated.rate.spend(address):
        await asyncio.sleep(DELAY_SECONDS)


def _address(context: Context) -> str:
    """Return a client's address, without the port."""
    return unquote(context.peer()).rpartition(":")[0]


async def _call(handler: Any, requests: AsyncIterator[Any], context: Context, seconds: float) -> None:
    """Call a method of any arity, written in any of the library's styles."""
    await _respond(handler, requests if handler.request_streaming else await _receive(context, seconds), context)


async def _receive(context: Context, seconds: float) -> Any:
    """Return the only message of a call, which the library's iterator would keep until garbage is collected.

    Raises:
        ApiError: it does not come.
    """
    try:
        async with asyncio.timeout(seconds):
            request = await context.read()
    except TimeoutError:
        message = f"The call's message did not arrive within {seconds:g} s."
        raise ApiError(ErrorCode.START_TIMEOUT, message) from None
    if request is grpc.aio.EOF:  # pyright: ignore[reportAttributeAccessIssue]
        raise ApiError(ErrorCode.INVALID_MESSAGE, "The call ended before its message.")
    return request


async def _respond(handler: Any, request: Any, context: Context) -> None:
    """Call a method with its message or its stream of them."""
    methods = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    response = next(method for method in methods if method is not None)(request, context)
    if isinstance(response, AsyncIterator):
        async for each in response:
            await context.write(each)
    elif (one := await response) is not None:
        await context.write(one)


def _error_handler(error: ApiError, unauthenticated: UnauthenticatedClients) -> Any:
    async def answer(_: AsyncIterator[bytes], context: Context) -> None:
        await _delay(_address(context), unauthenticated)
        await abort(context, error)

    # As a stream of bytes, whatever the method is: so none of its messages is waited for.
    return grpc.stream_stream_rpc_method_handler(answer)
