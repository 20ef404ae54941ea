"""The controller of the job kinds: their children are Jobs and pods, read live before a step that costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_kube.client import JOBS, NOT_FOUND, PODS, ApiError, Cluster, ResourceType
from steno_kube.keys import Key
from steno_kube.object_cache import BY_OWNER, BoundedDict, ObjectCache, OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.job_records import is_child
from steno_operator.control.cache.snapshots.job import observe_job
from steno_operator.control.reconcile.controller import Controller, RefusedError
from steno_operator.manifests import labels
from steno_operator.plan.common.plan import Plan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.observed import ObservedJob
from steno_operator.plan.job.planner import plan_job

J = TypeVar("J", TranscriptionJob, OCRJob)


class JobController(Controller[J, ObservedJob, Plan]):
    """A kind whose attempts are child Jobs."""

    def __init__(self, model: type[J], cluster: Cluster, state: ClusterState) -> None:
        super().__init__(model)
        self._cluster = cluster
        self._state = state
        self._read_pods_of: BoundedDict[str, None] = BoundedDict()  # Job UIDs

    def observe(self, key: Key, resource: J) -> ObservedJob:
        """See `Controller`."""
        observed = observe_job(self._state, key, resource)
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

        A resource whose status, just read, names no attempt, and of which no child is known, has at most the Job of
        the first attempt, from before a crash; creating it will show that. A list would only cost time, most of all
        while many jobs start.
        """
        owner = OwnerKey(key.namespace, uid)
        if not self._has_begun(key, owner):
            return
        selector = {"labelSelector": f"{labels.JOB_UID}={uid}"}
        listed, version = await self._list(JOBS, key.namespace, selector, self._state.jobs)
        self._state.jobs.replace_among(self._state.jobs.by_index(BY_OWNER, owner), listed, version)
        if listed:
            pods, version = await self._list(PODS, key.namespace, selector, self._state.pods)
            children = [OwnerKey(job.namespace, job.uid) for job in self._state.jobs.by_index(BY_OWNER, owner)]
            known = [pod for child in children for pod in self._state.pods.by_index(BY_OWNER, child)]
            self._state.pods.replace_among(known, pods, version)
            self._remember_finished(owner)
        for name in self._state.conflicts.get(uid):
            await self._check_conflict(key, uid, name)

    def _has_begun(self, key: Key, owner: OwnerKey) -> bool:
        """Tell whether anything says that an attempt was started, or could not be for a conflicting Job."""
        status = (self._state.resource(key) or {}).get("status") or {}
        children = self._state.jobs.by_index(BY_OWNER, owner)
        return bool(status.get("attempt") or children or self._state.conflicts.get(owner.uid))

    def _remember_finished(self, owner: OwnerKey) -> None:
        """Remember that the pods of finished Jobs were read: that they say nothing is the truth, not a late watch."""
        for job in self._state.jobs.by_index(BY_OWNER, owner):
            if job.value.child.done:
                self._read_pods_of[job.uid] = None

    async def _list(
        self, resource: ResourceType, namespace: str, selector: dict[str, str], cache: ObjectCache[Any]
    ) -> tuple[set[str], str]:
        uids: set[str] = set()
        version = ""
        async for page in self._cluster.pages(resource.path(namespace), selector):  # anyone may label what they make
            version = page["metadata"]["resourceVersion"]
            for item in page["items"]:
                cache.upsert(item)
                uids.add(item["metadata"]["uid"])
        return uids, version

    async def _check_conflict(self, key: Key, uid: str, name: str) -> None:
        try:
            job = await self._cluster.get(JOBS, key.namespace, name)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            self._state.conflicts.remove(uid, name)
            return
        if is_child(job, key, uid):
            self._state.jobs.upsert(job)
            self._state.conflicts.remove(uid, name)
