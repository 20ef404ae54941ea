"""The session driver with a protocol of its own: what a new transport has to bring, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.session_end import SessionEnd
from steno_runtime.serve.auth import Authenticator
from steno_runtime.serve.sessions.driver import (
    Audio,
    ClientMessage,
    Disconnected,
    End,
    ServerEvent,
    SessionDriver,
    SessionEnding,
    Start,
    Started,
)
from steno_runtime.stream.events import Final

from .conftest import SECOND, RunningServer, StartServer, TokenIssuer, wait_until
from .scripted import WORD
from .test_session_endings import next_ended


class FakeConnection:
    """A `ClientConnection` that sends prepared messages, then disconnects."""

    def __init__(
        self, *messages: ClientMessage | ApiError, on_send: Callable[[], asyncio.Future] | None = None
    ) -> None:
        self.messages = list(messages)
        self.on_send = on_send
        self.sent: list[ServerEvent] = []
        self.closed: SessionEnding | ApiError | None = None

    async def start(self) -> Start:
        return Start()

    async def receive(self) -> ClientMessage:
        if not self.messages:
            raise Disconnected
        message = self.messages.pop(0)
        if isinstance(message, ApiError):
            raise message
        return message

    async def send(self, event: ServerEvent) -> None:
        self.sent.append(event)
        if self.on_send is not None:
            await self.on_send()

    async def close(self, ending: SessionEnding | ApiError) -> None:
        self.closed = ending


def driver_of(server: RunningServer) -> SessionDriver:
    return SessionDriver(server.server.registry, Authenticator(server.task))


async def test_a_session(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    connection = FakeConnection(Audio(SECOND), End())
    await driver_of(server).serve(connection, SessionClaims.model_validate(issuer.claims(name="standup")))
    started, *_ = connection.sent
    assert isinstance(started, Started)
    assert started.session == "standup"
    assert [event.text for event in connection.sent if isinstance(event, Final)] == [" ".join([WORD] * 10)]
    assert isinstance(connection.closed, SessionEnding)
    assert (connection.closed.reason, connection.closed.error) == (SessionEnd.CLIENT_ENDED, None)


async def test_a_broken_protocol_ends_the_session(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    error = ApiError(ErrorCode.INVALID_MESSAGE, "This is not a message.")
    connection = FakeConnection(Audio(SECOND), error)
    await driver_of(server).serve(connection, SessionClaims.model_validate(issuer.claims()))
    assert connection.closed is error
    assert (await report).result.reason is SessionEnd.CLIENT_GONE
    assert (await report).stats.segments == 1


async def test_a_client_that_leaves_while_its_session_starts(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    connection = FakeConnection(on_send=asyncio.get_running_loop().create_future)
    serving = asyncio.create_task(driver_of(server).serve(connection, SessionClaims.model_validate(issuer.claims())))
    await wait_until(lambda: connection.sent)
    serving.cancel()  # as a gRPC server does with the call of a client that has gone
    assert (await report).result.reason is SessionEnd.CLIENT_GONE
