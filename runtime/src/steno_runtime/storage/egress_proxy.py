"""Forward proxy (HTTP CONNECT and absolute URLs) on loopback, for libraries that resolve and connect by themselves.

Obstore is given it as its proxy, so that all its connections, also those after a redirect, are to addresses that
`Egress` permits. An administrator's proxy is asked in turn.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import logging
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import cast
from urllib.parse import unquote, urlsplit

from steno_api.worker.task import EgressRules
from steno_runtime.storage.egress import Egress, ForbiddenAddress, environment_proxy

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
CHUNK_BYTES = 256 * 1024
DENIED_CODE, UNREACHABLE_CODE = "AddressDenied", "ConnectFailed"
"""S3 error codes of the proxy's own answers."""

_PORTS = {"http": 80, "https": 443}
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"})


def egress_proxy(rules: EgressRules) -> str:
    """Return the URL of a proxy with these rules; it is started once, and lives as long as this process."""
    return _start(tuple(rules.allowed_networks), tuple(rules.denied_networks))


@functools.cache
def _start(allowed: tuple[str, ...], denied: tuple[str, ...]) -> str:
    server = _Server(Egress(EgressRules(allowed_networks=list(allowed), denied_networks=list(denied))))
    threading.Thread(target=server.serve_forever, name="egress-proxy", daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, egress: Egress) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.egress = egress

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that go away: they know why."""


class _Handler(BaseHTTPRequestHandler):
    """Serves one request of one connection, and then only passes bytes on."""

    protocol_version = "HTTP/1.1"
    timeout = CONNECT_SECONDS  # for the head of the request

    def do_CONNECT(self) -> None:
        """Open a tunnel."""
        self._serve("https", self.path, "")

    def do_GET(self) -> None:
        """Pass on a request for an absolute URL."""
        scheme, _, rest = self.path.partition("://")
        authority, slash, path = rest.partition("/")
        if scheme != "http":
            self._refuse(HTTPStatus.BAD_REQUEST, "InvalidRequest")
            return
        self._serve(scheme, authority, slash + path)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: URLs may be signed."""

    def _serve(self, scheme: str, authority: str, path: str) -> None:
        self.close_connection = True
        try:
            parts = urlsplit(f"//{authority}")
            host, port = parts.hostname or "", parts.port or _PORTS[scheme]
            proxy = environment_proxy(scheme, host)
            far = self._connect(host, port, proxy)
        except ForbiddenAddress:
            self._refuse(HTTPStatus.FORBIDDEN, DENIED_CODE)
        except (OSError, ValueError) as error:  # UnicodeErrors are ValueErrors
            log.warning("no connection", extra={"host": authority[:253], "why": str(error)[:200]})
            self._refuse(HTTPStatus.BAD_GATEWAY, UNREACHABLE_CODE)
        else:
            with far, contextlib.suppress(OSError):
                if scheme == "http" or proxy is not None:
                    far.sendall(self._head(path, authority, proxy))
                else:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._exchange(far)

    def _connect(self, host: str, port: int, proxy: str | None) -> socket.socket:
        egress = cast("_Server", self.server).egress
        if proxy is None:
            return egress.connect(
                host, port, CONNECT_SECONDS, lambda address, seconds: socket.create_connection((address, port), seconds)
            )
        egress.check_proxied(host)
        parts = urlsplit(proxy)
        if parts.scheme != "http":
            raise ValueError("a proxy for S3 must be one that is reached by http://")
        return socket.create_connection((parts.hostname or "", parts.port or _PORTS["http"]), CONNECT_SECONDS)

    def _head(self, path: str, authority: str, proxy: str | None) -> bytes:
        """Return the head of the request as the next server gets it."""
        target = self.path if proxy is not None else path or "/"
        lines = [f"{self.command} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP]
        if "host" not in self.headers:
            lines.append(f"Host: {authority}")
        if self.command != "CONNECT":
            lines.append("Connection: close")  # the next request of this connection may be for another host
        parts = urlsplit(proxy or "")
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _exchange(self, far: socket.socket) -> None:
        """Pass bytes on in both directions until one side has closed."""
        near = self.connection
        for one in (near, far):
            one.settimeout(None)  # obstore has time limits of its own
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sender = threading.Thread(target=self._send, args=(far,), daemon=True)
        sender.start()
        try:
            while data := far.recv(CHUNK_BYTES):
                near.sendall(data)
        finally:
            for one in (near, far):
                _shut(one)
            sender.join()

    def _send(self, far: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := self.rfile.read1(CHUNK_BYTES):  # pyright: ignore[reportAttributeAccessIssue]
                far.sendall(data)
        _shut(far)  # the client has gone

    def _refuse(self, status: HTTPStatus, code: str) -> None:
        self.close_connection = True
        body = f"<Error><Code>{code}</Code></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
