"""One session over a WebSocket: audio goes out, events come in."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI

from steno_client import endings
from steno_client.errors import EXIT_INPUT, EXIT_TEMPORARY, CommandError
from steno_client.session import Target

Event = Mapping[str, Any]
START_SECONDS = 30.0
"""How long the server may take to accept a session."""
_CONNECT_SECONDS = 10.0
_BROKEN = (ConnectionResetError, BrokenPipeError, InvalidMessage)
"""Taken and dropped at once: what lies before a server that has just become ready may not know of it yet."""
_BROKEN_SECONDS, _BROKEN_PAUSE_SECONDS = 10.0, 0.25
"""For how long such a connection is tried again, and how often."""
_PING_SECONDS = 120.0
"""A server that holds audio back (it lags) answers pings only when it reads on; one that is gone never does."""


@dataclass(frozen=True)
class Options:
    """How a session is asked for; `None` leaves it to the session."""

    sample_rate: int
    language: str | None = None
    interim_results: bool = True


async def stream(
    target: Target, audio: AsyncIterator[bytes], options: Options, on_event: Callable[[Event], None]
) -> None:
    """Streams audio to a session until both have ended; Ctrl-C ends the audio, a second one the program.

    Args:
        target: endpoint and token.
        audio: PCM, at the pace it is to be sent.
        options: what the session is asked for.
        on_event: called with every message of the server, in order.

    Raises:
        CommandError: the session was refused, ended before the audio did, or its transcript was not published.
    """
    socket = await _connected(target)
    async with socket:
        await _Exchange(socket, target, on_event).run(audio, options)


async def _connected(target: Target) -> ClientConnection:
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    loop = asyncio.get_running_loop()
    until = loop.time() + _BROKEN_SECONDS
    try:
        while True:
            try:
                return await connect(
                    target.url,
                    additional_headers=headers,
                    compression=None,
                    max_size=4 * 1024 * 1024,
                    open_timeout=_CONNECT_SECONDS,
                    ping_timeout=_PING_SECONDS,
                )
            except _BROKEN:
                if loop.time() >= until:
                    raise
            await asyncio.sleep(_BROKEN_PAUSE_SECONDS)
    except InvalidStatus as error:
        raise endings.refusal_of(error.response.status_code, bytes(error.response.body or b""), target) from error
    except InvalidURI as error:
        raise CommandError(f"{target.server} is no URL to connect to", EXIT_INPUT) from error
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise endings.unreachable(target) from error


class _Exchange:
    """What goes to and fro on one connection."""

    def __init__(self, socket: ClientConnection, target: Target, on_event: Callable[[Event], None]) -> None:
        self._socket = socket
        self._target = target
        self._on_event = on_event
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._sent_all = False
        self._ended: Event | None = None
        self._fatal: Event | None = None

    async def run(self, audio: AsyncIterator[bytes], options: Options) -> None:
        """Sends and receives until the server closed."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        sender = asyncio.create_task(self._send(audio, options))
        try:
            await self._receive(sender)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            sender.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await sender

    def _interrupted(self) -> None:
        """The first Ctrl-C says that nothing more is said; the next one is Python's own again."""
        self._stopped.set()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    async def _send(self, audio: AsyncIterator[bytes], options: Options) -> None:
        start: dict[str, Any] = {"type": "start_session", "sample_rate": options.sample_rate}
        if self._target.session:
            start["session_id"] = self._target.session.rpartition("/")[2]
        if options.language:
            start["language"] = options.language
        if not options.interim_results:
            start["interim_results"] = False
        await self._socket.send(json.dumps(start))
        try:
            await asyncio.wait_for(self._started.wait(), START_SECONDS)
        except TimeoutError as error:
            raise CommandError(
                f"the server at {self._target.server} did not begin within {START_SECONDS:.0f} s: see its log",
                EXIT_TEMPORARY,
            ) from error
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            while not stopped.done():
                piece = asyncio.ensure_future(anext(audio, None))
                await asyncio.wait((piece, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not piece.done():
                    piece.cancel()
                    break
                if (pcm := piece.result()) is None:
                    break
                await self._socket.send(pcm)
        finally:
            stopped.cancel()
        self._sent_all = True
        await self._socket.send(json.dumps({"type": "end_session"}))

    async def _receive(self, sender: asyncio.Task[None]) -> None:
        try:
            while True:
                message = asyncio.ensure_future(self._socket.recv())
                waited = (message, sender) if not sender.done() else (message,)
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if sender.done() and (failed := sender.exception()) and not isinstance(failed, ConnectionClosed):
                    message.cancel()
                    raise failed
                self._take(await message)
        except ConnectionClosed as closed:
            self._judge(closed)

    def _take(self, message: str | bytes) -> None:
        try:
            event = json.loads(message)
            kind = event.get("type") or event.get("event")
        except (ValueError, AttributeError) as error:
            raise CommandError(
                f"{self._target.server} does not speak Steno's protocol: check the URL", EXIT_INPUT
            ) from error
        if kind == "session_started":
            self._started.set()
        elif kind == "session_ended":
            self._ended = event
        elif kind == "error" and event.get("fatal"):
            self._fatal = event
        self._on_event(event)

    def _judge(self, closed: ConnectionClosed) -> None:
        """Raises unless the session ended as it should."""
        ending = endings.Ending(
            code=closed.rcvd.code if closed.rcvd else endings.BROKEN,
            said=closed.rcvd.reason if closed.rcvd else "",
            started=self._started.is_set(),
            sent_all=self._sent_all,
            ended=self._ended,
            fatal=self._fatal,
        )
        if (error := endings.error_of(ending, self._target)) is not None:
            raise error
