"""Carries out what a plan says. Each step may be the last before a crash: each can be taken again, by anyone."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from steno_api.v1alpha1.meta import ResourceDefinition
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.client import EVENTS, JOBS, ApiError, Cluster, UnreachableError
from steno_operator.control.kube.keys import Key
from steno_operator.control.reconcile.controller import RefusedError, resource_type
from steno_operator.control.reconcile.merge_patch import merge_patch
from steno_operator.control.reconcile.work_queue import RetryError
from steno_operator.plan.common.plan import (
    Action,
    DeleteResource,
    EmitEvent,
    SetDeadline,
    StartAttempt,
    StopAttempt,
    SuspendAttempt,
)
from steno_operator.telemetry import metrics

log = logging.getLogger(__name__)

NOT_FOUND = 404
CONFLICT = 409
_INVALID = frozenset({400, 413, 422})
_REFUSALS = _INVALID | {403}
_EVENT_TIMEOUT = 5.0
_MESSAGE_LIMIT = 1000
_CLUSTER_SCOPED_EVENTS = "default"
"""Namespace of Events about objects that lie in none, as with Kubernetes' own."""


StepOf = Callable[[Key, str, Any], Awaitable[None]]
"""Carries out one type of action for the resource of that key and UID."""


class GoneError(Exception):
    """The resource is gone: there is nothing left to do for it."""


class Executor:
    """Carries out actions and writes statuses; puts every answer into the store, so that the next snapshot knows."""

    def __init__(
        self, cluster: Cluster, store: Store, instance: str, more: Mapping[type, StepOf] | None = None
    ) -> None:
        """Makes an executor.

        Args:
            cluster: where to act.
            store: where the answers go.
            instance: this replica's name, for Events.
            more: steps beside those of jobs.
        """
        self._cluster = cluster
        self._store = store
        self._instance = instance
        self._steps: dict[type, StepOf] = {
            StartAttempt: self._start,
            StopAttempt: self._stop,
            SuspendAttempt: self._suspend,
            SetDeadline: self._set_deadline,
            **(more or {}),
        }

    async def act(self, key: Key, uid: str, action: Action) -> None:
        """Carries out a step of the plan for the resource `key` of that UID.

        Raises:
            RefusedError: see there.
            RetryError: the world is not as the plan had it.
            ApiError, UnreachableError: it could not be done now.
        """
        await self._steps[type(action)](key, uid, action)
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
        self._store.put_job(job)
        metrics.ATTEMPTS.labels(key.kind).inc()
        log.info("started attempt %d", action.attempt, extra=key.log())

    async def _adopt(self, key: Key, uid: str, name: str) -> None:
        """A Job of that name is there: ours from before a crash, or in the way."""
        try:
            job = await self._cluster.get(JOBS, key.namespace, name)
        except ApiError as error:
            if error.status == NOT_FOUND:
                raise RetryError(f"Job {name} was there and is gone") from None
            raise
        if owner_of(job) == uid:
            self._store.put_job(job)
            return
        self._store.put_foreign(key, uid, name)
        raise RetryError(f"Job {name} belongs to something else", after=0)

    async def _stop(self, key: Key, uid: str, action: StopAttempt) -> None:  # noqa: ARG002 - one shape for all steps
        try:
            answer = await self._cluster.delete(JOBS, key.namespace, action.name, action.uid, "Foreground")
        except ApiError as error:
            if error.status not in (NOT_FOUND, CONFLICT):  # conflict: another Job has that name by now
                raise
            self._store.drop_job(action.uid)
            return
        if answer.get("kind") == "Job":  # it stands until its pods are gone
            self._store.put_job(answer)
        else:
            self._store.drop_job(action.uid)
        log.info("stopped %s", action.name, extra=key.log())

    async def _suspend(self, key: Key, uid: str, action: SuspendAttempt) -> None:  # noqa: ARG002
        await self._change(key, action, {"suspend": action.suspend})
        log.info("%s %s", "suspended" if action.suspend else "resumed", action.name, extra=key.log())

    async def _set_deadline(self, key: Key, uid: str, action: SetDeadline) -> None:  # noqa: ARG002
        await self._change(key, action, {"activeDeadlineSeconds": action.seconds})
        log.info("the deadline of %s is %s s", action.name, action.seconds, extra=key.log())

    async def _change(self, key: Key, action: SuspendAttempt | SetDeadline, spec: dict[str, Any]) -> None:
        body = {"metadata": {"uid": action.uid}, "spec": spec}
        try:
            self._store.put_job(await self._cluster.merge_patch(JOBS, key.namespace, action.name, body))
        except ApiError as error:
            if error.status in (NOT_FOUND, CONFLICT):
                raise RetryError(f"Job {action.name} is not the one planned for") from None
            raise

    async def delete(self, definition: ResourceDefinition, key: Key, action: DeleteResource) -> None:
        """Deletes the custom resource; its children follow by owner reference."""
        try:
            await self._cluster.delete(resource_type(definition), key.namespace, key.name, action.uid, "Background")
        except ApiError as error:
            if error.status not in (NOT_FOUND, CONFLICT):
                raise
        self._store.drop_resource(key, action.uid)
        metrics.ACTIONS.labels(type(action).__name__).inc()
        log.info("deleted the resource: its time to live is over", extra=key.log())

    async def read(self, definition: ResourceDefinition, key: Key, uid: str) -> dict[str, Any]:
        """Reads the resource as it stands now.

        Raises:
            GoneError: it does not exist, or is another of the same name.
        """
        try:
            raw = await self._cluster.get(resource_type(definition), key.namespace, key.name)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            self._store.drop_resource(key, uid)
            raise GoneError from None
        self._store.put_resource(key.kind, raw)
        if raw["metadata"]["uid"] != uid:
            raise GoneError
        return raw

    async def write_status(
        self, definition: ResourceDefinition, key: Key, raw: dict[str, Any], wanted: dict[str, Any]
    ) -> bool:
        """Makes `wanted` the status of `raw` in one patch, if it is not already; returns whether it wrote.

        Raises:
            RetryError: the resource changed meanwhile; its new state is in the store.
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
        self._store.put_resource(key.kind, answer)
        self._store.wrote_status(metadata["uid"])
        metrics.STATUS_WRITES.labels(key.kind).inc()
        if failure := patch.get("lastFailure"):
            reason = failure.get("reason") or before.get("lastFailure", {}).get("reason", "")
            metrics.FAILURES.labels(key.kind, reason).inc()
        if wanted.get("phase") != before.get("phase"):
            log.info("%s → %s", before.get("phase") or "new", wanted.get("phase"), extra=key.log())
        return True

    async def emit(self, key: Key, raw: dict[str, Any], action: EmitEvent) -> None:
        """Tells of something in an Event; the same Event again is counted. A failure is logged and forgotten."""
        metadata = raw["metadata"]
        namespace = key.namespace or _CLUSTER_SCOPED_EVENTS
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = "\0".join((metadata["uid"], action.type, action.reason, action.message))
        name = f"{key.name[:200]}.{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        event = {
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
            "type": action.type,
            "reason": action.reason,
            "message": action.message[:_MESSAGE_LIMIT],
            "source": {"component": "steno-operator"},
            "reportingComponent": "steno-operator",
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            try:
                await self._cluster.create(EVENTS, namespace, event, timeout=_EVENT_TIMEOUT)
            except ApiError as error:
                if error.status != CONFLICT:
                    raise
                known = await self._cluster.get(EVENTS, namespace, name)
                again = {"count": known.get("count", 1) + 1, "lastTimestamp": now}
                await self._cluster.merge_patch(EVENTS, namespace, name, again, timeout=_EVENT_TIMEOUT)
        except (ApiError, UnreachableError) as error:
            log.warning("Event %s was not written: %s", action.reason, error, extra=key.log())


def refusal(error: ApiError) -> ApiError | RefusedError:
    """Returns what to raise for an error of a write: a refusal of what was to be written, or the error itself."""
    if error.status in _REFUSALS or "webhook" in error.message:
        return RefusedError(error.message, final=error.status in _INVALID)
    return error


def owner_of(job: dict[str, Any]) -> str:
    """Returns the UID of a child's controller owner, or an empty string."""
    owners = job["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")
