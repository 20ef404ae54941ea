"""A gateway's live sessions without a cluster: the real ASGI server and clients, and stand-ins behind them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from runtime.tests.serve.conftest import RunningServer, TokenIssuer, run_server
from steno_api.gateway.api_keys import NewApiKey, Scope, new_api_key
from steno_api.gateway.known_keys import ApiKeys
from steno_api.v1alpha1.streamsession import StreamSession
from steno_gateway.access.access import Access
from steno_gateway.access.oidc import OIDCTokens
from steno_gateway.access.rate_limits import RateLimits
from steno_gateway.cluster.resources import Resources
from steno_gateway.live.sessions import LiveSessions
from steno_gateway.live.tokens import OperatorTokens
from steno_gateway.settings import OperatorSettings, Settings
from steno_gateway.transports.audit import AuditLog
from steno_gateway.transports.grpc.server import GrpcServer
from steno_gateway.transports.openai_realtime import RealtimeEndpoint
from steno_gateway.transports.original_websocket import OriginalWebSocket
from steno_gateway.work.jobs import JobService
from steno_gateway.work.store import ObjectStore
from steno_kube.client import ApiError, Cluster

CREATED = "2026-01-02T03:04:05Z"


class FakeCluster(Cluster):
    """An API server that has StreamSessions; `on_create` plays the operator."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.deleted: list[dict[str, Any]] = []
        self.version = 0
        self.on_create: Callable[[str], None] = self.ready
        self.resources: Resources

    async def create(self, _: Any, namespace: str | None, body: Any, **options: Any) -> dict[str, Any]:  # noqa: ARG002
        name = body["metadata"]["name"]
        if name in self.objects:
            raise ApiError(409, "AlreadyExists", "it exists")
        uid = f"uid-{self.version}"
        metadata = {**body["metadata"], "namespace": namespace, "uid": uid, "creationTimestamp": CREATED}
        self.objects[name] = {**body, "metadata": metadata}
        self.set_status(name)
        self.on_create(name)
        return self.objects[name]

    async def get(self, _: Any, namespace: str | None, name: str) -> dict[str, Any]:  # noqa: ARG002
        if name not in self.objects:
            raise ApiError(404, "NotFound", "it does not exist")
        return self.objects[name]

    async def delete(self, *of: str, **_: Any) -> dict[str, Any]:
        name, uid = of[2:4]
        if name not in self.objects or self.objects[name]["metadata"]["uid"] != uid:
            raise ApiError(404, "NotFound", "it does not exist")
        self.deleted.append(self.objects.pop(name))
        self.resources.cache("StreamSession").delete(uid)
        return {}

    def set_status(self, name: str, **status: Any) -> None:
        """Write a status, which the watch shows."""
        self.version += 1
        found = self.objects[name]
        metadata = {**found["metadata"], "resourceVersion": str(self.version)}
        self.objects[name] = {**found, "metadata": metadata, "status": {**found.get("status", {}), **status}}
        self.resources.cache("StreamSession").upsert(self.objects[name])

    def ready(self, name: str) -> None:
        endpoint = {"protocol": "WebSocket", "url": "ws://elsewhere/stt/realtime"}
        self.set_status(name, phase="Ready", endpoints=[endpoint], readyTime=CREATED)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions of all kinds
            await asyncio.sleep(0.01)


@dataclass
class Server:
    """A pool's server, as far as its protocol goes."""

    received: list[Any] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Codes with which it refuses the next sessions."""
    sockets: list[ServerConnection] = field(default_factory=list)

    async def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.sockets.append(connection)
        self.tokens.append(connection.request.headers.get("Authorization"))
        self.received.append(json.loads(await connection.recv()))
        if self.refusals:
            code = self.refusals.pop(0)
            await connection.send(json.dumps({"type": "error", "code": code, "message": "no", "fatal": True}))
            await connection.close(4009, code)
            return
        await connection.send(json.dumps({"type": "session_started", "session_id": "gw-x", "meeting_id": "gw-x"}))
        async for frame in connection:
            self.received.append(frame)
            kind = json.loads(frame)["type"] if isinstance(frame, str) else "binary"
            if kind == "end_session":
                await connection.send(json.dumps({"type": "session_ended", "reason": "ClientEnded"}))
                await connection.close(1000, "ClientEnded")
                return
            await connection.send('{"type":"partial", "text":"안녕"}')


@dataclass
class Live:
    """A replica, and what is behind it."""

    url: str
    cluster: FakeCluster
    server: Server
    sessions: LiveSessions
    keys: ApiKeys
    endpoint: OriginalWebSocket
    answers: list[int]
    """Statuses with which the operator refuses the next tokens."""
    grpc_port: int

    def key(self, **changes: Any) -> NewApiKey:
        given = {"tenant": "acme", "namespace": "team-a", "scopes": frozenset(Scope), "created": datetime.now(UTC)}
        made = new_api_key(**{**given, **changes})
        self.keys.update(made.record.id, {made.record.id: made.record.to_json().encode()})
        return made

    def revoke(self, made: NewApiKey) -> None:
        self.keys.update(made.record.id, {})

    def connect(self, made: NewApiKey | None = None, query: str = "") -> connect:
        headers = {} if made is None else {"Authorization": f"Bearer {made.key}"}
        return connect(self.url + query, additional_headers=headers, proxy=None)


@contextlib.asynccontextmanager
async def real_server(folder: Path) -> AsyncIterator[tuple[Live, RunningServer]]:
    """Run a gateway in front of a pool's server with a scripted engine, and that server."""
    issuer = TokenIssuer()
    server = await run_server(issuer, folder)

    def grant(session: dict[str, Any]) -> dict[str, str]:
        name = session["name"]
        url = f"ws://127.0.0.1:{server.http_port}/stt/realtime?session=team-a/{name}"
        return {"token": issuer.token(name=name, uid=session["uid"]), "url": url}

    async with live_gateway(folder, grant=grant) as found:
        yield found, server
    await server.stop()


def free_port() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    return listening


@contextlib.asynccontextmanager
async def live_gateway(
    folder: Path,
    tokens: OIDCTokens | None = None,
    grant: Callable[[dict[str, Any]], dict[str, str]] | None = None,
    **settings: Any,
) -> AsyncIterator[Live]:
    """Run everything on loopback.

    Args:
        folder: for files.
        tokens: of identity providers; None: of none.
        grant: gives the token and the URL of a session on another server; None: on the stand-in.
        settings: of the gateway.
    """
    cluster, server, answers = FakeCluster(), Server(), list[int]()
    (folder / "token").write_text("the gateway's own")
    async with contextlib.AsyncExitStack() as stack:
        listening = await stack.enter_async_context(serve(server.handle, "127.0.0.1", 0))
        url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/stt/realtime?session=x"

        async def token(request: web.Request) -> web.Response:
            assert request.headers["Authorization"] == "Bearer the gateway's own"
            if answers:
                return web.json_response({}, status=answers.pop(0))
            body = await request.json()
            given = {"token": body["uid"], "url": url} if grant is None else grant(body)
            return web.json_response({**given, "expirationTime": CREATED})

        operator = web.Application()
        operator.router.add_post("/v1/session-tokens", token)
        runner = web.AppRunner(operator)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        told = OperatorSettings(url=address, token_file=folder / "token")
        chosen = Settings.model_validate({"store": {"uri": "s3://a"}, "streamWaitSeconds": 5, **settings})
        cluster.resources = Resources(cluster, "steno-gateway", [StreamSession])
        sessions = LiveSessions(chosen, cluster.resources, OperatorTokens(told))
        keys = ApiKeys()
        access = Access(keys, tokens or OIDCTokens(()), RateLimits(chosen.limits))
        endpoint = OriginalWebSocket(access, sessions)
        jobs = JobService(chosen, cluster.resources, ObjectStore(chosen.store))
        grpc_server = GrpcServer(access, jobs, sessions, lambda: True)
        grpc_port = await grpc_server.start("127.0.0.1:0")
        stack.push_async_callback(grpc_server.stop)
        openai = RealtimeEndpoint(chosen, access, sessions)
        routes = [("/stt/realtime", endpoint.serve), ("/v1/realtime", openai.serve)]
        app = Starlette(routes=[WebSocketRoute(*route) for route in routes])
        app.add_middleware(AuditLog)
        gateway = uvicorn.Server(
            uvicorn.Config(app, log_config=None, lifespan="off", ws="websockets-sansio", ws_per_message_deflate=False)
        )
        sock = free_port()
        running = asyncio.create_task(gateway.serve([sock]))
        await until(lambda: gateway.started)
        try:
            port = sock.getsockname()[1]
            own = f"ws://127.0.0.1:{port}/stt/realtime"
            yield Live(own, cluster, server, sessions, keys, endpoint, answers, grpc_port)
        finally:
            gateway.should_exit = True
            await running
