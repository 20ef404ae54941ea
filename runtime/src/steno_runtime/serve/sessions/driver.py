"""Session driver: the conversation of one live session, from its first message to its close, for every protocol.

A transport is a `ClientConnection`: it turns its protocol's messages into `ClientMessage`s and the driver's
`ServerEvent`s into its protocol's messages. When a session opens, what ends it, and what the client learns of it, is
decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import Protocol

from steno_api.gateway.api_keys import Scope
from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.reports import SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.streamsession import SessionStats
from steno_runtime.errors import WorkError
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.serve.auth import Authenticator
from steno_runtime.serve.errors import to_api_error
from steno_runtime.serve.sessions.audio_input import AudioInput, Pcm
from steno_runtime.serve.sessions.live_session import LiveSession
from steno_runtime.serve.sessions.registry import SessionOverrides, SessionRegistry
from steno_runtime.stream.events import Event

log = logging.getLogger(__name__)

MAX_AUDIO_BYTES = 1024 * 1024
"""Of one message."""
START_SECONDS = 10.0
"""Within which the first message has to arrive."""
PUBLISH_WAIT_SECONDS = 15.0
"""How long the last message waits for the manifest, so that it can name it."""


class Disconnected(Exception):  # noqa: N818  (an event, not an error)
    """The client's connection is broken, or the client has left it."""


@dataclass(frozen=True)
class Start:
    """The first message: which session a client wants, and how.

    Attributes:
        session: `<namespace>/<name>`, name or UID of the session; None: the token's.
        tenant: the tenant; None: the token's.
        meeting: the meeting; None: the token's.
        token: the token, where it was not sent before.
        sample_rate: of the audio, in Hz.
        overrides: what the client chooses instead of its token's settings.
    """

    session: str | None = None
    tenant: str | None = None
    meeting: str | None = None
    token: str | None = None
    sample_rate: int = SAMPLE_RATE
    overrides: SessionOverrides = field(default_factory=SessionOverrides)


@dataclass(frozen=True)
class Audio:
    """A piece of the client's audio: PCM at the session's sample rate, or a container; see `AudioInput`."""

    data: bytes


class Unreadable:
    """Audio that could not be read, as the client has been told; the session goes on without it."""


class Finalize:
    """The client asks for a final now; the session goes on."""


class End:
    """The client ends the session."""


class KeepAlive:
    """The client is connected but has no audio; this does not count as audio."""


ClientMessage = Audio | Unreadable | Finalize | End | KeepAlive


@dataclass(frozen=True)
class Started:
    """The session is open."""

    session: str
    claims: SessionClaims


ServerEvent = Started | Event


@dataclass(frozen=True)
class SessionEnding:
    """How a session ended.

    Attributes:
        reason: why.
        stats: the session's statistics.
        result: what it left; None while its transcript is still being published.
        error: why decoding broke off, if it did.
    """

    reason: SessionEnd
    stats: SessionStats
    result: SessionResult | None
    error: ApiError | None = None


class ClientConnection(Protocol):
    """One client's connection, in any protocol. Events are sent one after the other, in order."""

    async def start(self) -> Start:
        """Return the first message.

        Raises:
            ApiError: it is not one that starts a session.
            Disconnected: there will be none.
        """
        ...

    def authenticate(self) -> None:
        """The token of the first message is valid: the limits on unauthenticated clients no longer apply."""
        ...

    async def receive(self) -> ClientMessage:
        """Return the next message.

        Raises:
            ApiError: the client broke the protocol, which ends the session.
            Disconnected: there are no more.
        """
        ...

    async def send(self, event: ServerEvent) -> None:
        """Send an event; raise anything when the client cannot be reached, or reads nothing for `SEND_SECONDS`."""
        ...

    async def close(self, ending: SessionEnding | ApiError) -> None:
        """Send how the session ended, or why there is none, and close the connection. Never raises."""
        ...


class SessionDriver:
    """Drives the live sessions of this server."""

    def __init__(self, registry: SessionRegistry, authenticator: Authenticator) -> None:
        self._registry = registry
        self._authenticator = authenticator

    async def serve(
        self, connection: ClientConnection, claims: SessionClaims | None, *, session: str | None = None
    ) -> None:
        """Serve one connection to its end. Raises only when it is cancelled.

        Args:
            connection: to the client; it is closed when this returns, unless it broke.
            claims: the client's; None: the token comes with the first message.
            session: the session that the client named before the first message, if it did.
        """
        ending: SessionEnding | ApiError | None
        try:
            live, started, audio = await self._open(connection, claims, session)
            ending = await _converse(connection, live, started, audio)
        except Disconnected:
            return
        except ApiError as error:
            ending = error
        except Exception as error:  # noqa: BLE001
            log.error("a connection failed", extra={"error": type(error).__name__})  # noqa: TRY400 - may quote messages
            ending = to_api_error(error)
        if ending is not None:
            await connection.close(ending)

    async def _open(
        self, connection: ClientConnection, claims: SessionClaims | None, session: str | None
    ) -> tuple[LiveSession, Started, AudioInput]:
        start = await self._first_message(connection)
        if claims is None:
            claims = self._authenticator.authenticate(start.token, Scope.STREAM)
            connection.authenticate()
            self._authenticator.check_claims(claims, session=session)
        claims = self._authenticator.check_claims(
            claims, session=start.session, tenant=start.tenant, meeting=start.meeting
        )
        audio = AudioInput(start.sample_rate, max_seconds=claims.max_duration_seconds)
        live = self._registry.open(claims, start.overrides, connection.send)
        return live, Started(start.session or claims.name, claims), audio

    async def _first_message(self, connection: ClientConnection) -> Start:
        try:
            async with asyncio.timeout(START_SECONDS):
                return await connection.start()
        except TimeoutError:
            message = f"The first message did not arrive within {START_SECONDS:g} s."
            raise ApiError(ErrorCode.START_TIMEOUT, message) from None


async def _converse(
    connection: ClientConnection, live: LiveSession, started: Started, audio: AudioInput
) -> SessionEnding | None:
    """Take messages until the session ends, for any reason.

    Args:
        connection: to the client.
        live: the session, which has ended when this returns or raises.
        started: the first event.
        audio: converts what the client sends; it is closed when this returns or raises.

    Returns:
        How the session ended; None if the client has gone.

    Raises:
        ApiError: the client broke the protocol.
    """
    tasks: list[asyncio.Task[None]] = []
    try:
        with contextlib.suppress(Exception):  # a client that has left already is noticed by the next receive
            await connection.send(started)
        receiving = asyncio.create_task(_receive(connection, live, audio))
        tasks = [receiving, asyncio.create_task(_wait(live.ending))]
        await asyncio.wait((*tasks, live.decoded), return_when=asyncio.FIRST_COMPLETED)
        if receiving.done():
            receiving.result()
        live.end(SessionEnd.CLIENT_GONE)  # unless it has ended already
        if live.reason is SessionEnd.CLIENT_GONE:
            return None
        failure = await asyncio.shield(live.decoded)
        await asyncio.wait((live.published,), timeout=PUBLISH_WAIT_SECONDS)
    finally:
        for task in tasks:
            task.cancel()
        audio.close()
        live.end(SessionEnd.CLIENT_GONE)
    result = live.published.result() if live.published.done() else None
    error = None if failure is None else to_api_error(failure)
    return SessionEnding(live.reason, live.stats, result, error)


async def _receive(connection: ClientConnection, live: LiveSession, audio: AudioInput) -> None:
    """Pass messages to the session until the client leaves.

    After the session's end they are read and dropped: a client's pings stand in line with them, and the rest of its
    audio may take minutes.

    Raises:
        ApiError: the client broke the protocol.
    """
    while True:
        try:
            message = await connection.receive()
            if not live.ending.is_set():
                await _handle(message, live, audio)
        except Disconnected:
            if not live.ending.is_set():
                with contextlib.suppress(ApiError, WorkError):  # there is nobody to tell
                    await _feed(live, audio, audio.finish())
            live.end(SessionEnd.CLIENT_GONE)
            return
        except ApiError:
            if not live.ending.is_set():
                raise


async def _handle(message: ClientMessage, live: LiveSession, audio: AudioInput) -> None:
    match message:
        case Audio():
            await _feed(live, audio, audio.convert(message.data))
        case Unreadable():
            live.skip_unreadable()
        case Finalize():
            await _feed(live, audio, audio.flush())
            live.finalize()
        case End():
            await _feed(live, audio, audio.finish())
            live.end(SessionEnd.CLIENT_ENDED)
        case KeepAlive():
            pass


async def _feed(live: LiveSession, audio: AudioInput, blocks: Pcm) -> None:
    """Give the session audio, as fast as it takes it, until it ends."""
    damaged = audio.damaged
    async with contextlib.aclosing(blocks):
        async for pcm in blocks:
            if live.ending.is_set():
                return
            await live.feed(pcm)
    live.skip_unreadable(audio.damaged - damaged)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
