"""Events on their way to one reader: bounded, in order, the newest partial instead of the ones before."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace

from steno_runtime.stream.events import Event, Final, Lag, Partial


class Outbox:
    """A queue of events. A writer waits while it is full; partials and lag never do: they replace what is unread."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._unread: deque[Event] = deque()
        self._changed = asyncio.Condition()
        self._closed = False
        self._failure: Exception | None = None
        self._seq = 0

    async def put(self, event: Event) -> None:
        """Appends an event as soon as there is room; after `close` it is dropped."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._unread) < self._most or self._closed)
            if not self._closed:
                self._unread.append(event)
                self._changed.notify_all()

    async def put_latest(self, event: Partial | Lag) -> None:
        """Appends an event in place of an unread one that it outdates. Never waits for the reader."""
        async with self._changed:
            if self._closed:
                return
            for index, old in enumerate(self._unread):
                outdated = isinstance(old, type(event)) and (
                    not isinstance(old, Partial) or not isinstance(event, Partial) or old.utterance == event.utterance
                )
                if outdated:
                    del self._unread[index]
                    break
            self._unread.append(event)
            self._changed.notify_all()

    async def close(self, failure: Exception | None = None) -> None:
        """Ends the events behind those unread; a failure is raised there."""
        async with self._changed:
            self._close(failure)
            self._changed.notify_all()

    def discard(self) -> asyncio.Task[None]:
        """Ends the events at once; the unread ones are dropped."""
        self._unread.clear()
        self._close(None)
        return asyncio.ensure_future(self._wake())

    async def read(self) -> AsyncIterator[Event]:
        """Yields events until they end; partials and finals are numbered as they are read."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._unread) or self._closed)
                if not self._unread:
                    if self._failure is not None:
                        raise self._failure
                    return
                event = self._unread.popleft()
                self._changed.notify_all()
            if isinstance(event, Partial | Final):
                self._seq += 1
                event = replace(event, seq=self._seq)
            yield event

    def _close(self, failure: Exception | None) -> None:
        if not self._closed:
            self._closed, self._failure = True, failure

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()
