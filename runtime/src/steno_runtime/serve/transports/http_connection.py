"""Uvicorn's HTTP and WebSocket protocols, with the limits on unauthenticated clients.

Uvicorn's own `limit_concurrency` refuses whoever comes last, with a token or without, and it has no time limit for the
head of a request. The size of a head is limited by h11.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import h11
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from steno_api.server.errors import ApiError, ErrorCode
from steno_runtime.serve.auth import header_token, query_token
from steno_runtime.serve.transports.problem_details import error_response
from steno_runtime.serve.unauthenticated import Connection, UnauthenticatedClients

MAX_HEAD_BYTES = 16 * 1024
_STATE = "connection"
_PORT = re.compile(r":\d*$")
_HEALTH = "/health"
"""Cheap, and a load balancer that asks for it may share its address with its clients."""


def connection_of(scope: Scope) -> Connection | None:
    """Return the connection of a request; None where nothing limits it."""
    return scope.get("state", {}).get(_STATE)


class Authentication:
    """Middleware that takes the connections of clients with a token off the limits, and counts requests of others."""

    def __init__(
        self, app: ASGIApp, clients: UnauthenticatedClients, authenticate: Callable[[str | None], object]
    ) -> None:
        """Wrap `app`.

        Args:
            app: the application.
            clients: what those without a token may use.
            authenticate: raises `ApiError` for a token that is not valid.
        """
        self._app, self._clients, self._authenticate = app, clients, authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request that is one too many; its token, if it has one, is checked before."""
        connection = connection_of(scope)
        if connection is not None and scope["path"] != _HEALTH:
            try:
                self._authenticate(_token(scope))
                connection.authenticate()
            except ApiError:
                if not self._clients.rate.spend(connection.address):
                    await _refuse(scope, receive, send)
                    return
        await self._app(scope, receive, send)


class AllowedHosts:
    """Middleware that refuses requests for other hosts: a web page may give this address a name of its own."""

    def __init__(self, app: ASGIApp, allowed: Callable[[str], bool]) -> None:
        """Wrap `app`.

        Args:
            app: the application.
            allowed: whether a host, without its port, is one of this server's.
        """
        self._app, self._allowed = app, allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request for another host. Browsers always name one; what names none is none of theirs."""
        hosts = HTTPConnection(scope).headers.getlist("host")
        if all(self._allowed(_PORT.sub("", host).strip("[]").lower()) for host in hosts):
            await self._app(scope, receive, send)
            return
        message = "Without keys, this server answers requests for localhost and loopback addresses only."
        await _respond(ApiError(ErrorCode.HOST_NOT_ALLOWED, message), scope, receive, send)


def _token(scope: Scope) -> str | None:
    request = HTTPConnection(scope)
    in_query = query_token(request.query_params) if scope["type"] == "websocket" else None
    return header_token(request.headers) or in_query


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    message = (
        "Too many requests without a valid token came from this address. Try again in a few seconds, or send a token "
        "with the request, WebSockets with the handshake."
    )
    await _respond(ApiError(ErrorCode.SERVER_FULL, message, retry_after=5), scope, receive, send)


async def _respond(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    response = error_response(error)
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        response.headers["Connection"] = "close"
        await response(scope, receive, send)


def http_options(clients: UnauthenticatedClients) -> dict[str, Any]:
    """Return the options of `uvicorn.Config` that apply the limits."""
    return {
        "http": type("LimitedHTTPProtocol", (_HTTPProtocol,), {"clients": clients}),
        "ws": _WebSocketProtocol,
        "h11_max_incomplete_event_size": MAX_HEAD_BYTES,
        "log_level": logging.ERROR,  # else everyone can fill the log with requests that are none
    }


class _HTTPProtocol(H11Protocol):
    clients: UnauthenticatedClients

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: Mapping[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._connection = Connection(self.clients)
        super().__init__(config, server_state, {**app_state, _STATE: self._connection}, _loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._connection.open(self.client[0] if self.client else "", transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.close()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        cycle = self.cycle
        super().data_received(data)
        if self.transport.get_protocol() is not self:  # it is a WebSocket now
            return
        if self.cycle is not cycle:
            self._connection.begin_request()
        elif self.conn.their_state is h11.IDLE:
            self._connection.await_head()

    def on_response_complete(self) -> None:
        self._connection.end_request()
        cycle = self.cycle
        super().on_response_complete()
        if self.cycle is not cycle:  # the next request was there already
            self._connection.begin_request()
        elif self.conn.trailing_data[0]:  # part of it was
            self._connection.await_head()


class _WebSocketProtocol(WebSocketsSansIOProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connection: Connection = app_state[_STATE]
        self._connection.begin_request()
        self._connection.drop = self._drop

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.close()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._connection.receive(len(data)):
            super().data_received(data)
        else:
            self._drop()

    def _drop(self) -> None:
        """Close at once; the client is told why if it reads."""
        if self.handshake_complete and not self.close_sent and not self.transport.get_write_buffer_size():
            status = ErrorCode.SERVER_FULL.value
            self.conn.send_close(status.close, status.code)
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()
