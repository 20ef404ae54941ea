"""Executor: carries out the actions of a plan. Each may be the last before a crash, and can be taken again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from steno_api.v1alpha1.meta import ResourceDefinition
from steno_kube.client import CONFLICT, JOBS, NOT_FOUND, ApiError, Cluster
from steno_kube.keys import Key
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.job_records import is_child
from steno_operator.control.cache.resource_records import strip
from steno_operator.control.reconcile.controller import RefusedError, resource_type
from steno_operator.control.reconcile.work_queue import RetryError
from steno_operator.manifests import labels
from steno_operator.plan.common.plan import (
    Action,
    DeleteResource,
    SetDeadline,
    StartAttempt,
    StopAttempt,
    SuspendAttempt,
)
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

    def __init__(self, cluster: Cluster, state: ClusterState, more: Mapping[type, ActionHandler] | None = None) -> None:
        """Make an executor.

        Args:
            cluster: where to act.
            state: where the answers go.
            more: handlers of actions beside those of jobs.
        """
        self._cluster = cluster
        self._state = state
        self._handlers: dict[type, ActionHandler] = {
            StartAttempt: self._start,
            StopAttempt: self._stop,
            SuspendAttempt: self._suspend,
            SetDeadline: self._set_deadline,
            **(more or {}),
        }

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

    async def _start(self, key: Key, uid: str, action: StartAttempt) -> None:
        name = action.manifest["metadata"]["name"]
        # Created, not applied: an apply would take over a Job of that name, whosever it is.
        try:
            job = await self._cluster.create(JOBS, key.namespace, action.manifest)
        except ApiError as error:
            if error.status == CONFLICT:
                await self._adopt(key, uid, name)
                return
            raise refusal(error) from None
        self._state.jobs.upsert(job)
        metrics.ATTEMPTS.labels(key.kind).inc()
        log.info("started attempt %d", action.attempt, extra=key.log())

    async def _adopt(self, key: Key, uid: str, name: str) -> None:
        """Adopt a Job of that name that is ours from before a crash, else record the conflict."""
        try:
            job = await self._cluster.get(JOBS, key.namespace, name)
        except ApiError as error:
            if error.status == NOT_FOUND:
                raise RetryError(f"Job {name} existed and is gone") from None
            raise
        if is_child(job, key, uid):
            self._state.jobs.upsert(job)
            return
        self._state.conflicts.add(uid, name)
        raise RetryError(f"Job {name} belongs to something else", after=0)

    async def _stop(self, key: Key, uid: str, action: StopAttempt) -> None:  # noqa: ARG002 - one signature for all actions
        try:
            answer = await self._cluster.delete(JOBS, key.namespace, action.name, action.uid, "Foreground")
        except ApiError as error:
            if error.status not in (NOT_FOUND, CONFLICT):  # conflict: another Job has that name by now
                raise
            self._state.jobs.delete(action.uid)
            return
        if answer.get("kind") == "Job":  # it exists until its pods are gone
            self._state.jobs.upsert(answer)
        else:
            self._state.jobs.delete(action.uid)
        log.info("stopped %s", action.name, extra=key.log())

    async def _suspend(self, key: Key, uid: str, action: SuspendAttempt) -> None:  # noqa: ARG002
        mark = "true" if action.suspend else None
        await self._change(key, action, {"suspend": action.suspend}, {labels.SUSPENDED: mark})
        log.info("%s %s", "suspended" if action.suspend else "resumed", action.name, extra=key.log())

    async def _set_deadline(self, key: Key, uid: str, action: SetDeadline) -> None:  # noqa: ARG002
        mark = None if action.seconds is None else str(action.seconds)
        await self._change(key, action, {"activeDeadlineSeconds": action.seconds}, {labels.DEADLINE: mark})
        log.info("set the deadline of %s to %s s", action.name, action.seconds, extra=key.log())

    async def _change(
        self,
        key: Key,
        action: SuspendAttempt | SetDeadline,
        spec: dict[str, Any],
        annotations: dict[str, str | None],
    ) -> None:
        body = {"metadata": {"uid": action.uid, "annotations": annotations}, "spec": spec}
        try:
            self._state.jobs.upsert(await self._cluster.merge_patch(JOBS, key.namespace, action.name, body))
        except ApiError as error:
            if error.status in (NOT_FOUND, CONFLICT):
                raise RetryError(f"Job {action.name} is not the one planned for") from None
            raise

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
