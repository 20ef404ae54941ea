"""gRPC server of a replica: both services, under the names of `proto/` and under the original's without a package."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from steno_api.pb.steno.v1 import ocr_pb2, stt_pb2
from steno_gateway.access.access import Access
from steno_gateway.live.sessions import LiveSessions
from steno_gateway.transports.grpc.calls import Context, Method, handler_of
from steno_gateway.transports.grpc.documents import MAX_DOCUMENT_BYTES, DocumentService
from steno_gateway.transports.grpc.speech import SpeechService
from steno_gateway.work.jobs import JobService

STOP_SECONDS = 20.0
"""For which calls may go on once the gateway stops."""
_HEALTH = "/grpc.health.v1.Health/Check"
_METADATA_BYTES = 16 * 1024
_SPEECH = stt_pb2.DESCRIPTOR.services_by_name["STTService"].full_name
_DOCUMENTS = ocr_pb2.DESCRIPTOR.services_by_name["OCRService"].full_name


class GrpcServer:
    """The server."""

    def __init__(
        self, access: Access, jobs: JobService, sessions: LiveSessions | None, ready: Callable[[], bool]
    ) -> None:
        """Listen to nothing yet.

        Args:
            access: who may call it.
            jobs: what documents become.
            sessions: live ones; None: there are none.
            ready: whether all that exists has been observed.
        """
        documents = DocumentService(access, jobs)
        methods = [method for name in _names(_DOCUMENTS) for method in documents.methods(name)]
        services = ["", *_names(_DOCUMENTS)]
        if sessions is not None:
            speech = SpeechService(access, sessions)
            methods += [method for name in _names(_SPEECH) for method in speech.methods(name)]
            services += _names(_SPEECH)
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_DOCUMENT_BYTES + 64 * 1024),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.max_metadata_size", _METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
                ("grpc.server_handshake_timeout_ms", 10_000),
                ("grpc.max_connection_idle_ms", 15_000),
            ],
        )
        self._server.add_generic_rpc_handlers((_Handlers(methods, services, access, ready),))

    async def start(self, address: str) -> int:
        """Open a port (`host:0`: any) and return its number."""
        port = self._server.add_insecure_port(address)
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Take no more calls, and break off those that have not ended after `STOP_SECONDS`."""
        await self._server.stop(STOP_SECONDS)


class _Handlers(grpc.GenericRpcHandler):
    """The handlers by the names of methods."""

    def __init__(
        self, methods: Iterable[Method[Any]], services: list[str], access: Access, ready: Callable[[], bool]
    ) -> None:
        self._handlers = {method.name: handler_of(method, access, ready) for method in methods}
        self._handlers[_HEALTH] = _health(services, ready)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method; None: there is none."""
        return self._handlers.get(handler_call_details.method)


def _names(service: str) -> tuple[str, str]:
    """Return a service's name, and as the original engine's proto has it, without a package."""
    return service, service.rpartition(".")[2]


def _health(services: list[str], ready: Callable[[], bool]) -> Any:
    """Return the handler of `Check`; `Watch`, which anybody could hold open, is not implemented."""

    async def check(request: Any, context: Context) -> Any:
        if request.service not in services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service.")
        status = health_pb2.HealthCheckResponse.ServingStatus
        return health_pb2.HealthCheckResponse(status=status.SERVING if ready() else status.NOT_SERVING)

    return grpc.unary_unary_rpc_method_handler(
        check, health_pb2.HealthCheckRequest.FromString, health_pb2.HealthCheckResponse.SerializeToString
    )
