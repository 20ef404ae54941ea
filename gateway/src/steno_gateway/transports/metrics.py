"""`/metrics` on a port of its own: prometheus_client's WSGI application behind a bearer token.

Separate because it is a server of its own, in a thread, which answers while the event loop is busy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from steno_api.metrics_token import may_read_metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse


def serve_metrics(host: str, port: int, token_digest: str | None = None) -> WSGIServer:
    """Serve metrics in a thread until the process ends, or `shutdown` is called.

    Args:
        host: address to listen on.
        port: 0: any.
        token_digest: SHA-256 of the token that is needed; None: none is.
    """
    metrics = make_wsgi_app()

    def app(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        if may_read_metrics(token_digest, environ.get("HTTP_AUTHORIZATION")):
            return metrics(environ, start)
        start("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Length", "0")])
        return ()

    server = make_server(host, port, app, ThreadingWSGIServer, _SilentHandler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


class _SilentHandler(WSGIRequestHandler):
    timeout = 10.0
    """Seconds for which a client may send or read nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class names it
        """Log nothing of requests."""
