"""A list followed by a watch, for ever: paged, resumed where it broke, listed again when it cannot be resumed.

Not kopf's: its watches have been known to go silent, and it holds a memory for each object. These end by themselves
after a while, and after a silence, and say when they last showed life.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from steno_operator.control.kube.backoff import Backoff
from steno_operator.control.kube.client import ApiError, Cluster, UnreachableError
from steno_operator.telemetry import metrics

log = logging.getLogger(__name__)

_GONE = 410
_TRIES_BEFORE_RELIST = 5
"""Failures in a row to resume after which even a 'fresh' resourceVersion is not believed any more."""


class Sink(Protocol):
    """Where what is watched goes."""

    def put(self, raw: dict[str, Any], /) -> None:
        """Takes in an object that exists."""

    def drop(self, raw: dict[str, Any], /) -> None:
        """Takes in the last state of an object that was deleted."""

    def retain(self, uids: set[str], version: str, /) -> None:
        """A full list as of `version` had these objects and no other."""


@dataclass(frozen=True)
class Target:
    """What is watched."""

    name: str
    path: str
    selectors: dict[str, str] = field(default_factory=dict[str, str])
    """`labelSelector`, `fieldSelector`."""


@dataclass(frozen=True)
class Timing:
    """Time limits of a watch, in seconds."""

    server: float = 300.0
    """The server ends each watch after this; then it is resumed."""
    inactivity: float = 70.0
    """The server sends a bookmark a minute; after such a silence the connection is dead, whatever TCP believes."""
    backoff: Backoff = field(default_factory=lambda: Backoff(0.5, 30.0))


class Watcher:
    """Keeps a sink up to date. `run` ends only by cancellation."""

    def __init__(self, cluster: Cluster, target: Target, sink: Sink, timing: Timing | None = None) -> None:
        self.target = target
        self.synced = asyncio.Event()
        """Set once the first full list is in the sink."""
        self.alive_at = time.monotonic()
        """When it last received something, or tried to: a watch that cannot reach the server is not stuck."""
        self._cluster = cluster
        self._sink = sink
        self._timing = timing or Timing()
        self._version = ""

    async def run(self) -> None:
        """Lists, watches, and recovers, until cancelled."""
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
                if error.status == _GONE:
                    self._version = ""
                    if failures == 0:  # the normal way to find out
                        failures = 1
                        continue
                failure, hint = error, error.retry_after
            except UnreachableError as error:
                failure, hint = error, None
            except Exception as error:
                log.exception("watch of %s met an unexpected error", self.target.name)
                self._version = ""
                failure, hint = error, None
            failures += 1
            if failures > _TRIES_BEFORE_RELIST:
                self._version = ""
            metrics.WATCH_RESTARTS.labels(self.target.name).inc()
            delay = max(hint or 0.0, self._timing.backoff.delay(failures))
            log.warning("watch of %s: %s; again in %.1f s", self.target.name, failure, delay)
            self.alive_at = time.monotonic()
            await asyncio.sleep(delay)

    async def _list(self) -> None:
        metrics.WATCH_RELISTS.labels(self.target.name).inc()
        uids: set[str] = set()
        version = ""
        async for page in self._cluster.pages(self.target.path, self.target.selectors):
            self.alive_at = time.monotonic()
            version = page["metadata"]["resourceVersion"]
            for raw in page["items"]:
                uids.add(raw["metadata"]["uid"])
                self._sink.put(raw)
        self._sink.retain(uids, version)
        self._version = version
        self.synced.set()

    async def _watch(self) -> bool:
        """Follows one watch to its end; returns whether it brought anything."""
        query = {
            **self.target.selectors,
            "resourceVersion": self._version,
            "timeoutSeconds": int(self._timing.server * (0.8 + 0.4 * random.random())),  # noqa: S311 - spreads load
        }
        lively = False
        async for kind, raw in self._cluster.stream(self.target.path, query, self._timing.inactivity):
            self.alive_at = time.monotonic()
            lively = True
            if kind == "DELETED":
                self._sink.drop(raw)
            elif kind != "BOOKMARK":
                self._sink.put(raw)
            self._version = raw["metadata"]["resourceVersion"]
        return lively
