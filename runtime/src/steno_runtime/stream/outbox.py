"""Bounded event queue to one reader: in order, and a newer partial replaces an unread older one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace

from steno_runtime.stream.events import Event, Final, Lag, Partial


class Outbox:
    """A queue of events. Writers wait while it is full; partials and lag never do: they replace what is unread.

    Used from one event loop.
    """

    def __init__(self, max_events: int = 64) -> None:
        self._max_events = max_events
        self._unread: deque[Event] = deque()
        self._readable, self._room = asyncio.Event(), asyncio.Event()
        self._closed = False
        self._failure: Exception | None = None
        self._seq = 0

    async def put(self, event: Event) -> None:
        """Append an event as soon as there is room; after `close` it is dropped."""
        while len(self._unread) >= self._max_events and not self._closed:
            self._room.clear()
            await self._room.wait()
        self._append(event)

    def put_latest(self, event: Partial | Lag) -> None:
        """Append an event in place of an unread one that it supersedes."""
        for index, old in enumerate(self._unread):
            superseded = isinstance(old, type(event)) and (
                not isinstance(old, Partial) or not isinstance(event, Partial) or old.utterance == event.utterance
            )
            if superseded:
                del self._unread[index]
                break
        self._append(event)

    def close(self, failure: Exception | None = None) -> None:
        """End the events after the unread ones; a failure is raised there."""
        if not self._closed:
            self._closed, self._failure = True, failure
        self._room.set()
        self._readable.set()

    def discard(self) -> None:
        """End the events at once; the unread ones are dropped."""
        self._unread.clear()
        self._failure = None
        self.close()

    async def read(self) -> AsyncIterator[Event]:
        """Yield events until they end; partials and finals are numbered as they are read."""
        while True:
            while not self._unread:
                if self._failure is not None:
                    raise self._failure
                if self._closed:
                    return
                self._readable.clear()
                await self._readable.wait()
            event = self._unread.popleft()
            self._room.set()
            if isinstance(event, Partial | Final):
                self._seq += 1
                event = replace(event, seq=self._seq)
            yield event

    def _append(self, event: Event) -> None:
        if not self._closed:
            self._unread.append(event)
            self._readable.set()
