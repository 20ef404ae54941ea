"""A proxy of an S3 server that holds one request back, so that a gateway can be lost at that moment."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.s3 import S3Server

from .conftest import SECONDS

_OF_A_CONNECTION = frozenset({"connection", "transfer-encoding", "content-length"})


class Gate(ThreadingHTTPServer):
    """A proxy that holds back the first request that it is to hold back, until it is closed."""

    def __init__(self, s3: S3Server, holds: Callable[[str, str], bool], *, arrives: bool) -> None:
        """Listen.

        Args:
            s3: what is behind it.
            holds: whether a request, by its method and path, is to be held back.
            arrives: whether that request gets to the server, and only its answer is held back.
        """
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = urlsplit(s3.endpoint).netloc
        self.s3 = replace(s3, endpoint=f"http://127.0.0.1:{self.server_address[1]}")
        self.arrives = arrives
        self.held = threading.Event()
        self.closed = threading.Event()
        self._holds, self._first = holds, threading.Lock()

    def takes(self, method: str, path: str) -> bool:
        """Return whether this is the request that is held back."""
        return self._holds(method, path) and self._first.acquire(blocking=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gate

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self.relay
        raise AttributeError(name)

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        is_held = self.server.takes(self.command, self.path)
        answer = None if is_held and not self.server.arrives else self.ask(body)
        if is_held:
            self.server.held.set()
            self.server.closed.wait(SECONDS)
        if answer is None or is_held:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        data = answer.read()
        for name, value in answer.getheaders():
            if name.lower() not in _OF_A_CONNECTION:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def ask(self, body: bytes) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.server.address, timeout=SECONDS)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():  # with the Host that was signed
            connection.putheader(name, value)
        connection.endheaders(body)
        return connection.getresponse()

    def handle(self) -> None:
        with suppress(ConnectionError):  # the gateway was lost
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def gate(s3: S3Server, holds: Callable[[str, str], bool], *, arrives: bool = False) -> Iterator[Gate]:
    found = Gate(s3, holds, arrives=arrives)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        found.closed.set()
        found.shutdown()
        thread.join()
        found.server_close()
