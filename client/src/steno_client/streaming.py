"""One session over a WebSocket: audio goes out, events come in, and every way it can end has its one line."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from steno_client.errors import (
    EXIT_DENIED,
    EXIT_FAILED,
    EXIT_INPUT,
    EXIT_INTERNAL,
    EXIT_TEMPORARY,
    CommandError,
)
from steno_client.session import Target
from steno_client.show import plain

Event = Mapping[str, Any]
START_SECONDS = 30.0
"""How long the server may take to accept a session."""
_CONNECT_SECONDS = 10.0
_PING_SECONDS = 120.0
"""A server that holds audio back (it lags) answers pings only when it reads on; one that is gone never does."""

_AGAIN = "create another StreamSession"
_TOKEN = "read the token anew from the session's Secret (`--session NAME` does), or set STENO_TOKEN"  # noqa: S105

CLOSE_CODES: dict[int, tuple[str, str, int]] = {
    1007: ("the server could not read what was sent", "update steno-client", EXIT_INTERNAL),
    1009: ("a message was too large for the server", "update steno-client", EXIT_INTERNAL),
    1011: ("the server failed", "see its log, and try again", EXIT_TEMPORARY),
    1012: ("the server is stopping", "stream the rest to the session again, another server takes it", EXIT_TEMPORARY),
    1013: ("the server is full", "try again later, or raise the RuntimePool's maxReplicas", EXIT_TEMPORARY),
    4001: ("the token is missing, wrong or expired", _TOKEN, EXIT_DENIED),
    4003: ("the token is of another tenant or session", "use the token of this very session", EXIT_DENIED),
    4008: (
        "the session's time is over",
        f"{_AGAIN} with a longer maxDurationSeconds or idleTimeoutSeconds",
        EXIT_FAILED,
    ),
    4009: ("somebody is connected to this session, or it ended", _AGAIN, EXIT_FAILED),
    4029: ("the audio came too fast", "use a --speed nearer to 1", EXIT_FAILED),
}
"""How a server closes a connection: what it means, what to do, and the exit code."""

_STATUSES = {401: 4001, 403: 4003, 409: 4009, 429: 1013, 503: 1013}
"""A refusal before the connection stands, as the close code that says the same."""


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
        CommandError: the session was refused, or ended before the audio did.
    """
    socket = await _connected(target)
    async with socket:
        await _Exchange(socket, target, on_event).run(audio, options)


async def _connected(target: Target) -> ClientConnection:
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    try:
        return await connect(
            target.url,
            additional_headers=headers,
            compression=None,
            max_size=4 * 1024 * 1024,
            open_timeout=_CONNECT_SECONDS,
            ping_timeout=_PING_SECONDS,
        )
    except InvalidStatus as error:
        raise refused(error.response.status_code, bytes(error.response.body or b""), target) from error
    except InvalidURI as error:
        raise CommandError(f"{target.server} is no URL to connect to", EXIT_INPUT) from error
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise unreachable(target) from error


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
        code = closed.rcvd.code if closed.rcvd else 1006
        said = str((self._fatal or {}).get("message") or (closed.rcvd.reason if closed.rcvd else ""))
        reason = str((self._ended or {}).get("reason") or "")
        if code == 1006:
            raise CommandError(
                f"the connection to {self._target.server} broke: what was final is printed; the session goes on "
                "until its idle timeout, so stream the rest to it",
                EXIT_TEMPORARY,
            )
        if code in CLOSE_CODES:
            raise explained(code, said, reason)
        if self._fatal or code not in (1000, 1001, 1005):
            raise CommandError(
                f"the server ended the session ({code}): {plain(said) or 'no reason given'}", EXIT_FAILED
            )
        if not self._sent_all:
            raise CommandError(
                f"the session ended before the audio did{f' ({plain(reason)})' if reason else ''}: {_AGAIN}",
                EXIT_FAILED,
            )


def explained(code: int, said: str, reason: str = "") -> CommandError:
    """Returns the one line for a close code, with what the server said of it."""
    meaning, remedy, exit_code = CLOSE_CODES[code]
    more = plain("; ".join(part for part in (reason, said) if part))
    return CommandError(f"{meaning}{f' ({more})' if more else ''}: {remedy}", exit_code)


def refused(status: int, body: bytes, target: Target) -> CommandError:
    """Returns the one line for an HTTP answer in place of a WebSocket (problem+json, if it is Steno's)."""
    try:
        problem = json.loads(body)
        said = str(problem.get("detail") or problem.get("title") or "")
    except (ValueError, AttributeError):
        said = ""
    if status in _STATUSES:
        return explained(_STATUSES[status], said)
    if status == 404:
        return CommandError(f"{target.server} has no such path: is it a server of Steno? Check the URL", EXIT_INPUT)
    why = f"HTTP {status}" + (f": {plain(said)}" if said else "")
    return CommandError(f"{target.server} refused the connection ({why}): check the URL, or try again", EXIT_TEMPORARY)


def unreachable(target: Target) -> CommandError:
    """Returns the one line for a server that does not answer; a name of the cluster's inside gets its own."""
    host = target.server.rpartition("//")[2].partition(":")[0].split(".")
    if len(host) >= 3 and host[2] == "svc":
        return CommandError(
            f"{target.server} is an address inside the cluster: run `kubectl -n {host[1]} port-forward svc/{host[0]} "
            "8080` and add --url ws://127.0.0.1:8080, or set the RuntimePool's spec.endpoints",
            EXIT_TEMPORARY,
        )
    return CommandError(f"{target.server} does not answer: check the URL, or forward its port", EXIT_TEMPORARY)
