"""Leader election: a Lease that is renewed, by client-go's rules.

`kubernetes.aio.leaderelection` lets connection errors end the election, has no time limit around a renewal, compares
wall clocks, and cannot hand the lease over on exit; hence these lines.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from steno_kube.client import CONFLICT, LEASES, NOT_FOUND, ApiError, Cluster, UnreachableError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds. The holder gives up `renew` after its last renewal, before others may take over after `duration`."""

    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0


class Leadership:
    """One candidate."""

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, identity: str, times: LeaseTimes | None = None
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._times = times or LeaseTimes()
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0
        self.alive_at = time.monotonic()
        """When it last tried."""
        self.reachable = False
        """Whether the last try had an answer."""

    async def acquire(self) -> None:
        """Return once this candidate leads."""
        log.info("standing by for lease %s/%s", self._namespace, self._name)
        while not await self._try():  # noqa: ASYNC110 - the lease changes elsewhere
            await asyncio.sleep(self._times.retry * (1 + 0.2 * random.random()))  # noqa: S311 - spreads load
        log.info("leading as %s", self._identity)

    async def hold(self) -> None:
        """Renew the lease, and return when it is lost: the caller must stop at once."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self._times.retry)
            started = time.monotonic()
            left = renewed + self._times.renew - started
            try:
                if left > 0 and await asyncio.wait_for(self._try(), left):
                    renewed = started  # counted from before the request: others count from when it arrived
                    continue
            except TimeoutError:
                pass
            if self._holder not in ("", self._identity) or time.monotonic() - renewed >= self._times.renew:
                log.error("lost the lease to %s", self._holder or "another candidate")
                return

    async def release(self) -> None:
        """Hand the lease over, so that a standby need not wait until it runs out. Best effort."""
        try:
            lease = await self._cluster.get(LEASES, self._namespace, self._name)
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._put(lease)
                log.info("released the lease")
        except (ApiError, UnreachableError) as error:
            log.warning("the lease was not released: %s", error)

    @property
    def _holder(self) -> str:
        return self._seen[0] if self._seen else ""

    async def _put(self, lease: dict[str, Any]) -> dict[str, Any]:
        return await self._cluster.request("PUT", LEASES.path(self._namespace, self._name), body=lease, timeout=5.0)

    async def _try(self) -> bool:
        """Take or renew the lease if it is free, expired or ours."""
        self.alive_at = time.monotonic()
        try:
            taken = await self._take()
        except ApiError as error:
            self.reachable = True
            if error.status != CONFLICT:  # conflict: another candidate was faster
                log.warning("lease: %s", error)
            return False
        except UnreachableError as error:
            self.reachable = False
            log.warning("lease: %s", error)
            return False
        self.reachable = True
        return taken

    async def _take(self) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._times.duration)),
            "acquireTime": now,
            "renewTime": now,
        }
        try:
            lease = await self._cluster.request("GET", LEASES.path(self._namespace, self._name), timeout=5.0)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            body = {"metadata": {"name": self._name}, "spec": {**mine, "leaseTransitions": 0}}
            self._see(await self._cluster.create(LEASES, self._namespace, body, timeout=5.0))
            return True
        self._see(lease)
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder == self._identity:
            mine["acquireTime"] = spec.get("acquireTime") or now
        elif holder:
            expires = self._seen_at + (spec.get("leaseDurationSeconds") or self._times.duration)
            if time.monotonic() < expires:
                return False
        transitions = spec.get("leaseTransitions", 0) + (holder != self._identity)
        self._see(await self._put({**lease, "spec": {**spec, **mine, "leaseTransitions": transitions}}))
        return True

    def _see(self, lease: dict[str, Any]) -> None:
        """Remember when the record last changed by our own clock: clocks of other machines do not matter."""
        spec = lease.get("spec") or {}
        seen = (spec.get("holderIdentity") or "", spec.get("renewTime"), lease["metadata"].get("resourceVersion"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
