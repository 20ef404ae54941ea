"""ASGI application: the routes of every protocol, over one set of services."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import AsyncIterator
from http import HTTPStatus
from importlib.metadata import version

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.websockets import WebSocket

from steno_api.gateway.known_keys import ApiKeys
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.v1alpha1.streamsession import StreamSession
from steno_gateway.access.access import Access
from steno_gateway.access.oidc import OIDCTokens
from steno_gateway.access.rate_limits import RateLimits
from steno_gateway.cluster.key_secrets import KeySecrets
from steno_gateway.cluster.resources import Resources
from steno_gateway.live.sessions import LiveSessions
from steno_gateway.live.tokens import OperatorTokens
from steno_gateway.settings import Settings
from steno_gateway.transports.audit import AuditLog
from steno_gateway.transports.cors import allow_cors
from steno_gateway.transports.grpc.server import GrpcServer
from steno_gateway.transports.http import RateLimitHeaders, problem
from steno_gateway.transports.jobs_rest import JobsRest
from steno_gateway.transports.openai_realtime import RealtimeEndpoint
from steno_gateway.transports.openai_rest import PATHS as OPENAI_PATHS
from steno_gateway.transports.openai_rest import OpenAIRest, openai_error
from steno_gateway.transports.openapi import Health, complete, describe
from steno_gateway.transports.original_rest import OriginalRest
from steno_gateway.transports.original_websocket import OriginalWebSocket
from steno_gateway.transports.tus import TusUploads
from steno_gateway.work.cleanup import UploadCleanup
from steno_gateway.work.job_kinds import KINDS
from steno_gateway.work.jobs import JobService
from steno_gateway.work.store import ObjectStore
from steno_gateway.work.webhook_delivery import WebhookDelivery
from steno_gateway.work.webhook_records import WebhookRecords
from steno_kube.client import Cluster
from steno_kube.leader_election import Leadership

log = logging.getLogger(__name__)


class Gateway:
    """Everything that a replica consists of."""

    def __init__(self, settings: Settings, cluster: Cluster, grpc_address: str | None = None) -> None:
        """Observe nothing yet.

        Args:
            settings: how it runs.
            cluster: the API server.
            grpc_address: where gRPC is served; None: nowhere.
        """
        self._grpc_address = grpc_address
        self.keys = ApiKeys()
        self.access = Access(self.keys, OIDCTokens(settings.oidc), RateLimits(settings.limits))
        self.resources = Resources(cluster, settings.name, [*(kind.model for kind in KINDS), StreamSession])
        store = ObjectStore(settings.store)
        self.jobs = JobService(settings, self.resources, store)
        self._cleanup = UploadCleanup(self.resources, store)
        replica = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        lease = Leadership(cluster, settings.namespace, f"{settings.name}-webhooks", replica)
        self._webhooks = WebhookDelivery(settings, self.resources, WebhookRecords(settings, store), self.keys, lease)
        tokens = settings.operator and OperatorTokens(settings.operator)
        self.sessions = LiveSessions(settings, self.resources, tokens) if tokens else None
        self._reflectors = [
            *self.resources.reflectors(settings.namespaces or [None]),
            *KeySecrets(cluster, settings.namespace, settings.key_secrets, self.keys).reflectors(),
        ]
        self.app = _application(settings, self)

    @property
    def ready(self) -> bool:
        """Whether all that exists has been observed once."""
        return all(each.synced.is_set() for each in self._reflectors)

    @contextlib.asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Observe the cluster for as long as the application runs."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each.run(), name=each.name) for each in self._reflectors]
            running.append(tasks.create_task(self._cleanup.run(), name="cleanup"))
            running.append(tasks.create_task(self.jobs.resumable_uploads.run(), name="resumable-uploads"))
            observed = [each.synced for each in self._reflectors]
            running.append(tasks.create_task(self._webhooks.run(observed), name="webhooks"))
            if self.sessions is not None:
                running.append(tasks.create_task(self.sessions.run(), name="sessions"))
            async with self._serving_grpc():
                yield
            for task in running:
                task.cancel()

    @contextlib.asynccontextmanager
    async def _serving_grpc(self) -> AsyncIterator[None]:
        if self._grpc_address is None:
            yield
            return
        server = GrpcServer(self.access, self.jobs, self.sessions, lambda: self.ready)
        await server.start(self._grpc_address)
        try:
            yield
        finally:
            await server.stop()


def _application(settings: Settings, gateway: Gateway) -> FastAPI:
    app = FastAPI(title="Steno", version=version("steno-gateway"), lifespan=gateway.running)
    app.add_middleware(RateLimitHeaders)
    app.add_middleware(AuditLog)
    allow_cors(app, settings.cors_origins)
    app.exception_handler(ApiError)(_on_api_error)
    app.exception_handler(HTTPException)(_on_http_error)
    app.exception_handler(Exception)(_on_error)
    _add_probes(app, gateway)
    OriginalRest(settings, gateway.access, gateway.jobs, lambda: gateway.ready).add_routes(app)
    OpenAIRest(settings, gateway.access, gateway.jobs).add_routes(app)
    JobsRest(settings, gateway.access, gateway.jobs).add_routes(app)
    TusUploads(settings, gateway.access, gateway.jobs.resumable_uploads).add_routes(app)
    if gateway.sessions is not None:
        live = OriginalWebSocket(gateway.access, gateway.sessions)

        async def realtime(websocket: WebSocket) -> None:
            await live.serve(websocket)

        openai_live = RealtimeEndpoint(settings, gateway.access, gateway.sessions)

        async def openai_realtime(websocket: WebSocket) -> None:
            await openai_live.serve(websocket)

        app.websocket("/stt/realtime")(realtime)
        app.websocket("/v1/realtime")(openai_realtime)
    complete(app)
    return app


def _add_probes(app: FastAPI, gateway: Gateway) -> None:
    async def health(_: Request) -> Response:
        body = {"status": "ok" if gateway.ready else "loading", "version": version("steno-gateway")}
        return JSONResponse(body)

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_: Request) -> Response:
        return PlainTextResponse("ok" if gateway.ready else "loading", 200 if gateway.ready else 503)

    app.get("/health", **describe("Whether the gateway is ready", Health, credentials=False))(health)
    app.get("/livez", include_in_schema=False)(livez)
    app.get("/readyz", include_in_schema=False)(readyz)


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for it
    return openai_error(request, error) if request.url.path.startswith(OPENAI_PATHS) else problem(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the router refuses, like all else."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        refused = ApiError(ErrorCode.METHOD_NOT_ALLOWED, "This address does not know the method.")
    elif error.status_code == HTTPStatus.NOT_FOUND:
        refused = ApiError(ErrorCode.NOT_FOUND, "There is nothing at this address.")
    else:
        refused = ApiError(ErrorCode.INVALID_REQUEST, str(error.detail))
    answer = await _on_api_error(request, refused)
    answer.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:  # the router knows those of one route only
        answer.headers["Allow"] = ", ".join(_methods(request))
    return answer


def _methods(request: Request) -> list[str]:
    """Return the methods that the address of a request knows."""
    routes = [each for each in request.app.routes if isinstance(each, Route)]
    matching = [each for each in routes if each.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for each in matching for method in each.methods or ()})


async def _on_error(request: Request, error: Exception) -> Response:
    log.error("a request met an unexpected error", exc_info=error)
    message = "The gateway met an unexpected error. Please report it."
    return await _on_api_error(request, ApiError(ErrorCode.INTERNAL, message))
