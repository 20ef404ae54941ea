"""Limits on unauthenticated clients, as OpenSSH's MaxStartups, PerSourceMaxStartups and LoginGraceTime.

Unlike there, the newest client is never refused: where there is no room, the oldest of the address that has the most is
dropped. A client that sends its token at once is let in however many others wait, from the same address as well: behind
a proxy, all have that of the proxy.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from steno_api.v1alpha1.runtimepool import UnauthenticatedLimits

HEAD_SECONDS = 5.0
"""Within which the head of a request has to be complete."""
ANSWER_SECONDS = 15.0
"""For a request without a valid token, until its answer has been read; longer than WebSockets have to authenticate."""
MAX_UNAUTHENTICATED_BYTES = 256 * 1024 + 32 * 1024
"""Received from a WebSocket before its token: what is read from a socket at once, and the first message."""
BURST_SECONDS = 10
"""Of an address that was quiet, requests for so long may come at once."""
GRACE_SECONDS, GRACE_TURNS = 0.05, 5
"""Before others are dropped for one who comes: time, and turns of the event loop, which may have stood still while many
came. In these, what came with a connection is read, and its token checked."""
MAX_ADDRESSES = 4096
"""Whose rates are remembered; the one that was quiet for longest is forgotten first."""


@dataclass(eq=False)
class Slot:
    """A place of one client.

    Attributes:
        address: of the client.
        drop: ends what it does.
    """

    address: str
    drop: Callable[[], None]


class Slots:
    """Places of clients that are not authenticated, with longest-queue drop: see the module."""

    def __init__(self, total: int, per_address: int) -> None:
        """Have room for `total` clients, and for `per_address` of one address."""
        self._max_total, self._max_per_address = total, per_address
        self._by_address: dict[str, OrderedDict[Slot, None]] = {}
        self._total = 0
        self._trimming = False
        self.dropped = 0
        """Clients that were dropped so far."""

    def __len__(self) -> int:
        return self._total

    def take(self, address: str, drop: Callable[[], None]) -> Slot:
        """Take a place; if there are too many, others are dropped a moment later.

        Args:
            address: of the client.
            drop: ends what the client does; it need not call `release`.
        """
        slot = Slot(address, drop)
        self._by_address.setdefault(address, OrderedDict())[slot] = None
        self._total += 1
        too_many = self._total > self._max_total or len(self._by_address[address]) > self._max_per_address
        if too_many and not self._trimming:
            self._trimming = True
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._trim, GRACE_TURNS)
        return slot

    def release(self, slot: Slot) -> None:
        """Give a place back, unless it was lost already."""
        slots = self._by_address.get(slot.address)
        if slots is None or slot not in slots:
            return
        del slots[slot]
        self._total -= 1
        if not slots:
            del self._by_address[slot.address]

    def _trim(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._trim, turns - 1)
            return
        self._trimming = False
        for address in [each for each, slots in self._by_address.items() if len(slots) > self._max_per_address]:
            while len(self._by_address.get(address, ())) > self._max_per_address:
                self._drop_oldest(address)
        while self._total > self._max_total:
            self._drop_oldest(max(self._by_address, key=lambda each: len(self._by_address[each])))

    def _drop_oldest(self, address: str) -> None:
        oldest = next(iter(self._by_address[address]))
        self.release(oldest)
        self.dropped += 1
        oldest.drop()


class RateLimit:
    """A token bucket for each address."""

    def __init__(self, per_second: float) -> None:
        """Allow `per_second` requests of an address in the long run, and those of `BURST_SECONDS` at once."""
        self._per_second, self._burst = per_second, per_second * BURST_SECONDS
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What is left, as of when; the address that was heard of last is last."""

    def spend(self, address: str) -> bool:
        """Count a request; return False if it is one too many."""
        now = time.monotonic()
        left, since = self._buckets.pop(address, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        allowed = left >= 1
        self._buckets[address] = (left - 1 if allowed else left, now)
        while len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed


@dataclass
class UnauthenticatedClients:
    """What clients without a valid token may use of one server, over every protocol.

    Attributes:
        limits: the pool's.
        connections: places of HTTP and WebSocket connections.
        rate: of requests and calls.
    """

    limits: UnauthenticatedLimits
    connections: Slots = field(init=False)
    rate: RateLimit = field(init=False)

    def __post_init__(self) -> None:
        self.connections = Slots(self.limits.connections, self.limits.connections_per_address)
        self.rate = RateLimit(self.limits.requests_per_second)


class Connection:
    """One HTTP connection or WebSocket, which has a place and a deadline unless a client with a token uses it."""

    def __init__(self, clients: UnauthenticatedClients) -> None:
        """Have neither yet; see `open`."""
        self._clients = clients
        self._slot: Slot | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._awaiting_head = False
        self._received = 0
        self.address = ""
        self.drop: Callable[[], None] = lambda: None
        """Ends the connection at once."""
        self.authenticated = False

    def open(self, address: str, drop: Callable[[], None]) -> None:
        """Take a place for a connection that was made.

        Args:
            address: of the client.
            drop: ends the connection at once.
        """
        self.address, self.drop = address, drop
        self._take_place()
        self.await_head()

    def await_head(self) -> None:
        """Part of a request's head is to come, or has come; the time for the rest runs."""
        if not self._awaiting_head:
            self._awaiting_head = True
            self._set_deadline(HEAD_SECONDS)

    def begin_request(self) -> None:
        """The head of a request is complete."""
        self._awaiting_head = False
        self._set_deadline(ANSWER_SECONDS)

    def authenticate(self) -> None:
        """The client of the request has sent a valid token: nobody takes its place from now on."""
        self.authenticated = True
        self._set_deadline(None)
        self._release()

    def end_request(self) -> None:
        """The answer is complete; the next request may be that of another client."""
        self.authenticated = False
        self._set_deadline(None)
        self._release()
        self._take_place()  # as the newest

    def receive(self, size: int) -> bool:
        """Count bytes of a WebSocket; return False if they are too many for a client without a token."""
        self._received += size
        return self.authenticated or self._received <= MAX_UNAUTHENTICATED_BYTES

    def close(self) -> None:
        """The connection is closed."""
        self._set_deadline(None)
        self._release()

    def _drop(self) -> None:
        self.drop()  # which another protocol may have replaced

    def _take_place(self) -> None:
        self._slot = self._clients.connections.take(self.address, self._drop)

    def _release(self) -> None:
        if self._slot is not None:
            self._clients.connections.release(self._slot)
            self._slot = None

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._drop)


def is_loopback(host: str) -> bool:
    """Return whether a host, by name or address, is this machine for itself alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
