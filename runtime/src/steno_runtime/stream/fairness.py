"""Fair queueing by virtual time: tenants share the engine equally, and so do the sessions of one tenant. Pure.

The tenant and session that have received the least work are next; no credit is saved up while idle.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar


class Owned(Protocol):
    """Work of a session of a tenant, with its cost in any one unit."""

    @property
    def tenant(self) -> str: ...  # noqa: D102

    @property
    def session(self) -> str: ...  # noqa: D102

    @property
    def cost(self) -> int: ...  # noqa: D102


Work = TypeVar("Work", bound=Owned)


class FairQueue:
    """Virtual times of tenants and sessions: the work that each has received."""

    def __init__(self) -> None:
        self._tenants: dict[str, float] = {}
        self._sessions: dict[tuple[str, str], float] = {}
        self._now = 0.0
        self._session_now: dict[str, float] = {}

    def join(self, tenant: str, session: str) -> None:
        """Let a session that had nothing waiting queue work: not ahead of those that waited meanwhile."""
        self._tenants[tenant] = max(self._tenants.get(tenant, 0.0), self._now)
        key = (tenant, session)
        self._sessions[key] = max(self._sessions.get(key, 0.0), self._session_now.get(tenant, 0.0))

    def account(self, work: Owned) -> None:
        """Account work to its session and tenant."""
        key = (work.tenant, work.session)
        self._now = max(self._now, self._tenants.get(work.tenant, 0.0))
        self._session_now[work.tenant] = max(self._session_now.get(work.tenant, 0.0), self._sessions.get(key, 0.0))
        self._tenants[work.tenant] = self._tenants.get(work.tenant, self._now) + work.cost
        self._sessions[key] = self._sessions.get(key, 0.0) + work.cost

    def remove(self, tenant: str, session: str) -> None:
        """Forget a session that is over."""
        self._sessions.pop((tenant, session), None)
        if not any(owner == tenant for owner, _ in self._sessions):
            self._tenants.pop(tenant, None)
            self._session_now.pop(tenant, None)

    def order(self, waiting: Iterable[Work]) -> Iterator[Work]:
        """Yield work in the order in which it is due, as if each item were accounted when it is yielded.

        Args:
            waiting: work; that of each session in its own order.
        """
        queues: dict[str, dict[str, deque[Work]]] = {}
        for work in waiting:
            queues.setdefault(work.tenant, {}).setdefault(work.session, deque()).append(work)
        tenants = [(self._tenants.get(tenant, 0.0), tenant) for tenant in queues]
        sessions = {
            tenant: [(self._sessions.get((tenant, session), 0.0), session) for session in by_session]
            for tenant, by_session in queues.items()
        }
        heapq.heapify(tenants)
        for heap in sessions.values():
            heapq.heapify(heap)
        while tenants:
            tenant_time, tenant = heapq.heappop(tenants)
            heap = sessions[tenant]
            session_time, session = heapq.heappop(heap)
            queue = queues[tenant][session]
            work = queue.popleft()
            yield work
            if queue:
                heapq.heappush(heap, (session_time + work.cost, session))
            if heap:
                heapq.heappush(tenants, (tenant_time + work.cost, tenant))
