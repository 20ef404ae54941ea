"""EventRecorder: Kubernetes Events, written beside the work, so that no reconciliation waits for them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from datetime import UTC, datetime
from typing import Any

from steno_kube.client import CONFLICT, EVENTS, ApiError, Cluster, UnreachableError
from steno_kube.keys import Key
from steno_operator.plan.common.plan import EmitEvent

log = logging.getLogger(__name__)

_CAPACITY = 10_000
"""Events that wait at most; what comes on top is dropped: an API server that slow has more urgent work."""
_CONCURRENCY = 4
_TIMEOUT = 5.0
"""Seconds for one request."""
_MESSAGE_LIMIT = 1000
"""Characters; the API server refuses Events with more than 1,024 bytes."""
_CLUSTER_SCOPED_NAMESPACE = "default"
"""Namespace of Events about cluster-scoped objects, as with Kubernetes' own."""


class EventRecorder:
    """A queue of Events. What waits when the process ends is not written; the statuses have it as well."""

    def __init__(self, cluster: Cluster, instance: str) -> None:
        """Make an empty queue.

        Args:
            cluster: where to write.
            instance: this replica's name.
        """
        self._cluster = cluster
        self._instance = instance
        self._queue: asyncio.Queue[tuple[Key, dict[str, Any], EmitEvent]] = asyncio.Queue(_CAPACITY)

    def record(self, key: Key, raw: dict[str, Any], event: EmitEvent) -> None:
        """Have an Event written soon, after those that wait.

        Args:
            key: the resource that it is about.
            raw: the resource.
            event: what to say.
        """
        try:
            self._queue.put_nowait((key, raw, event))
        except asyncio.QueueFull:
            log.warning("dropped Event %s: %d are waiting already", event.reason, _CAPACITY, extra=key.log())

    async def run(self) -> None:
        """Write Events until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(_CONCURRENCY):
                group.create_task(self._work(), name=f"events-{number}")

    async def _work(self) -> None:
        while True:
            key, raw, event = await self._queue.get()
            try:
                await self._write(key, raw, event)
            except (ApiError, UnreachableError) as error:
                log.warning("Event %s was not written: %s", event.reason, error, extra=key.log())

    async def _write(self, key: Key, raw: dict[str, Any], event: EmitEvent) -> None:
        """Create an Event, or count it once more if the same was written before."""
        metadata = raw["metadata"]
        namespace = key.namespace or _CLUSTER_SCOPED_NAMESPACE
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        content = "\0".join((metadata["uid"], event.type, event.reason, event.message))
        name = f"{key.name[:200]}.{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": raw["apiVersion"],
                "kind": key.kind,
                "namespace": key.namespace,
                "name": key.name,
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:_MESSAGE_LIMIT],
            "source": {"component": "steno-operator"},
            "reportingComponent": "steno-operator",
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._cluster.create(EVENTS, namespace, body, timeout=_TIMEOUT)
        except ApiError as error:
            if error.status != CONFLICT:
                raise
            known = await self._cluster.get(EVENTS, namespace, name)
            again = {"count": known.get("count", 1) + 1, "lastTimestamp": now}
            await self._cluster.merge_patch(EVENTS, namespace, name, again, timeout=_TIMEOUT)
