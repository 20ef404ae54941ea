"""Forward proxy (HTTP CONNECT and absolute URLs) on loopback, for libraries that resolve and connect by themselves.

Obstore is given it as its proxy, so that all its connections, also those after a redirect, are to addresses that
`Egress` permits. An administrator's proxy is asked in turn. Credentials are for one origin: obstore takes the signature
off a request that is redirected to another one, but not the token of a session.
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

from steno_api.egress import Egress, ForbiddenAddress, environment_proxy
from steno_api.worker.task import EgressRules
from steno_runtime.storage.egress import egress_of

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
CHUNK_BYTES = 256 * 1024
DENIED_CODE, UNREACHABLE_CODE, OTHER_ORIGIN_CODE = "AddressDenied", "ConnectFailed", "OtherOrigin"
"""S3 error codes of the proxy's own answers."""

_PORTS = {"http": 80, "https": 443}
_CREDENTIALS = frozenset({"authorization", "x-amz-security-token", "cookie"})
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"})


def egress_proxy(rules: EgressRules, origin: str | None) -> str:
    """Return the URL of a proxy; it is started once for these arguments, and lives as long as this process.

    Args:
        rules: networks that it may connect to.
        origin: URL of the only server that gets credentials: they are taken off requests to others, and where they
            would be within TLS, others are not connected to. None: the pod's own identity, which several servers issue.
    """
    return _start(tuple(rules.allowed_networks), tuple(rules.denied_networks), _origin(origin) if origin else None)


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname or "", parts.port or _PORTS[scheme]


@functools.cache
def _start(allowed: tuple[str, ...], denied: tuple[str, ...], origin: tuple[str, str, int] | None) -> str:
    server = _Server(egress_of(EgressRules(allowed_networks=list(allowed), denied_networks=list(denied))), origin)
    threading.Thread(target=server.serve_forever, name="egress-proxy", daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, egress: Egress, origin: tuple[str, str, int] | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.egress = egress
        self.origin = origin

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
            is_origin = cast("_Server", self.server).origin in (None, (scheme, host, port))
            if scheme == "https" and not is_origin:
                log.warning("a redirect to another server is not followed", extra={"host": authority[:253]})
                self._refuse(HTTPStatus.FORBIDDEN, OTHER_ORIGIN_CODE)
                return
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
                    far.sendall(self._head(path, authority, proxy, with_credentials=is_origin))
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

    def _head(self, path: str, authority: str, proxy: str | None, *, with_credentials: bool) -> bytes:
        """Return the head of the request as the next server gets it."""
        dropped = _HOP_BY_HOP if with_credentials else _HOP_BY_HOP | _CREDENTIALS
        target = self.path if proxy is not None else path or "/"
        lines = [f"{self.command} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in dropped]
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
