"""Audit log and metrics: one line for each request or session: who asked for what, and what came of it; never any text.

ASGI middleware, so that it sees what was answered, also to those who were not let in. Handlers say in the request's
state who it was (`principal`) and which job or session it is about (`job_id`, `session`). The status of a session is
its close code, and its line comes at its end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter, Histogram
from starlette.routing import Match, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("steno_gateway.audit")

REQUESTS = Counter("steno_gateway_requests", "Requests answered", ["route", "status"])
SECONDS = Histogram(
    "steno_gateway_request_seconds",
    "Time until an answer was complete",
    ["route"],
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 900),
)
_QUIET = frozenset({"/livez", "/readyz", "/health"})
"""Asked for every few seconds by those who run the gateway."""
_ABOUT = {"job": "job_id", "documents": "documents", "session": "session", "error": "error_code"}
"""Fields of a line that a handler says."""
_OTHER = "other"
"""Route of what does not exist: its paths are the client's, and without number."""


class AuditLog:
    """Writes the lines and counts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0
        state = scope.setdefault("state", {})

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.close":
                status = message.get("code", 1000)
            await send(message)

        async def receive_and_note() -> Message:
            nonlocal status
            message = await receive()
            if message["type"] == "websocket.disconnect" and not status:
                status = message.get("code", 1005)
            return message

        try:
            await self._app(scope, receive_and_note, send_and_note)
        finally:
            route, method = _route(scope), scope.get("method", "WEBSOCKET")
            client = (scope.get("client") or ("",))[0]
            note(route, method, status, seconds=time.monotonic() - begun, state=state, client=client)


def note(route: str, method: str, status: int | str, *, seconds: float, state: Mapping[str, Any], client: str) -> None:
    """Count a request, and write its line.

    Args:
        route: template of its address, or the name of a call of gRPC.
        method: of HTTP; `WEBSOCKET` and `GRPC` for those.
        status: of its answer, in its protocol.
        seconds: that it took.
        state: what its handler says: `principal`, and those of `_ABOUT`.
        client: address that it came from.
    """
    REQUESTS.labels(route, str(status)).inc()
    SECONDS.labels(route).observe(seconds)
    if route in _QUIET:
        return
    principal = state.get("principal")
    who = {} if principal is None else {"api_key": principal.id, "tenant": principal.tenant}
    what = {"method": method, "route": route, "status": status, "millis": round(seconds * 1000)}
    about = {name: state[key] for name, key in _ABOUT.items() if key in state}
    log.info("request", extra={**who, **what, **about, "client": client})


def _route(scope: Scope) -> str:
    """Return the template of the route that a request has matched."""
    for route in getattr(scope.get("app"), "routes", ()):
        if isinstance(route, Route | WebSocketRoute) and route.matches(scope)[0] is not Match.NONE:
            return route.path
    return _OTHER
