"""What no watch says: progress reports, conflicting names, status writes, pending reasons, queues, busy keys."""

from __future__ import annotations

import contextlib
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from steno_api.usage import Work
from steno_api.v1alpha1.job import Progress
from steno_kube.keys import Key
from steno_kube.object_cache import Notifier
from steno_operator.plan.common.admission import Admission, Meter
from steno_operator.plan.common.usage import work_of_progress
from steno_operator.plan.pool.places import PlaceRequest, QueueOrder


class ProgressReports(Notifier[Key]):
    """The latest report of each job's worker; notifies of the job whose progress changed."""

    def __init__(self) -> None:
        super().__init__()
        self._reports: dict[str, tuple[int, Progress]] = {}  # resource UID → attempt, progress
        self._processes: dict[str, str] = {}  # resource UID → worker that reported it

    def update(self, key: Key, uid: str, attempt: int, progress: Progress, *, process: str = "") -> None:
        """Take in a report; a late one of an earlier attempt is dropped.

        Args:
            key: the job.
            uid: its UID.
            attempt: the attempt that reports.
            progress: what it says.
            process: what the worker is called where its work is recorded.
        """
        known = self._reports.get(uid)
        if known is None or attempt > known[0] or (attempt == known[0] and progress != known[1]):
            self._reports[uid] = (attempt, progress)
            self._processes[uid] = process
            self.notify(key)

    def get(self, uid: str, attempt: int) -> Progress | None:
        """Return the latest progress if it is that of this attempt."""
        known = self._reports.get(uid)
        return known[1] if known is not None and known[0] == attempt else None

    def work(self, uid: str) -> dict[str, Work]:
        """Return what the worker that reported last has done so far, by process."""
        known, process = self._reports.get(uid), self._processes.get(uid)
        return {process: work_of_progress(known[1])} if known is not None and process else {}

    def forget(self, uid: str) -> None:
        """Forget a job."""
        self._reports.pop(uid, None)
        self._processes.pop(uid, None)


class ConflictingNames(Notifier[str]):
    """Objects found under a child's name that we do not control; notifies of the UID of the resource in question."""

    def __init__(self) -> None:
        super().__init__()
        self._names: defaultdict[str, set[str]] = defaultdict(set)  # resource UID → names, or kinds, of children

    def add(self, uid: str, child: str) -> None:
        """Remember that the name of a child, given by name or by kind, is taken."""
        if child not in self._names.get(uid, ()):
            self._names[uid].add(child)
            self.notify(uid)

    def remove(self, uid: str, child: str) -> None:
        """Forget a conflict that is over."""
        self._names[uid].discard(child)
        if not self._names[uid]:
            del self._names[uid]

    def get(self, uid: str) -> frozenset[str]:
        """Return the children of a resource whose names are taken."""
        return frozenset(self._names.get(uid, ()))

    def forget(self, uid: str) -> None:
        """Forget a resource."""
        self._names.pop(uid, None)


class StatusWrites:
    """When each status was last written, so that what changes all the time is not written all the time."""

    def __init__(self, interval: float, clock: Callable[[], float]) -> None:
        """Remember nothing.

        Args:
            interval: least time between writes of mere progress, in seconds.
            clock: seconds since any moment.
        """
        self._interval = interval
        self._clock = clock
        self._written: dict[str, float] = {}  # resource UID → time

    def record(self, uid: str) -> None:
        """Remember that the status of the resource was written just now."""
        self._written[uid] = self._clock()

    def is_due(self, uid: str) -> bool:
        """Tell whether the status was not written for the interval."""
        return self._clock() - self._written.get(uid, -self._interval) >= self._interval

    def forget(self, uid: str) -> None:
        """Forget a resource."""
        self._written.pop(uid, None)


class ReachedLimits:
    """Which daily limits Tenants have reached, as it was a moment ago: every server asks, every second or two."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        """Remember nothing.

        Args:
            seconds: how long an answer is given again.
            clock: seconds since any moment.
        """
        self._seconds, self._clock = seconds, clock
        self._answers: dict[str, tuple[float, frozenset[Meter]]] = {}  # Tenant → time, limits

    def get(self, tenant: str, compute: Callable[[], frozenset[Meter]]) -> frozenset[Meter]:
        """Return the limits that a Tenant has reached; `compute` finds them out."""
        now = self._clock()
        known = self._answers.get(tenant)
        if known is None or now - known[0] >= self._seconds:
            known = self._answers[tenant] = (now, compute())
        return known[1]


class PendingReasons(Notifier[str]):
    """Why resources wait, as their Tenants' latest plans say; notifies of the UID of each whose reason changed."""

    def __init__(self) -> None:
        super().__init__()
        self._of_tenant: dict[str, Mapping[str, Admission]] = {}  # Tenant name → resource UID → …

    def publish_reasons(self, tenant: str, pending: Mapping[str, Admission]) -> None:
        """Keep the reasons of a Tenant's plan. A change of the position alone is no news: it shows in time."""
        before = self._of_tenant.get(tenant, {})
        self._of_tenant[tenant] = pending
        for uid, reason in pending.items():
            known = before.get(uid)
            if known is None or replace(known, position=None) != replace(reason, position=None):
                self.notify(uid)

    def of_tenant(self, tenant: str) -> Mapping[str, Admission]:
        """Return the reasons of a Tenant's latest plan, by UID of the resource."""
        return self._of_tenant.get(tenant, {})

    def forget(self, tenant: str) -> None:
        """Forget what the plans of a Tenant said."""
        self._of_tenant.pop(tenant, None)


class PlaceQueues:
    """The queue of each pool, kept in order."""

    def __init__(self) -> None:
        self._orders: defaultdict[Key, list[QueueOrder]] = defaultdict(list)  # pool → …

    def update(self, pool: Key, old: PlaceRequest | None, new: PlaceRequest | None) -> None:
        """Replace a session's request for a place of the pool.

        Args:
            pool: the pool.
            old: the request so far, if there was one.
            new: the request from now on, if there is one.
        """
        if old is not None and old.queued:
            self._orders[pool].remove(old.order)
        if new is not None and new.queued:
            insort(self._orders[pool], new.order)
        if not self._orders[pool]:
            del self._orders[pool]

    def get(self, pool: Key) -> Sequence[QueueOrder]:
        """Return the queue of a pool."""
        return self._orders.get(pool, ())


class BusyKeys:
    """The resources that a worker of the queue is reconciling at this moment."""

    def __init__(self) -> None:
        self._keys: set[Key] = set()

    @contextlib.contextmanager
    def working_on(self, key: Key) -> Iterator[None]:
        """Mark a resource as being worked on."""
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.discard(key)

    def __contains__(self, key: Key) -> bool:
        return key in self._keys
