"""Queue in memory, for one process: the same leases, dead letters and priorities, lost when the process ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from steno_queue.errors import MessageMalformedError
from steno_queue.interface import DeadLetter, Delivery, Depth
from steno_queue.message import CLASSES, Message, admit
from steno_queue.settings import QueueSettings


@dataclass(eq=False)
class _Entry:
    id: str
    body: str
    rank: tuple[int, int]
    published: float
    visible: float
    """When it can be received (again)."""
    receives: int = 0
    lease: object | None = None


@dataclass
class _State:
    """What every consumer of a queue shares."""

    entries: dict[str, _Entry] = field(default_factory=dict[str, _Entry])
    done: dict[str, float] = field(default_factory=dict[str, float])
    """Ids of messages that are done, and until when they are remembered."""
    dead: list[tuple[_Entry, str, int]] = field(default_factory=list[tuple[_Entry, str, int]])
    order: count[int] = field(default_factory=count)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryQueue:
    """See `Queue`. Everything runs in one event loop."""

    deduplicates = True

    def __init__(self, settings: QueueSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Make an empty queue.

        Args:
            settings: of which the URL and credentials are not used.
            clock: seconds, which never go back.
        """
        self._settings = settings
        self.now = clock
        self._state = _State()

    @property
    def visibility_seconds(self) -> float:
        """How long a lease lasts."""
        return self._settings.visibility_seconds

    async def publish(self, message: Message) -> bool:
        """See `Queue`."""
        body, now, state = message.encode(self._settings.max_message_bytes), self.now(), self._state
        state.done = {each: until for each, until in state.done.items() if until > now}
        if message.id in state.done or message.id in state.entries:
            return False
        rank = (CLASSES.index(message.priority_class), next(state.order))
        state.entries[message.id] = _Entry(message.id, body, rank, now, visible=now)
        self.wake()
        return True

    async def receive(self, limit: int = 1, wait: float = 0.0) -> list[Delivery]:
        """See `Queue`."""
        deadline = self.now() + wait
        while True:
            self._state.changed.clear()
            found = self._lease(limit)
            left = deadline - self.now()
            if found or left <= 0:
                return found
            ends = [entry.visible - self.now() for entry in self._state.entries.values()]
            try:
                await asyncio.wait_for(self._state.changed.wait(), max(0.001, min([left, *ends])))
            except TimeoutError:
                continue

    async def depth(self) -> Depth:
        """See `Queue`."""
        now = self.now()
        waiting = [entry for entry in self._state.entries.values() if entry.visible <= now]
        oldest = max((now - entry.published for entry in waiting), default=0.0)
        return Depth(len(waiting), len(self._state.entries) - len(waiting), oldest)

    async def dead_letters(self, limit: int = 10) -> list[DeadLetter]:
        """See `Queue`."""

        async def forget(letter: tuple[_Entry, str, int]) -> None:
            if letter in self._state.dead:
                self._state.dead.remove(letter)

        return [
            DeadLetter(letter[0].body, letter[1], letter[2], partial(forget, letter))
            for letter in self._state.dead[:limit]
        ]

    async def aclose(self) -> None:
        """See `Queue`."""

    def wake(self) -> None:
        """Have those look again who wait for messages."""
        self._state.changed.set()

    def holds(self, entry: _Entry, lease: object) -> bool:
        """Return whether a message is there, and leased by `lease`."""
        return self._state.entries.get(entry.id) is entry and entry.lease is lease

    def finish(self, entry: _Entry, reason: str | None = None, receives: int = 0) -> None:
        """Remove a message; with a reason, and how often it was delivered, put it to the dead letters."""
        if self._state.entries.get(entry.id) is not entry:
            return
        del self._state.entries[entry.id]
        self._state.done[entry.id] = self.now() + self._settings.deduplication_seconds
        if reason is not None:
            self._state.dead.append((entry, reason, receives))

    def put_raw(self, body: str) -> None:
        """Put something into the queue as it is, as a strange publisher might."""
        number = next(self._state.order)
        self._state.entries[f"raw {number}"] = _Entry(f"raw {number}", body, (1, number), self.now(), self.now())
        self.wake()

    def _lease(self, limit: int) -> list[Delivery]:
        now = self.now()
        ready = (entry for entry in self._state.entries.values() if entry.visible <= now)
        found: list[Delivery] = []
        # Within a class those come first that were delivered before.
        for entry in sorted(ready, key=lambda entry: (entry.rank[0], entry.receives == 0, entry.rank[1])):
            if len(found) == limit:
                break
            entry.receives += 1
            try:
                message = admit(entry.body, entry.receives, self._settings.max_receives)
            except MessageMalformedError as error:
                self.finish(entry, str(error), entry.receives)
                continue
            entry.visible, entry.lease = now + self.visibility_seconds, object()
            found.append(MemoryDelivery(message, entry.receives, self, entry, entry.lease))
        return found


@dataclass(frozen=True)
class MemoryDelivery:
    """See `Delivery`."""

    message: Message
    receives: int
    queue: MemoryQueue
    entry: _Entry
    lease: object

    async def extend(self) -> bool:
        """See `Delivery`."""
        return self._set(self.queue.visibility_seconds)

    async def ack(self) -> None:
        """See `Delivery`."""
        self.queue.finish(self.entry)

    async def release(self, delay: float = 0.0) -> None:
        """See `Delivery`."""
        if self._set(min(delay, self.queue.visibility_seconds)):
            self.queue.wake()

    async def reject(self, reason: str) -> None:
        """See `Delivery`."""
        self.queue.finish(self.entry, reason, self.receives)

    def _set(self, seconds: float) -> bool:
        held = self.queue.holds(self.entry, self.lease)
        if held:
            self.entry.visible = self.queue.now() + seconds
        return held
