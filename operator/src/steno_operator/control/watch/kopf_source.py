"""Kopf source: the watches of custom resources, made by kopf. The only module that imports kopf.

kopf does no more than watch: nothing is written by it, posted or compared, and whatever it observes goes to a sink.
Its session parses lists as our own requests do, and it keeps no object longer than it takes to hand it over: else those
that may make large objects would fill the operator's memory.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import aiohttp
import kopf

from steno_api.v1alpha1 import RESOURCES
from steno_kube.backoff import Backoff
from steno_kube.client import FORBIDDEN, NOT_FOUND, ApiError, Cluster, UnreachableError
from steno_kube.decoding import decode
from steno_kube.metrics import WATCH_FORBIDDEN
from steno_kube.reflector import Sink
from steno_operator.control.watch.resync import WatchedKind

log = logging.getLogger(__name__)

_BACKOFF = Backoff(0.5, 30.0)
_LIST_BACKOFF = Backoff(0.5, 15.0)
_PAGE = 10
"""Objects per page of a list by kopf, which cannot adapt it: one has up to 1.5 MB, and all kinds are listed at once."""
_WORKER_IDLE = 0.01
"""Seconds for which kopf keeps an object, with its task, after its last event."""


class KopfSource:
    """Keeps sinks up to date with custom resources of every kind. See `Source`."""

    name = "custom resources"

    def __init__(
        self,
        cluster: Cluster,
        kinds: Sequence[WatchedKind],
        namespaces: Sequence[str],
        inactivity: float,
        *,
        on_started: Callable[[], None] = lambda: None,
    ) -> None:
        """Observe nothing yet.

        Args:
            cluster: where everything is listed at the start; kopf has its own connection.
            kinds: what is watched, and where it goes.
            namespaces: the namespaces served; empty: all.
            inactivity: seconds of silence after which a watch is resumed.
            on_started: called once kopf has started: it takes over the signal handlers of the process.
        """
        self.synced = asyncio.Event()
        self._cluster = cluster
        self._kinds = kinds
        self._namespaces = namespaces
        self._inactivity = inactivity
        self._on_started = on_started

    @property
    def alive_at(self) -> float:
        """See `Source`. kopf does not say when its streams last moved: `ResyncCheck` finds those that are stale."""
        return time.monotonic()

    async def run(self) -> None:
        """Watch until cancelled, beginning with a list of everything.

        Raises:
            RuntimeError: kopf ended by itself.
        """
        tasks = await kopf.spawn_tasks(
            registry=_registry({kind.kind: kind.sink for kind in self._kinds}),
            settings=_settings(self._inactivity),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
        )
        self._on_started()
        listing = asyncio.create_task(self._list(), name="list")
        try:
            await asyncio.wait({listing, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if listing.done():
                listing.result()
                self.synced.set()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise RuntimeError("kopf ended")
        finally:
            # Not kopf.run_tasks: on its way out that cancels every task of the process, ours too.
            listing.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(listing, *tasks, return_exceptions=True)

    async def _list(self) -> None:
        """Put everything that exists into the sinks: before the first plan, so that none is made on half a view."""
        failures = 0
        while True:
            try:
                for kind in self._kinds:
                    for namespace in kind.namespaces:
                        await self._list_namespace(kind, namespace)
            except (ApiError, UnreachableError) as error:
                failures += 1
                delay = _LIST_BACKOFF.delay(failures)
                missing = isinstance(error, ApiError) and error.status == NOT_FOUND
                remedy = " Are the CustomResourceDefinitions installed?" if missing else ""
                log.warning("listing the custom resources: %s; trying again in %.1f s.%s", error, delay, remedy)
                await asyncio.sleep(delay)
            else:
                return

    async def _list_namespace(self, kind: WatchedKind, namespace: str | None) -> None:
        try:
            async for page in self._cluster.pages(kind.resource.path(namespace)):
                for item in page["items"]:  # items of a list of custom resources have their own kind
                    kind.sink.upsert(item)
        except ApiError as error:
            if namespace is None or error.status != FORBIDDEN:
                raise
            # One namespace whose Role is gone must not hold up the others: `ResyncCheck` finds it when it is back.
            WATCH_FORBIDDEN.labels(kind.kind, namespace).set(1)
            log.warning('namespace "%s" may not be read and counts as empty: %s', namespace, error)


class _JitteredBackoffs(Iterable[float]):
    """Waits between kopf's tries of one request: no two replicas or requests in step.

    Without an end: kopf ends as a whole when one watch gives up, be it that of one namespace whose Role is gone.
    """

    def __iter__(self) -> Iterator[float]:
        """Yield seconds."""
        for failures in itertools.count(1):
            yield _BACKOFF.delay(failures, random.random)


class _NoDiffBase(kopf.DiffBaseStorage):
    """Nothing to compare: differences are found by our own plans.

    kopf would copy every object, thoroughly and twice, whenever it changes.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return nothing of any object."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Return that nothing was stored."""
        return None

    def store(self, **_: Any) -> None:
        """Store nothing."""


class _Response(aiohttp.ClientResponse):
    """A response whose JSON is parsed without metadata that is never read; what kopf parses as JSON are lists."""

    async def json(self, **_: Any) -> Any:
        """Return the decoded body."""
        return decode(await self.read())


class _Login:
    """Makes kopf's sessions; the same credentials make the same session, so that kopf does not retry refused ones."""

    def __init__(self) -> None:
        self._last: tuple[kopf.ConnectionInfo, kopf.AiohttpSession] | None = None

    async def log_in(self, **context: Any) -> kopf.AiohttpSession | None:
        """See `kopf.on.login`."""
        in_cluster = not os.environ.get("KUBECONFIG") and os.environ.get("KUBERNETES_SERVICE_HOST")
        read = kopf.login_with_service_account if in_cluster else kopf.login_with_kubeconfig
        info = await asyncio.to_thread(read, **context)
        if info is None:
            return None
        if self._last is None or self._last[0] != info:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
                headers=info.as_http_headers(),
                proxy=info.proxy_url,
                trust_env=info.trust_env,
                response_class=_Response,
            )
            made = kopf.AiohttpSession(
                server=info.server,
                default_namespace=info.default_namespace,
                priority=info.priority,
                expiration=info.expiration,
                aiohttp_session=session,
            )
            self._last = info, made
        return self._last[1]


def _settings(inactivity: float) -> kopf.OperatorSettings:
    """Return how kopf is to watch: nothing written, nothing posted, no silent stream trusted."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.posting.level = logging.WARNING
    chosen.peering.standalone = True
    chosen.scanning.disabled = True
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 310
    chosen.watching.connect_timeout = 10
    chosen.watching.inactivity_timeout = inactivity
    chosen.watching.chunk_size = _PAGE
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 10
    chosen.networking.enforce_retry_after = True
    chosen.networking.error_backoffs = _JitteredBackoffs()
    chosen.queueing.worker_limit = None
    chosen.queueing.idle_timeout = _WORKER_IDLE
    chosen.persistence.diffbase_storage = _NoDiffBase()
    chosen.persistence.finalizer = "steno.dev/unused"
    chosen.process.ultimate_exiting_timeout = None
    return chosen


def _registry(sinks: Mapping[str, Sink]) -> kopf.OperatorRegistry:
    """Return kopf's handlers: whatever happens to a custom resource goes to the sink of its kind."""
    registry = kopf.OperatorRegistry()

    kopf.on.login(registry=registry)(_Login().log_in)
    for model in RESOURCES:
        definition = model.definition

        async def on_event(event: Any, sink: Sink = sinks[definition.kind], **_: Any) -> None:
            raw = dict(event["object"])
            if event["type"] == "DELETED":
                sink.delete(raw["metadata"]["uid"])
            else:
                sink.upsert(raw)

        kopf.on.event(definition.group, definition.version, definition.plural, registry=registry)(on_event)
    return registry
