"""`/healthz`, `/readyz` and `/metrics`.

Alive means that reconciling still works: watches move, workers do not hang, no watch is stale. Load alone never makes a
probe fail, nor does an API server that cannot be reached: a restart would help with neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import prometheus_client
from aiohttp import web

from steno_api.metrics_token import may_read_metrics

WATCH_SILENCE = 180.0
"""Seconds without an event, bookmark or try after which a watch, or the election, is stuck."""
WORKER_BUSY = 300.0
"""Seconds on one resource after which a worker is stuck: every request ends long before."""


def silent(name: str, alive_at: float) -> Iterable[str]:
    """Yield what is wrong with `name` if it last showed activity at `alive_at` (monotonic time) and not since."""
    quiet = time.monotonic() - alive_at
    if quiet > WATCH_SILENCE:
        yield f"{name} showed no activity for {quiet:.0f} s"


def make_app(
    problems: Callable[[], Iterable[str]],
    waits: Callable[[], Iterable[str]],
    refresh: Callable[[], None],
    token_digest: str | None = None,
) -> web.Application:
    """Return the HTTP application.

    Args:
        problems: what keeps this replica from being alive.
        waits: what keeps it from being ready.
        refresh: brings gauges up to date before they are read.
        token_digest: SHA-256 of the token that `/metrics` needs; None: none.
    """

    def answer(reasons: Iterable[str]) -> web.Response:
        text = "; ".join(reasons)
        return web.Response(text=text or "ok", status=503 if text else 200)

    async def healthz(_: web.Request) -> web.Response:
        return answer(problems())

    async def readyz(_: web.Request) -> web.Response:
        return answer([*problems(), *waits()])

    async def metrics(request: web.Request) -> web.Response:
        if not may_read_metrics(token_digest, request.headers.get("Authorization")):
            return web.Response(text="a bearer token is needed", status=401, headers={"WWW-Authenticate": "Bearer"})
        refresh()
        return web.Response(
            body=prometheus_client.generate_latest(), headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app
