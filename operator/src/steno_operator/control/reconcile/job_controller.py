"""The controller of the job kinds: their children are Jobs and pods, read live before a step that costs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.client import JOBS, PODS, ApiError, Cluster, ResourceType
from steno_operator.control.kube.keys import Key
from steno_operator.control.reconcile.controller import Controller, RefusedError
from steno_operator.control.reconcile.executor import owner_of
from steno_operator.manifests import labels
from steno_operator.plan.common.plan import Plan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.observed import ObservedJob
from steno_operator.plan.job.planner import plan_job

_REMEMBERED = 10_000

J = TypeVar("J", TranscriptionJob, OCRJob)


class JobController(Controller[J, ObservedJob, Plan]):
    """A kind whose attempts are child Jobs."""

    def __init__(self, model: type[J], cluster: Cluster, store: Store) -> None:
        super().__init__(model)
        self._cluster = cluster
        self._store = store
        self._read_pods_of: OrderedDict[str, None] = OrderedDict()  # Job UIDs

    def observe(self, key: Key, resource: J) -> ObservedJob:
        """See `Controller`."""
        observed = self._store.snapshot(key, resource)
        children = (replace(each, pods_read_live=each.uid in self._read_pods_of) for each in observed.children)
        return replace(observed, children=tuple(children))

    def plan(self, observed: ObservedJob, now: datetime, policy: Policy) -> Plan:
        """See `Controller`."""
        return plan_job(observed, now, policy)

    def with_refusal(self, observed: ObservedJob, refusal: RefusedError) -> ObservedJob:
        """See `Controller`."""
        return replace(observed, refusal=str(refusal), refusal_final=refusal.final)

    async def refresh(self, key: Key, uid: str) -> None:
        """See `Controller`.

        The pods are read after the Jobs: what a Job says about its pods is then never newer than the pods.

        Of a resource whose status, just read, tells of no attempt, and of whose children none is known, there can be
        at most the first attempt's Job, from before a crash; creating it says so. A list would only cost time, most
        of all while many jobs start.
        """
        if not self._store.began(key, uid):
            return
        selector = {"labelSelector": f"{labels.JOB_UID}={uid}"}
        jobs = await self._list(JOBS, key.namespace, selector, self._store.put_job)
        self._store.retain_jobs_of(uid, *jobs)
        if jobs[0]:
            self._store.retain_pods_of(uid, *await self._list(PODS, key.namespace, selector, self._store.put_pod))
            self._remember_finished(uid)
        for name in self._store.foreign(uid):
            await self._look_at_foreign(key, uid, name)

    def _remember_finished(self, uid: str) -> None:
        """The pods of a finished Job were read: that they say nothing is the truth, not a late watch."""
        for job in self._store.finished_jobs_of(uid):
            self._read_pods_of[job] = None
        while len(self._read_pods_of) > _REMEMBERED:
            self._read_pods_of.popitem(last=False)

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
