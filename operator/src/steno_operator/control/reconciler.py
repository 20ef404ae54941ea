"""One look at one resource: snapshot, plan, live reads where it matters, actions, status, Events."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from steno_operator.build import labels
from steno_operator.control.cluster import JOBS, PODS, ApiError, Cluster, ResourceType
from steno_operator.control.executor import Executor, GoneError, RefusedError, owner_of
from steno_operator.control.keys import Key
from steno_operator.control.kinds import JobKind, UnreadableError, unreadable_status
from steno_operator.control.store import Store
from steno_operator.plan.observed import ObservedJob
from steno_operator.plan.plan import DeleteResource, EmitEvent, Plan, StartAttempt, StopAttempt, SuspendAttempt
from steno_operator.plan.policy import Policy

log = logging.getLogger(__name__)

_PAID = (StartAttempt, StopAttempt, DeleteResource)
_REMEMBERED = 10_000


def utc_now() -> datetime:
    """Returns the time, in whole seconds as Kubernetes' timestamps have it."""
    return datetime.now(UTC).replace(microsecond=0)


class Reconciler:
    """Brings resources of every kind to what their plans say."""

    def __init__(  # noqa: PLR0917 - wired in one place
        self,
        cluster: Cluster,
        store: Store,
        executor: Executor,
        kinds: Mapping[str, JobKind],
        policy: Policy,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._executor = executor
        self._kinds = kinds
        self._policy = policy
        self._clock = clock
        self._read_pods_of: OrderedDict[str, None] = OrderedDict()  # Job UIDs

    async def reconcile(self, key: Key) -> float | None:
        """Looks at the resource once.

        Returns:
            Seconds after which to look again even if nothing changes.

        Raises:
            RetryError: what was planned no longer fits; look again.
            ApiError, UnreachableError: the API server could not do its part.
        """
        raw = self._store.resource(key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            return None
        kind = self._kinds[key.kind]
        try:
            return await self._reconcile(kind, key, raw)
        except UnreadableError as error:
            log.warning("cannot be read: %s", error, extra=key.log())
            await self._executor.write_status(kind, key, raw, unreadable_status(raw, str(error), self._clock()))
        except GoneError:
            log.debug("gone", extra=key.log())
        return None

    async def _reconcile(self, kind: JobKind, key: Key, raw: dict[str, Any]) -> float | None:
        observed = self._store.snapshot(key, kind.parse(raw))
        plan = kind.plan(observed, self._clock(), self._policy)
        if self._must_verify(observed, plan):
            raw = await self._refresh(kind, key, raw["metadata"]["uid"])
            observed = self._store.snapshot(key, kind.parse(raw))
            self._remember_finished(observed)
            plan = kind.plan(observed, self._clock(), self._policy)
        uid = raw["metadata"]["uid"]
        try:
            for action in plan.actions:
                if isinstance(action, StartAttempt | StopAttempt | SuspendAttempt):
                    await self._executor.act(key, uid, action)
        except RefusedError as refused:
            log.warning("the API server refused a child Job: %s", refused, extra=key.log())
            plan = kind.plan(
                replace(observed, refusal=str(refused), refusal_final=refused.final), self._clock(), self._policy
            )
            plan = replace(plan, actions=tuple(a for a in plan.actions if isinstance(a, EmitEvent)))
        for action in plan.actions:
            if isinstance(action, DeleteResource):
                await self._executor.delete(kind, key, action)
                return None
        written = await self._executor.write_status(kind, key, raw, plan.status.to_wire())
        for action in plan.actions if written else ():
            if isinstance(action, EmitEvent):  # after the status: a step taken again does not tell its story twice
                await self._executor.emit(key, raw, action)
        return plan.requeue_after.total_seconds() if plan.requeue_after is not None else None

    def _must_verify(self, observed: ObservedJob, plan: Plan) -> bool:
        """Whether the plan may only be made from what was read just now.

        Besides what plans themselves ask for: Jobs and pods come over two watches, so a finished Job may be seen before
        its pod's last word.
        """
        if plan.verify or observed.foreign or any(isinstance(action, _PAID) for action in plan.actions):
            return True
        latest = observed.children[-1] if observed.children else None
        if latest is None or not latest.done or any(pod.exit_code is not None for pod in latest.pods):
            return False
        return latest.uid not in self._read_pods_of

    def _remember_finished(self, observed: ObservedJob) -> None:
        """The pods of a finished Job were read: that they say nothing is the truth, not a late watch."""
        for child in observed.children:
            if child.done:
                self._read_pods_of[child.uid] = None
        while len(self._read_pods_of) > _REMEMBERED:
            self._read_pods_of.popitem(last=False)

    async def _refresh(self, kind: JobKind, key: Key, uid: str) -> dict[str, Any]:
        """Reads the resource and its children live into the store; returns the resource.

        The pods are read after the Jobs: what a Job says about its pods is then never newer than the pods.
        """
        selector = {"labelSelector": f"{labels.JOB_UID}={uid}"}
        raw, jobs = await asyncio.gather(
            self._executor.read(kind, key, uid), self._list(JOBS, key.namespace, selector, self._store.put_job)
        )
        self._store.retain_jobs_of(uid, *jobs)
        if jobs[0]:
            self._store.retain_pods_of(uid, *await self._list(PODS, key.namespace, selector, self._store.put_pod))
        for name in self._store.foreign(uid):
            await self._look_at_foreign(key, uid, name)
        return raw

    async def _list(
        self, resource: ResourceType, namespace: str, selector: dict[str, str], put: Callable[[dict[str, Any]], None]
    ) -> tuple[set[str], str]:
        page = await self._cluster.request("GET", resource.path(namespace), query=selector)
        for item in page["items"]:
            put(item)
        return {item["metadata"]["uid"] for item in page["items"]}, page["metadata"]["resourceVersion"]

    async def _look_at_foreign(self, key: Key, uid: str, name: str) -> None:
        try:
            job = await self._cluster.get(JOBS, key.namespace, name)
        except ApiError as error:
            if error.status != 404:
                raise
            self._store.drop_foreign(uid, name)
            return
        if owner_of(job) == uid:
            self._store.put_job(job)
            self._store.drop_foreign(uid, name)
