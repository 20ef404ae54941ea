"""Whose turn it is: tenants share alike, and so do the sessions of one. Pure.

Fair queueing by virtual time: whoever was given the least work is next. Nobody saves up for later by being silent.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar


class Owned(Protocol):
    """Work of a session of a tenant."""

    @property
    def tenant(self) -> str: ...  # noqa: D102

    @property
    def session(self) -> str: ...  # noqa: D102

    @property
    def cost(self) -> int: ...  # noqa: D102


Work = TypeVar("Work", bound=Owned)


class Shares:
    """What tenants and sessions were given so far."""

    def __init__(self) -> None:
        self._tenants: dict[str, float] = {}
        self._sessions: dict[tuple[str, str], float] = {}
        self._now = 0.0
        self._session_now: dict[str, float] = {}

    def join(self, tenant: str, session: str) -> None:
        """Somebody who had nothing waiting wants something: not ahead of those who waited meanwhile."""
        self._tenants[tenant] = max(self._tenants.get(tenant, 0.0), self._now)
        key = (tenant, session)
        self._sessions[key] = max(self._sessions.get(key, 0.0), self._session_now.get(tenant, 0.0))

    def charge(self, work: Owned) -> None:
        """Somebody is given something."""
        key = (work.tenant, work.session)
        self._now = max(self._now, self._tenants.get(work.tenant, 0.0))
        self._session_now[work.tenant] = max(self._session_now.get(work.tenant, 0.0), self._sessions.get(key, 0.0))
        self._tenants[work.tenant] = self._tenants.get(work.tenant, self._now) + work.cost
        self._sessions[key] = self._sessions.get(key, 0.0) + work.cost

    def forget(self, tenant: str, session: str) -> None:
        """A session is over."""
        self._sessions.pop((tenant, session), None)
        if not any(owner == tenant for owner, _ in self._sessions):
            self._tenants.pop(tenant, None)
            self._session_now.pop(tenant, None)

    def order(self, waiting: Iterable[Work]) -> Iterator[Work]:
        """Yields work in the order in which it is due, as if each piece were given when it is yielded.

        Args:
            waiting: work, of each session in its own order.
        """
        queues: dict[str, dict[str, deque[Work]]] = {}
        for work in waiting:
            queues.setdefault(work.tenant, {}).setdefault(work.session, deque()).append(work)
        tenants = [(self._tenants.get(tenant, 0.0), tenant) for tenant in queues]
        sessions = {
            tenant: [(self._sessions.get((tenant, session), 0.0), session) for session in mine]
            for tenant, mine in queues.items()
        }
        heapq.heapify(tenants)
        for heap in sessions.values():
            heapq.heapify(heap)
        while tenants:
            given, tenant = heapq.heappop(tenants)
            heap = sessions[tenant]
            mine, session = heapq.heappop(heap)
            queue = queues[tenant][session]
            work = queue.popleft()
            yield work
            if queue:
                heapq.heappush(heap, (mine + work.cost, session))
            if heap:
                heapq.heappush(tenants, (given + work.cost, tenant))
