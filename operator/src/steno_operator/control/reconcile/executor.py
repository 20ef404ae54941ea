"""Executor: carries out the actions of a plan. Each may be the last before a crash, and can be taken again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from steno_api.v1alpha1.meta import ResourceDefinition
from steno_kube.client import CONFLICT, NOT_FOUND, ApiError, Cluster
from steno_kube.keys import Key
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.resource_records import strip
from steno_operator.control.reconcile.controller import RefusedError, resource_type
from steno_operator.control.reconcile.work_queue import RetryError
from steno_operator.plan.common.plan import Action, DeleteResource
from steno_operator.telemetry import metrics

log = logging.getLogger(__name__)

_INVALID = frozenset({400, 413, 422})
_REFUSALS = _INVALID | {403}

ActionHandler = Callable[[Key, str, Any], Awaitable[None]]
"""Carries out one type of action for the resource of that key and UID."""


class GoneError(Exception):
    """The resource is gone: there is nothing left to do for it."""


class Executor:
    """Carries out actions and writes statuses; every answer goes into the caches, so that the next snapshot has it."""

    def __init__(self, cluster: Cluster, state: ClusterState, handlers: Mapping[type, ActionHandler]) -> None:
        """Make an executor.

        Args:
            cluster: where to act.
            state: where the answers go.
            handlers: what carries out each type of action.
        """
        self._cluster = cluster
        self._state = state
        self._handlers = handlers

    async def act(self, key: Key, uid: str, action: Action) -> None:
        """Carry out an action of the plan for a resource.

        Args:
            key: the resource.
            uid: its UID.
            action: what to do.

        Raises:
            RefusedError: see there.
            RetryError: the cluster is not as the plan had it.
            ApiError, UnreachableError: it could not be done now.
        """
        await self._handlers[type(action)](key, uid, action)
        metrics.ACTIONS.labels(type(action).__name__).inc()

    async def delete(self, definition: ResourceDefinition, key: Key, action: DeleteResource) -> None:
        """Delete the custom resource; its children follow by owner reference.

        Args:
            definition: of its kind.
            key: the resource.
            action: has the UID of the one to delete.
        """
        try:
            await self._cluster.delete(resource_type(definition), key.namespace, key.name, action.uid, "Background")
        except ApiError as error:
            if error.status not in (NOT_FOUND, CONFLICT):
                raise
        self._state.resources.delete(action.uid)
        metrics.ACTIONS.labels(type(action).__name__).inc()
        log.info("deleted the resource: its time to live has passed", extra=key.log())

    async def read(self, definition: ResourceDefinition, key: Key, uid: str) -> dict[str, Any]:
        """Read the resource live.

        Args:
            definition: of its kind.
            key: the resource.
            uid: of the one that is wanted.

        Raises:
            GoneError: it does not exist, or is another of the same name.
        """
        try:
            raw = await self._cluster.get(resource_type(definition), key.namespace, key.name)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            self._state.resources.delete(uid)
            raise GoneError from None
        self._state.resources.upsert(raw)
        if raw["metadata"]["uid"] != uid:
            raise GoneError
        return strip(raw)

    async def write_status(
        self, definition: ResourceDefinition, key: Key, raw: dict[str, Any], wanted: dict[str, Any]
    ) -> bool:
        """Make `wanted` the status of `raw` in one patch, if it is not already; return whether it was written.

        Args:
            definition: of the resource's kind.
            key: the resource.
            raw: the resource, with the status that the patch is made from.
            wanted: the whole status.

        Raises:
            RetryError: the resource changed meanwhile; its new state is in the cache.
            GoneError: it is gone.
        """
        before = raw.get("status") or {}
        patch = merge_patch(before, wanted)
        if not patch:
            return False
        metadata = raw["metadata"]
        body = {
            "metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
            "status": patch,
        }
        try:
            answer = await self._cluster.merge_patch(resource_type(definition), key.namespace, key.name, body, "status")
        except ApiError as error:
            if error.status not in (NOT_FOUND, CONFLICT):
                raise
            await self.read(definition, key, metadata["uid"])
            raise RetryError("the resource changed while its status was written", after=0) from None
        self._state.resources.upsert(answer)
        self._state.status_writes.record(metadata["uid"])
        metrics.STATUS_WRITES.labels(key.kind).inc()
        if failure := patch.get("lastFailure"):
            reason = failure.get("reason") or before.get("lastFailure", {}).get("reason", "")
            metrics.FAILURES.labels(key.kind, reason).inc()
        for warning in patch.get("warnings") or ():
            metrics.WARNINGS.labels(key.kind, warning["reason"]).inc()
        if wanted.get("phase") != before.get("phase"):
            log.info("%s → %s", before.get("phase") or "new", wanted.get("phase"), extra=key.log())
        return True


def refusal(error: ApiError) -> ApiError | RefusedError:
    """Return what to raise for an error of a write: a refusal of what was to be written, or the error itself."""
    if error.status in _REFUSALS or "webhook" in error.message:
        return RefusedError(error.message, final=error.status in _INVALID)
    return error


def merge_patch(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the RFC 7386 merge patch that turns `current` into `wanted`; empty if they are equal. Pure.

    Fields that vanished become null. Lists are replaced whole, as the RFC has it.
    """
    patch: dict[str, Any] = {name: None for name in current if name not in wanted}
    for name, value in wanted.items():
        if name not in current:
            patch[name] = value
        elif isinstance(value, Mapping) and isinstance(current[name], Mapping):
            if inner := merge_patch(current[name], value):
                patch[name] = inner
        elif value != current[name]:
            patch[name] = value
    return patch
