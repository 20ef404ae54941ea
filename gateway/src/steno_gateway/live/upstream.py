"""WebSocket client of a pool's server: opens a session there, and says why if the server does not take it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from steno_api.failures import FailureReason
from steno_api.gateway.session_tokens import SessionToken
from steno_api.server.errors import ErrorCode, ErrorStatus, failure_status

CONNECT_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 20.0
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of what a server sends; a final has the words of one utterance."""
QUEUED_MESSAGES = 8
"""That are read ahead of the client."""
_STATUSES = {
    **{reason.value: failure_status(reason) for reason in FailureReason},
    **{each.value.code: each.value for each in ErrorCode},
}


@dataclass(frozen=True)
class Opened:
    """A session that is open on its server.

    Attributes:
        socket: the connection.
        first: the server's first message.
    """

    socket: ClientConnection
    first: dict[str, Any]


class RefusedError(Exception):
    """The server did not take the session.

    Attributes:
        status: why.
        message: the server's words.
    """

    def __init__(self, status: ErrorStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def open_upstream(token: SessionToken, start: Mapping[str, Any], tls: ssl.SSLContext) -> Opened:
    """Connect to a session's server and start it.

    Args:
        token: of the session, with the server's address.
        start: the fields of `start_session`.
        tls: how a server with TLS is verified.

    Raises:
        RefusedError: see there; `NotReady` if there is no answer.
    """
    socket: ClientConnection | None = None
    try:
        socket = await connect(
            token.url,
            additional_headers={"Authorization": f"Bearer {token.token}"},
            ssl=tls if urlsplit(token.url).scheme == "wss" else None,
            proxy=None,  # that of the environment is not meant for the cluster's own servers
            compression=None,
            open_timeout=CONNECT_SECONDS,
            # A server that is busy answers pings late: they only keep the connection open.
            ping_interval=KEEP_ALIVE_SECONDS,
            ping_timeout=None,
            max_size=MAX_MESSAGE_BYTES,
            max_queue=QUEUED_MESSAGES,
        )
        await socket.send(json.dumps({"type": "start_session", **start}))
        async with asyncio.timeout(CONNECT_SECONDS):
            first = json.loads(await socket.recv())
    except InvalidStatus as error:
        raise _denied(error.response.body) from None
    except (ConnectionClosed, InvalidHandshake, OSError, ValueError) as error:  # TimeoutError is an OSError
        await _close(socket)
        raise RefusedError(ErrorCode.NOT_READY.value, f"its server does not answer ({type(error).__name__})") from None
    except BaseException:
        await _close(socket)
        raise
    if first.get("type") == "error" and first.get("fatal"):
        await _close(socket)
        raise _error_of(first.get("code"), first.get("message"))
    return Opened(socket, first)


async def _close(socket: ClientConnection | None) -> None:
    if socket is not None:
        socket.transport.abort()


def _denied(body: bytes | bytearray | None) -> RefusedError:
    """Return what a server's problem document says."""
    try:
        problem: Any = json.loads(body or b"")
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    return _error_of(problem.get("code"), problem.get("detail"))


def _error_of(code: Any, message: Any) -> RefusedError:
    return RefusedError(status_of(code) or ErrorCode.NOT_READY.value, str(message or "its server refused it"))


def status_of(code: Any) -> ErrorStatus | None:
    """Return the error that a server names by its code; None: it is not known here."""
    return _STATUSES.get(code) if isinstance(code, str) else None
