"""Resync check: a periodic list of custom resources, compared with what the watches of them brought.

kopf's watches have been known to go silent, and kopf says nothing about objects that vanished while it was not
watching. Each round lists metadata only. A difference that is still there in the next round is repaired from the API
server; when every round has to repair something, the watch is stale and the liveness probe says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from steno_kube.client import (
    FORBIDDEN,
    METADATA_ONLY,
    NOT_FOUND,
    ApiError,
    Cluster,
    ResourceType,
    UnreachableError,
)
from steno_kube.keys import is_newer
from steno_kube.metrics import WATCH_FORBIDDEN
from steno_kube.reflector import Sink
from steno_operator.telemetry import metrics

log = logging.getLogger(__name__)

_STALE_AFTER = 3
"""Rounds in a row with something to repair after which the watch counts as stale."""
_EMPTY_AFTER = 2
"""Rounds in a row in which a namespace may not be read, after which it counts as empty."""
_ROUNDS_PER_RESYNC = 10

Identity = tuple[str | None, str]
"""Namespace and name."""


@dataclass(frozen=True)
class WatchedKind:
    """A kind of custom resource."""

    kind: str
    resource: ResourceType
    namespaces: tuple[str | None, ...]
    """Where to list; `(None,)` for everywhere."""
    sink: Sink
    known: Callable[[], Iterable[dict[str, Any]]]
    """What the sink has of the kind, raw."""


@dataclass
class _Suspicion:
    versions: dict[Identity, str] = field(default_factory=dict[Identity, str])
    rounds: int = 0


class ResyncCheck:
    """Runs the rounds."""

    def __init__(
        self, cluster: Cluster, kinds: Iterable[WatchedKind], resync: Callable[[], None], interval: float = 60.0
    ) -> None:
        """Compare nothing yet.

        Args:
            cluster: where to list.
            kinds: what to list.
            resync: enqueues every resource that has not ended; called every tenth round.
            interval: about how many seconds there are between rounds.
        """
        self._cluster = cluster
        self._kinds = tuple(kinds)
        self._resync = resync
        self._interval = interval
        self._forbidden: Counter[tuple[str, str]] = Counter()
        """Rounds in a row in which a kind could not be listed in a namespace."""
        self._suspicions = {target.kind: _Suspicion() for target in self._kinds}

    @property
    def stale_watches(self) -> list[str]:
        """Kinds whose watch seems to bring nothing any more."""
        return [kind for kind, suspicion in self._suspicions.items() if suspicion.rounds >= _STALE_AFTER]

    async def run(self) -> None:
        """Make rounds until cancelled."""
        rounds = 0
        while True:
            await asyncio.sleep(self._interval * (0.9 + 0.2 * random.random()))  # noqa: S311 - spreads load
            rounds += 1
            for target in self._kinds:
                try:
                    await self.check(target)
                except (ApiError, UnreachableError) as error:
                    log.warning("resync check of %s: %s", target.kind, error)
            if rounds % _ROUNDS_PER_RESYNC == 0:
                self._resync()

    async def check(self, target: WatchedKind) -> None:
        """Compare once, and repair what already differed the last time."""
        known = {_identity(raw): raw for raw in target.known()}
        listed: dict[Identity, str] = {}
        for namespace in target.namespaces:
            found = await self._versions(target, namespace)
            if found is None:  # neither confirmed nor missing
                known = {identity: raw for identity, raw in known.items() if identity[0] != namespace}
            else:
                listed |= found
        differing = {
            identity: version
            for identity, version in listed.items()
            if identity not in known or is_newer(version, known[identity]["metadata"]["resourceVersion"])
        }
        differing |= {identity: "" for identity in known if identity not in listed}
        suspicion = self._suspicions[target.kind]
        confirmed = [identity for identity in differing if identity in suspicion.versions]
        repaired = [identity for identity in confirmed if await self._repair(target, identity)]
        suspicion.versions = differing
        suspicion.rounds = suspicion.rounds + 1 if repaired else 0
        if repaired:
            metrics.RESYNC_MISSED.labels(target.kind).inc(len(repaired))
            log.warning("resync check: the watch of %s missed %d changes", target.kind, len(repaired))

    async def _versions(self, target: WatchedKind, namespace: str | None) -> dict[Identity, str] | None:
        """Return the `resourceVersion` of every object; None of a namespace that may not be read.

        After some rounds such a namespace counts as empty.
        """
        listed: dict[Identity, str] = {}
        where = (target.kind, namespace or "")
        try:
            async for page in self._cluster.pages(target.resource.path(namespace), accept=METADATA_ONLY):
                listed |= {_identity(item): item["metadata"]["resourceVersion"] for item in page["items"]}
        except ApiError as error:
            if namespace is None or error.status != FORBIDDEN:
                raise
            WATCH_FORBIDDEN.labels(*where).set(1)
            self._forbidden[where] += 1
            log.warning('namespace "%s" may not be read: %s', namespace, error)
            if self._forbidden[where] >= _EMPTY_AFTER:
                gone = {raw["metadata"]["uid"] for raw in target.known() if _identity(raw)[0] == namespace}
                target.sink.forget(namespace, gone)
            return None
        if namespace is not None:
            WATCH_FORBIDDEN.labels(*where).set(0)
            self._forbidden.pop(where, None)
        return listed

    async def _repair(self, target: WatchedKind, identity: Identity) -> bool:
        """Bring the sink up to date about one object; return whether it was not."""
        namespace, name = identity
        known = next((raw for raw in target.known() if _identity(raw) == identity), None)
        try:
            raw = await self._cluster.get(target.resource, namespace, name)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            if known is not None:
                target.sink.delete(known["metadata"]["uid"])
            return known is not None
        target.sink.upsert(raw)
        version = raw["metadata"]["resourceVersion"]
        return known is None or is_newer(version, known["metadata"]["resourceVersion"])


def _identity(raw: dict[str, Any]) -> Identity:
    return raw["metadata"].get("namespace"), raw["metadata"]["name"]
