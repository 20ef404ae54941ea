"""Live sessions in any protocol: opened for a client, relayed both ways, and left when it leaves or its key is revoked.

Separate because each protocol only translates: who waits for what, and who learns why it ends, is the same in all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.access import Access, Admitted
from steno_gateway.live.sessions import LiveSessions, SessionRequest
from steno_gateway.live.upstream import Opened

START_SECONDS = 10.0
"""Within which the first message has to arrive."""
_LEAVE_SECONDS = 5.0
_ABNORMAL = 1006


class Disconnected(Exception):  # noqa: N818 - an event, not an error
    """The client has left, or cannot be reached."""


@dataclass(frozen=True)
class LiveCall:
    """A session that is open on its server, for a client.

    Attributes:
        server: the connection.
        first: the server's first message.
        revoked: fails when the client's credential is not valid any more.
    """

    server: ClientConnection
    first: dict[str, Any]
    revoked: asyncio.Task[NoReturn]

    async def relay(
        self, to_server: Coroutine[Any, Any, None], to_client: Coroutine[Any, Any, None]
    ) -> tuple[int, str]:
        """Pass messages both ways until one side ends; return the server's close code and reason.

        Args:
            to_server: passes on what the client says; it ends where the client says no more.
            to_client: passes on what the server says.

        Raises:
            ApiError: the key was revoked or the token has expired, or the server is lost.
            Disconnected: the client has left.
        """
        async with running(to_server) as up, running(to_client) as down:
            await asyncio.wait((up, down, self.revoked), return_when=asyncio.FIRST_COMPLETED)
            if self.revoked.done():
                self.revoked.result()
            if up.done() and not isinstance(up.exception(), ConnectionClosed):
                up.result()
            # The server has closed, or is about to: what it sent before comes first.
            await asyncio.wait((down, self.revoked), return_when=asyncio.FIRST_COMPLETED)
            if not down.done():
                self.revoked.result()
            if not isinstance(down.exception(), ConnectionClosed):
                down.result()
        code = self.server.close_code or _ABNORMAL
        if code == _ABNORMAL:
            message = "The session's server was lost. Connect again with the same session_id: another server goes on."
            raise ApiError(ErrorCode.DRAINING, message)
        return code, self.server.close_reason or ""


@contextlib.asynccontextmanager
async def live_call(
    access: Access,
    sessions: LiveSessions,
    admitted: Admitted,
    request: SessionRequest,
    gone: Coroutine[Any, Any, object],
) -> AsyncIterator[LiveCall]:
    """Open a session for a client, and leave it at the end: its server then ends it, if it has not ended already.

    Args:
        access: knows what is revoked.
        sessions: opens it.
        admitted: the client.
        request: what it asks for.
        gone: ends when the client has left.

    Raises:
        ApiError: why there is no session.
        Disconnected: the client has left before.
    """
    async with running(until_revoked(access, admitted)) as revoked:
        opened = await _unless(sessions.open(admitted.principal, request), gone, revoked)
        try:
            yield LiveCall(opened.socket, opened.first, revoked)
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await opened.socket.close(1001)


async def until_revoked(access: Access, admitted: Admitted) -> NoReturn:
    """Wait until the credential of a client is not valid any more.

    Raises:
        ApiError: then.
    """
    await access.revoked(admitted)
    if admitted.is_key:
        raise ApiError(ErrorCode.KEY_INVALID, "The API key was revoked or has expired: have another made.")
    raise ApiError(ErrorCode.KEY_EXPIRED, "The token has expired. Connect again with another from its issuer.")


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """Run something beside; it is over when this is."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # or asyncio would log it as never retrieved


@contextlib.asynccontextmanager
async def start_timeout() -> AsyncIterator[asyncio.Timeout]:
    """Limit how long the first message may take.

    Raises:
        ApiError: `StartTimeout`.
    """
    try:
        async with asyncio.timeout(START_SECONDS) as scope:
            yield scope
    except TimeoutError:
        message = f"The first message did not arrive within {START_SECONDS:g} s."
        raise ApiError(ErrorCode.START_TIMEOUT, message) from None


async def _unless(
    opening: Coroutine[Any, Any, Opened], gone: Coroutine[Any, Any, object], revoked: asyncio.Task[NoReturn]
) -> Opened:
    """Wait for a session, unless its client leaves or its credential is not valid any more."""
    async with running(opening) as work, running(gone) as left:
        await asyncio.wait((work, left, revoked), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        if revoked.done():
            revoked.result()
        raise Disconnected
