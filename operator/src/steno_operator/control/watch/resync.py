"""Trusting a watch, but checking: what is listed now and again against what the watches of custom resources told.

kopf's watches have been known to go silent, and kopf tells nobody about objects that vanished while it was not looking.
Each round lists metadata only. A difference that still stands in the next round is repaired from the API server; when
every round has to repair something, the watch is dead and the liveness probe says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from steno_operator.control.kube.client import METADATA_ONLY, ApiError, Cluster, ResourceType, UnreachableError
from steno_operator.control.kube.keys import is_newer
from steno_operator.telemetry import metrics

log = logging.getLogger(__name__)

_NOT_FOUND = 404
_DEAF_AFTER = 3
"""Rounds in a row with something to repair after which the watch counts as dead."""

Identity = tuple[str | None, str]
"""Namespace and name."""


@dataclass(frozen=True)
class Audited:
    """A kind of custom resource to check."""

    kind: str
    resource: ResourceType
    namespaces: tuple[str | None, ...]
    """Where to list; `(None,)` for everywhere."""
    known: Callable[[], Iterable[dict[str, Any]]]
    """What the store has."""
    put: Callable[[dict[str, Any]], None]
    drop: Callable[[dict[str, Any]], None]


@dataclass
class _Suspicion:
    versions: dict[Identity, str] = field(default_factory=dict[Identity, str])
    rounds: int = 0


class Auditor:
    """Runs the rounds."""

    def __init__(
        self, cluster: Cluster, audited: Iterable[Audited], resync: Callable[[], None], interval: float = 60.0
    ) -> None:
        self._cluster = cluster
        self._audited = tuple(audited)
        self._resync = resync
        self._interval = interval
        self._suspicions = {target.kind: _Suspicion() for target in self._audited}

    @property
    def deaf(self) -> list[str]:
        """Kinds whose watch seems dead."""
        return [kind for kind, suspicion in self._suspicions.items() if suspicion.rounds >= _DEAF_AFTER]

    async def fill(self) -> None:
        """Puts everything that exists into the store: before the first plan, so that none is made on half a view."""
        for target in self._audited:
            for namespace in target.namespaces:
                async for page in self._cluster.pages(target.resource.path(namespace)):
                    for item in page["items"]:  # items of a list of custom resources have their own kind
                        target.put(item)

    async def run(self) -> None:
        """Rounds for ever; every tenth also queues every unfinished resource again."""
        rounds = 0
        while True:
            await asyncio.sleep(self._interval * (0.9 + 0.2 * random.random()))  # noqa: S311 - spreads load
            rounds += 1
            try:
                for target in self._audited:
                    await self.round(target)
            except (ApiError, UnreachableError) as error:
                log.warning("audit: %s", error)
            if rounds % 10 == 0:
                self._resync()

    async def round(self, target: Audited) -> None:
        """Compares once, and repairs what already differed the last time."""
        known = {_identity(raw): raw for raw in target.known()}
        listed: dict[Identity, str] = {}
        for namespace in target.namespaces:
            async for page in self._cluster.pages(target.resource.path(namespace), accept=METADATA_ONLY):
                listed |= {_identity(item): item["metadata"]["resourceVersion"] for item in page["items"]}
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
            metrics.AUDIT_MISSED.labels(target.kind).inc(len(repaired))
            log.warning("audit: no watch told of %d changes of %s", len(repaired), target.kind)

    async def _repair(self, target: Audited, identity: Identity) -> bool:
        """Brings the store to the truth about one object; returns whether it was wrong."""
        namespace, name = identity
        known = next((raw for raw in target.known() if _identity(raw) == identity), None)
        try:
            raw = await self._cluster.get(target.resource, namespace, name)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise
            if known is not None:
                target.drop(known)
            return known is not None
        target.put(raw)
        version = raw["metadata"]["resourceVersion"]
        return known is None or is_newer(version, known["metadata"]["resourceVersion"])


def _identity(raw: dict[str, Any]) -> Identity:
    return raw["metadata"].get("namespace"), raw["metadata"]["name"]
