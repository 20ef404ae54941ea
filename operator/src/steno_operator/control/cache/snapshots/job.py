"""Snapshots of jobs: their children with pods and warnings, and what else their plans are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pydantic

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_kube.keys import Key
from steno_kube.object_cache import BY_OWNER, Entry, OwnerKey
from steno_operator.control.cache.attempt_reports import Server
from steno_operator.control.cache.cluster_state import JOBS_BY_RESOURCE_NAME, SERVERS_BY_NAME, ClusterState
from steno_operator.control.cache.job_records import JobRecord, WarningEvent, warning_id
from steno_operator.control.cache.resource_records import BY_KIND, JOBS_BY_POOL, POOL_KIND, SESSIONS_BY_POOL
from steno_operator.plan.common.carriers import Mode
from steno_operator.plan.common.pods import ObservedPod, ended
from steno_operator.plan.job.observed import (
    Deadline,
    Job,
    ObservedChild,
    ObservedJob,
    PoolLoad,
    carrier_of_job,
    pool_name_of,
)


def observe_job(state: ClusterState, key: Key, job: Job) -> ObservedJob:
    """Return everything that is observed about a job.

    Args:
        state: what is observed.
        key: the job's key.
        job: the resource, parsed.
    """
    carrier = carrier_of_job(job)
    return _observe_unchosen(state, key, job) if carrier is None else SNAPSHOTS[carrier.mode](state, key, job)


def _observe_unchosen(state: ClusterState, key: Key, job: Job) -> ObservedJob:
    """Return a job with the pools that one may be chosen of: those of its namespace, with what they have to do."""
    pools: list[PoolLoad] = []
    for entry in state.resources.by_index(BY_KIND, POOL_KIND):
        named = entry.value.key
        if named.namespace == key.namespace and (pool := _pool(state, named)) is not None:
            jobs, sessions = (len(state.resources.by_index(index, named)) for index in (JOBS_BY_POOL, SESSIONS_BY_POOL))
            pools.append(PoolLoad(pool, jobs + sessions))
    return ObservedJob(job=job, profile=None, pools=tuple(pools))


def _observe_child_jobs(state: ClusterState, key: Key, job: Job) -> ObservedJob:
    owner = OwnerKey(key.namespace, job.metadata.uid)
    children = observe_children(state, owner)
    gpus = state.accelerators(owner, job.spec.profile_ref.name) or 0
    return ObservedJob(
        job=job,
        profile=state.profile(job.spec.profile_ref.name),
        children=tuple(children),
        admission=state.admission(owner, requested_tenant=job.spec.tenant_name, gpus=gpus),
        deadline_limit=_deadline_limit(state, owner.namespace),
        conflicting=_conflicting_names(state, key, owner),
        progress=state.progress.get(owner.uid, children[-1].attempt if children else 0),
        progress_due=state.status_writes.is_due(owner.uid),
        work=state.work(owner),
        reported=state.progress.work(owner.uid),
    )


def _observe_messages(state: ClusterState, key: Key, job: Job) -> ObservedJob:
    owner = OwnerKey(key.namespace, job.metadata.uid)
    message = state.attempts.get(owner)
    attempt = max(job.status.attempt, 0 if message is None else message.attempt)
    return ObservedJob(
        job=job,
        profile=None,
        pool=_pool(state, Key(POOL_KIND, owner.namespace, pool_name_of(job))),
        message=message,
        admission=state.admission(owner, requested_tenant=job.spec.tenant_name),
        deadline_limit=_deadline_limit(state, owner.namespace),
        progress=state.progress.get(owner.uid, attempt),
        progress_due=state.status_writes.is_due(owner.uid),
        work=state.work(owner),
        reported=state.progress.work(owner.uid),
    )


def _deadline_limit(state: ClusterState, namespace: str) -> Deadline | None:
    """Return the longest deadline that the Tenant of a namespace allows."""
    tenant = state.tenant_of(namespace)
    if tenant is None or tenant.max_active_deadline is None:
        return None
    return Deadline(tenant.max_active_deadline, tenant.name)


SNAPSHOTS: Mapping[Mode, Callable[[ClusterState, Key, Job], ObservedJob]] = {
    "Job": _observe_child_jobs,
    "Pool": _observe_messages,
}
"""What is observed of a job, by what carries its attempts out."""


def _pool(state: ClusterState, key: Key) -> RuntimePool | None:
    """Return a pool; one that cannot be read (stored under an older schema) counts as absent."""
    raw = state.resource(key)
    try:
        return None if raw is None else RuntimePool.from_wire(raw)
    except pydantic.ValidationError:
        return None


def server_named(state: ClusterState, namespace: str, name: str | None) -> Server | None:
    """Return a pool's server whose pod has not ended, by the pod's name.

    Args:
        state: what is observed.
        namespace: of the pod.
        name: its name, if it is known.
    """
    found = state.servers.by_index(SERVERS_BY_NAME, (namespace, name)) if name else ()
    pods = (Server(one.uid, one.value.pod.name, one.value.pod.node) for one in found if not ended(one.value.pod))
    return next(pods, None)


def observe_children(state: ClusterState, owner: OwnerKey) -> list[ObservedChild]:
    """Return the child Jobs of a resource, by attempt."""
    return [observe_child(state, job) for job in state.children(owner)]


def pods_of_job(state: ClusterState, job: Entry[JobRecord]) -> list[ObservedPod]:
    """Return the pods that a Job owns, oldest first, without warnings."""
    pods = [pod.value.pod for pod in state.pods.by_index(BY_OWNER, OwnerKey(job.namespace, job.uid))]
    return sorted(pods, key=lambda pod: ((pod.created is not None and pod.created.isoformat()) or "", pod.name))


def with_warnings(state: ClusterState, namespace: str, pods: Iterable[ObservedPod]) -> tuple[ObservedPod, ...]:
    """Return the pods with what Events say of those whose container has not started.

    Args:
        state: what is observed.
        namespace: that of the pods.
        pods: without warnings.
    """
    return tuple(
        replace(pod, warning=said.message, warning_reason=said.reason, warned=said.time)
        if not pod.started and (said := warning_about(state, OwnerKey(namespace, pod.uid))) is not None
        else pod
        for pod in pods
    )


def warning_about(state: ClusterState, about: OwnerKey) -> WarningEvent | None:
    """Return the latest warning about an object."""
    warning = state.warnings.get(warning_id(about))
    return None if warning is None else warning.value


def observe_child(state: ClusterState, job: Entry[JobRecord]) -> ObservedChild:
    """Return a Job with its pods, and what warnings say of both."""
    pods = with_warnings(state, job.namespace, pods_of_job(state, job))
    said = warning_about(state, OwnerKey(job.namespace, job.uid))
    return replace(job.value.child, warning="" if said is None else said.message, pods=pods)


def _conflicting_names(state: ClusterState, key: Key, owner: OwnerKey) -> frozenset[str]:
    """Return Jobs found when one was to be created, and those that the watch shows to be controlled by another."""
    named = state.jobs.by_index(JOBS_BY_RESOURCE_NAME, (key.namespace, key.name))
    own = {job.uid for job in state.children(owner)}
    return state.conflicts.get(owner.uid) | {job.value.child.name for job in named if job.uid not in own}
