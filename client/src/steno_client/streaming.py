"""WebSocket client of a session: a sender and a receiver task on one connection."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI

from steno_client import session_errors
from steno_client.errors import EXIT_INPUT, EXIT_TEMPORARY, CommandError
from steno_client.target import Target

Event = Mapping[str, Any]
START_SECONDS = 30.0
"""How long the server may take to answer start_session."""
_CONNECT_SECONDS = 10.0
_RETRIED_ERRORS = (ConnectionResetError, BrokenPipeError, InvalidMessage)
"""A connection that is accepted and dropped at once: a load balancer may not know yet that the server is ready."""
_RETRY_SECONDS, _RETRY_INTERVAL_SECONDS = 10.0, 0.25
"""How long, and how often, such a connection is tried again."""
_PING_TIMEOUT_SECONDS = 300.0
"""Long, because a server that is half an hour behind stops reading, and so does not answer pings until it reads on."""


@dataclass(frozen=True)
class SessionRequest:
    """The parameters of start_session.

    Attributes:
        sample_rate: of the audio, in Hz.
        language: BCP 47 tag, or None for the language of the StreamSession.
        interim_results: whether the server sends partial text.
        languages: BCP 47 tags of the only languages that may be detected; empty: as the StreamSession says.
    """

    sample_rate: int
    language: str | None = None
    interim_results: bool = True
    languages: Sequence[str] = ()


async def stream_audio(
    target: Target,
    audio: AsyncIterator[bytes],
    request: SessionRequest,
    on_event: Callable[[Event], None],
    *,
    interruptible: bool = True,
) -> None:
    """Stream audio to a session until both have ended; Ctrl-C ends the audio, a second Ctrl-C the program.

    Args:
        target: endpoint and token.
        audio: signed 16-bit little-endian PCM, one channel, at the pace at which it is to be sent.
        request: the parameters of the session.
        on_event: called with each message of the server, in order.
        interruptible: whether Ctrl-C ends the audio; otherwise it ends the program.

    Raises:
        CommandError: the session was refused, ended before the audio did, or its transcript was not published.
    """
    socket = await _connect(target)
    async with socket:
        connection = _SessionConnection(socket, target, on_event)
        await (connection.run_interruptibly if interruptible else connection.run)(audio, request)


async def _connect(target: Target) -> ClientConnection:
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    context = target.tls_context()
    verified = {} if context is None else {"ssl": context, "server_hostname": target.server_name}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _RETRY_SECONDS
    try:
        while True:
            try:
                return await connect(
                    target.url,
                    additional_headers=headers,
                    compression=None,
                    max_size=4 * 1024 * 1024,
                    open_timeout=_CONNECT_SECONDS,
                    ping_timeout=_PING_TIMEOUT_SECONDS,
                    **verified,
                )
            except _RETRIED_ERRORS:
                if loop.time() >= deadline:
                    raise
            await asyncio.sleep(_RETRY_INTERVAL_SECONDS)
    except InvalidStatus as error:
        raise session_errors.error_for_handshake(
            error.response.status_code, bytes(error.response.body or b""), target
        ) from error
    except InvalidURI as error:
        raise CommandError(f"{target.server} is not a URL that can be connected to", EXIT_INPUT) from error
    except ssl.SSLCertVerificationError as error:
        raise session_errors.error_for_certificate(target, error.verify_message) from error
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise session_errors.error_for_unreachable(target) from error


class _SessionConnection:
    """The exchange of audio and events on one connection."""

    def __init__(self, socket: ClientConnection, target: Target, on_event: Callable[[Event], None]) -> None:
        self._socket = socket
        self._target = target
        self._on_event = on_event
        self._started = asyncio.Event()
        self._interrupted = asyncio.Event()
        self._sent_all = False
        self._session_ended: Event | None = None
        self._fatal_error: Event | None = None

    async def run_interruptibly(self, audio: AsyncIterator[bytes], request: SessionRequest) -> None:
        """Send and receive until the server closes the connection; Ctrl-C ends the audio."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._on_interrupt)
        try:
            await self.run(audio, request)
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    async def run(self, audio: AsyncIterator[bytes], request: SessionRequest) -> None:
        """Send and receive until the server closes the connection."""
        sender = asyncio.create_task(self._send(audio, request))
        try:
            await self._receive(sender)
        finally:
            sender.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await sender

    def _on_interrupt(self) -> None:
        """End the audio at the first Ctrl-C, and leave the next one to Python."""
        self._interrupted.set()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    async def _send(self, audio: AsyncIterator[bytes], request: SessionRequest) -> None:
        start: dict[str, Any] = {"type": "start_session", "sample_rate": request.sample_rate}
        if self._target.session:
            start["session_id"] = self._target.session.rpartition("/")[2]
        if request.language:
            start["language"] = request.language
        if request.languages:
            start["languages"] = list(request.languages)
        if not request.interim_results:
            start["interim_results"] = False
        await self._socket.send(json.dumps(start))
        try:
            await asyncio.wait_for(self._started.wait(), START_SECONDS)
        except TimeoutError as error:
            raise CommandError(
                f"{self._target.server} did not start the session within {START_SECONDS:.0f} s: see its log",
                EXIT_TEMPORARY,
            ) from error
        interrupted = asyncio.create_task(self._interrupted.wait())
        try:
            while not interrupted.done():
                chunk = asyncio.ensure_future(anext(audio, None))
                await asyncio.wait((chunk, interrupted), return_when=asyncio.FIRST_COMPLETED)
                if not chunk.done():
                    chunk.cancel()
                    break
                if (pcm := chunk.result()) is None:
                    break
                await self._socket.send(pcm)
        finally:
            interrupted.cancel()
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
                self._handle_message(await message)
        except ConnectionClosed as closed:
            self._raise_for_end(closed)

    def _handle_message(self, message: str | bytes) -> None:
        try:
            event = json.loads(message)
            type_ = event.get("type") or event.get("event")
        except (ValueError, AttributeError) as error:
            raise CommandError(
                f"{self._target.server} does not speak Steno's protocol: check the URL", EXIT_INPUT
            ) from error
        if type_ == "session_started":
            self._started.set()
        elif type_ == "session_ended":
            self._session_ended = event
        elif type_ == "error" and event.get("fatal"):
            self._fatal_error = event
        self._on_event(event)

    def _raise_for_end(self, closed: ConnectionClosed) -> None:
        """Raise the error of an ended connection, unless the session ended normally."""
        end = session_errors.ConnectionEnd(
            code=closed.rcvd.code if closed.rcvd else session_errors.ABNORMAL_CLOSURE,
            text=closed.rcvd.reason if closed.rcvd else "",
            started=self._started.is_set(),
            sent_all=self._sent_all,
            session_ended=self._session_ended,
            fatal_error=self._fatal_error,
        )
        if (error := session_errors.error_for_end(end, self._target)) is not None:
            raise error
