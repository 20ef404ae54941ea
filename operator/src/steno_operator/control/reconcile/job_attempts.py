"""Attempts as child Jobs (batch/v1): created, read with their pods, suspended and deleted through the API server."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from steno_kube.client import CONFLICT, JOBS, NOT_FOUND, PODS, ApiError, Cluster, ResourceType
from steno_kube.keys import Key
from steno_kube.object_cache import BY_OWNER, BoundedDict, ObjectCache, OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.job_records import is_child
from steno_operator.control.reconcile.executor import ActionHandler, refusal
from steno_operator.control.reconcile.work_queue import RetryError
from steno_operator.manifests import labels
from steno_operator.plan.common.plan import SetDeadline, StartAttempt, StopAttempt, SuspendAttempt
from steno_operator.plan.job.observed import ObservedJob
from steno_operator.telemetry import metrics

log = logging.getLogger(__name__)


class JobAttempts:
    """Attempts that Kubernetes carries out; every answer goes into the caches. Implements `Attempts`."""

    def __init__(self, cluster: Cluster, state: ClusterState) -> None:
        self._cluster = cluster
        self._state = state
        self._read_pods_of: BoundedDict[str, None] = BoundedDict()  # Job UIDs

    @property
    def handlers(self) -> dict[type, ActionHandler]:
        """See `Attempts`."""
        return {
            StartAttempt: self.start,
            StopAttempt: self.stop,
            SuspendAttempt: self._suspend,
            SetDeadline: self._set_deadline,
        }

    def observe(self, observed: ObservedJob) -> ObservedJob:
        """See `Attempts`. The caches have all of it but how their answers came."""
        children = (replace(each, pods_read_live=each.uid in self._read_pods_of) for each in observed.children)
        return replace(observed, children=tuple(children))

    async def refresh(self, key: Key, uid: str) -> None:
        """See `Attempts`.

        The pods are read after the Jobs: what a Job says about its pods is then never newer than the pods.

        A resource whose status, just read, names no attempt, and of which no child is known, has at most the Job of
        the first attempt, from before a crash; creating it will show that. A list would only cost time, most of all
        while many jobs start.
        """
        owner = OwnerKey(key.namespace, uid)
        if not self._has_begun(key, owner) or await self._read_success(key, owner):
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

    async def _read_success(self, key: Key, owner: OwnerKey) -> bool:
        """Read the only Job of a resource and its only pod by name if it succeeded; tell whether they still say so.

        Most jobs end so, and a list costs the API server far more: it waits until the watch cache is as new as etcd,
        then looks at every object of the namespace. Whatever is not a plain success is read by lists.
        """
        names = self._succeeded(owner)
        if names is None:
            return False
        job, pod = names
        try:
            self._state.jobs.upsert(await self._cluster.get(JOBS, key.namespace, job))
            self._state.pods.upsert(await self._cluster.get(PODS, key.namespace, pod))
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return self._succeeded(owner) == names

    def _succeeded(self, owner: OwnerKey) -> tuple[str, str] | None:
        """Return the names of the only Job of a resource and of its only pod, if that is known to have succeeded.

        The Job itself says so later than its pod.
        """
        jobs = self._state.jobs.by_index(BY_OWNER, owner)
        pods = [pod for job in jobs for pod in self._state.pods.by_index(BY_OWNER, OwnerKey(job.namespace, job.uid))]
        if len(jobs) != 1 or len(pods) != 1 or self._state.conflicts.get(owner.uid):
            return None
        child, pod = jobs[0].value.child, pods[0].value.pod
        return (child.name, pod.name) if pod.exit_code == 0 and not child.failed else None

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

    async def start(self, key: Key, uid: str, action: StartAttempt) -> None:
        """See `Attempts`."""
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

    async def stop(self, key: Key, uid: str, action: StopAttempt) -> None:  # noqa: ARG002 - one signature for all actions
        """See `Attempts`."""
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
