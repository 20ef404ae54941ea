"""Audit log and metrics: one line for each request: who asked for what, when, and what came of it; never any text.

ASGI middleware, so that it sees what was answered, also to those who were not let in. Handlers say in the request's
state who it was (`principal`) and which job it is about (`job_id`).
"""

from __future__ import annotations

import logging
import time

from prometheus_client import Counter, Histogram
from starlette.routing import Match, Route
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
_OTHER = "other"
"""Route of what does not exist: its paths are the client's, and without number."""


class AuditLog:
    """Writes the lines and counts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0
        state = scope.setdefault("state", {})

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            seconds, route = time.monotonic() - begun, _route(scope)
            REQUESTS.labels(route, str(status)).inc()
            SECONDS.labels(route).observe(seconds)
            if route not in _QUIET:
                principal = state.get("principal")
                who = {} if principal is None else {"api_key": principal.id, "tenant": principal.tenant}
                what = {"method": scope["method"], "route": route, "status": status, "millis": round(seconds * 1000)}
                about = {"job": state["job_id"]} if "job_id" in state else {}
                log.info("request", extra={**who, **what, **about, "client": (scope.get("client") or ("",))[0]})


def _route(scope: Scope) -> str:
    """Return the template of the route that a request has matched."""
    for route in getattr(scope.get("app"), "routes", ()):
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            return route.path
    return _OTHER
