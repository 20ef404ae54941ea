"""Reflector: a list followed by a watch, paged, resumed where it broke, listed again when it cannot be resumed.

Not kopf's: its watches have been known to go silent, and it holds a memory for each object. These end by themselves
after a while, and after a silence, and record when they last showed life.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from steno_kube import metrics
from steno_kube.backoff import Backoff
from steno_kube.client import FORBIDDEN, GONE, ApiError, Cluster, UnreachableError

log = logging.getLogger(__name__)

_TRIES_BEFORE_RELIST = 5
"""Failures in a row to resume after which even a 'fresh' resourceVersion is not believed any more."""


class Sink(Protocol):
    """Where observed objects go: an `ObjectCache`."""

    def upsert(self, raw: dict[str, Any], /) -> None:
        """Add or update an object that exists."""

    def delete(self, uid: str, /) -> None:
        """Forget an object that was deleted."""

    def replace(self, uids: Collection[str], version: str, /, namespace: str | None = None) -> None:
        """Forget what a full list of the namespace (None: of all) as of `version` did not have."""

    def forget(self, namespace: str, uids: Collection[str] | None = None, /) -> None:
        """Forget objects of a namespace (None: all) that may not be read any more."""


class Source(Protocol):
    """Something that keeps a sink up to date."""

    @property
    def name(self) -> str:
        """What is observed, for logs and probes."""
        ...

    @property
    def synced(self) -> asyncio.Event:
        """Set once everything that exists is in the sink."""
        ...

    @property
    def alive_at(self) -> float:
        """Monotonic time when it last received something, or tried to."""
        ...

    async def run(self) -> None:
        """Observe until cancelled."""
        ...


@dataclass(frozen=True)
class Target:
    """What is watched."""

    name: str
    path: str
    selectors: dict[str, str] = field(default_factory=dict[str, str])
    """`labelSelector`, `fieldSelector`."""
    namespace: str | None = None
    """The namespace that the path is of; None for all."""


@dataclass(frozen=True)
class Timing:
    """Time limits of a watch, in seconds."""

    server: float = 300.0
    """The server ends each watch after this; then it is resumed."""
    inactivity: float = 70.0
    """The server sends a bookmark a minute; after such a silence the connection is dead, whatever TCP says."""
    forbidden: float = 120.0
    """After this long without the right to read a namespace, it counts as empty."""
    backoff: Backoff = field(default_factory=lambda: Backoff(0.5, 30.0))


class Reflector:
    """Keeps a sink up to date with one collection. See `Source`; `run` ends only by cancellation."""

    def __init__(self, cluster: Cluster, target: Target, sink: Sink, timing: Timing | None = None) -> None:
        """Observe nothing yet.

        Args:
            cluster: where to watch.
            target: what to watch.
            sink: where the objects go.
            timing: time limits.
        """
        self.name = target.name
        self.synced = asyncio.Event()
        self.alive_at = time.monotonic()
        """See `Source`: a watch that cannot reach the server is not stuck."""
        self._cluster = cluster
        self._target = target
        self._sink = sink
        self._timing = timing or Timing()
        self._version = ""
        self._forbidden_since: float | None = None

    async def run(self) -> None:
        """List, watch and recover, until cancelled."""
        failures = 0
        while True:
            self.alive_at = time.monotonic()
            try:
                if not self._version:
                    await self._list()
                if await self._watch():
                    failures = 0
                continue
            except ApiError as error:
                self._note(error)
                if error.status == GONE and failures == 0:  # the normal way to find out
                    failures = 1
                    continue
                failure, hint = error, error.retry_after
            except UnreachableError as error:
                failure, hint = error, None
            except Exception as error:
                log.exception("watch of %s met an unexpected error", self.name)
                self._version = ""
                failure, hint = error, None
            failures += 1
            if failures > _TRIES_BEFORE_RELIST:
                self._version = ""
            metrics.WATCH_RESTARTS.labels(self.name).inc()
            delay = max(hint or 0.0, self._timing.backoff.delay(failures))
            log.warning("watch of %s: %s; trying again in %.1f s", self.name, failure, delay)
            self.alive_at = time.monotonic()
            await asyncio.sleep(delay)

    def _note(self, error: ApiError) -> None:
        """Have everything listed again after an error that asks for it.

        Nothing waits for one namespace that may not be read: a team that deletes its own takes our Role along. Such a
        refusal may pass (an upgrade of the API server), so what is known is kept for a while.
        """
        namespace = self._target.namespace
        if error.status == GONE:
            self._version = ""
        if error.status != FORBIDDEN or namespace is None:
            return
        self._version = ""
        metrics.WATCH_FORBIDDEN.labels(self.name, namespace).set(1)
        if self._forbidden_since is None:
            self._forbidden_since = time.monotonic()
        if time.monotonic() >= self._forbidden_since + self._timing.forbidden:
            self._sink.forget(namespace)
        self.synced.set()

    async def _list(self) -> None:
        metrics.WATCH_RELISTS.labels(self.name).inc()
        uids: set[str] = set()
        version = ""
        async for page in self._cluster.pages(self._target.path, self._target.selectors):
            self.alive_at = time.monotonic()
            version = page["metadata"]["resourceVersion"]
            for raw in page["items"]:
                uids.add(raw["metadata"]["uid"])
                self._sink.upsert(raw)
        self._sink.replace(uids, version, namespace=self._target.namespace)
        self._version = version
        if self._forbidden_since is not None:
            self._forbidden_since = None
            metrics.WATCH_FORBIDDEN.labels(self.name, self._target.namespace or "").set(0)
        self.synced.set()

    async def _watch(self) -> bool:
        """Follow one watch to its end; return whether it brought anything."""
        query = {
            **self._target.selectors,
            "resourceVersion": self._version,
            "timeoutSeconds": int(self._timing.server * (0.8 + 0.4 * random.random())),  # noqa: S311 - spreads load
        }
        received = False
        async for event, raw in self._cluster.stream(self._target.path, query, self._timing.inactivity):
            self.alive_at = time.monotonic()
            received = True
            if event == "DELETED":
                self._sink.delete(raw["metadata"]["uid"])
            elif event != "BOOKMARK":
                self._sink.upsert(raw)
            self._version = raw["metadata"]["resourceVersion"]
        return received
