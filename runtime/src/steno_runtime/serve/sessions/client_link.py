"""Client link: the connection that a live session has at present, and how another one takes its place without loss.

Of a client that asked for it, the session counts the messages it has taken and keeps the finals it has sent. So whoever
connects again, when its connection or the gateway between was lost, learns where to go on and is sent what it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from steno_runtime.serve.sessions.audio_input import AudioInput
from steno_runtime.stream.events import Event, Final

RESUME_SECONDS = 30.0
"""For which a session waits for a client that has lost its connection."""
MAX_FINALS = 2_000
"""That are kept for such a client: more than an hour of them."""

EventSink = Callable[[Event], Awaitable[None]]
"""Sends an event to the client; raises when the client has gone."""
Greet = Callable[[int], Awaitable[None]]
"""Says that the session is open, and how many messages it has taken."""


@dataclass(eq=False)
class Place:
    """A connection at its session.

    Attributes:
        left: set when it is not the session's connection any more.
        is_replaced: whether that is because another one is.
    """

    sink: EventSink
    left: asyncio.Event = field(default_factory=asyncio.Event)
    is_replaced: bool = False

    def leave(self, *, replaced: bool) -> None:
        """Be the session's connection no more."""
        if not self.left.is_set():
            self.is_replaced = replaced
            self.left.set()


class ClientLink:
    """Which connection a session has.

    Attributes:
        audio: converts what the client sends, over all its connections.
        is_resumable: whether the session waits for a client that has lost its connection.
        intake: held while a message is handled: what takes the connection's place counts whole messages.
        taken: messages with audio, or that end an utterance, that were handled.
    """

    def __init__(self, audio: AudioInput, *, is_resumable: bool) -> None:
        self.audio = audio
        self.is_resumable = is_resumable
        self.intake = asyncio.Lock()
        self.taken = 0
        self._finals: deque[Final] = deque(maxlen=MAX_FINALS)
        self._sending = asyncio.Lock()
        self._place: Place | None = None
        self._arrived = asyncio.Event()

    async def attach(self, sink: EventSink, greet: Greet, after: int) -> Place:
        """Make a connection the session's, and send what its client has missed.

        Args:
            sink: sends an event to the client.
            greet: is awaited first.
            after: `seq` of the last event that the client has.
        """
        if self._place is not None:
            self._place.leave(replaced=True)
        place = Place(sink)
        async with self.intake, self._sending:
            if self._place is not None:  # yet another one was faster
                self._place.leave(replaced=True)
            self._place = place
            self._arrived.set()
            # A client that has left already is noticed by the next receive.
            with contextlib.suppress(Exception):
                await greet(self.taken)
                for final in self._finals:
                    if final.seq > after:
                        await sink(final)
        return place

    async def deliver(self, event: Event, seconds: float) -> None:
        """Send an event, if there is a client.

        Args:
            event: which; of a client that may come back, a final is kept.
            seconds: within which the client has to take it.

        Raises:
            Exception: whatever it is, the client cannot be reached.
        """
        async with self._sending:
            if self.is_resumable and isinstance(event, Final):
                self._finals.append(event)
            place = self._place
            if place is None or place.left.is_set():
                return
            try:
                async with asyncio.timeout(seconds):
                    await (_unless(place.left, place.sink(event)) if self.is_resumable else place.sink(event))
            except Exception:
                place.leave(replaced=False)
                raise

    async def comes_back(self, place: Place) -> bool:
        """Return whether another connection takes the place of a lost one in time.

        Args:
            place: of the lost one.
        """
        if not self.is_resumable:
            return False
        place.leave(replaced=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if place.is_replaced else RESUME_SECONDS):
                while self._place is place:
                    self._arrived.clear()
                    await self._arrived.wait()
        return self._place is not place


async def _unless(event: asyncio.Event, sending: Awaitable[None]) -> None:
    """Send something, unless an event comes first: a connection that is lost may take long to show it."""
    work, other = asyncio.ensure_future(sending), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((work, other), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        for task in (work, other):
            task.cancel()
