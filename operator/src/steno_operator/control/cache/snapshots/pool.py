"""Snapshots of pools: their children and servers, and the sessions that want a place."""

from __future__ import annotations

from dataclasses import replace

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_kube.keys import Key
from steno_kube.object_cache import Entry, OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.resource_records import JOBS_BY_POOL, SESSIONS_BY_POOL
from steno_operator.control.cache.snapshots.job import with_warnings
from steno_operator.plan.common.pods import ended
from steno_operator.plan.pool.observed import ObservedDeployment, ObservedPool, ObservedServer


def observe_pool(state: ClusterState, key: Key, pool: RuntimePool) -> ObservedPool:
    """Return everything that is observed about a pool.

    Args:
        state: what is observed.
        key: the pool's key.
        pool: the resource, parsed.
    """
    owner = OwnerKey(key.namespace, pool.metadata.uid)
    places = (session.value.place for session in state.resources.by_index(SESSIONS_BY_POOL, key))
    jobs = (job.value.queued for job in state.resources.by_index(JOBS_BY_POOL, key))
    service = next(iter(state.owned(state.services, owner)), None)
    return ObservedPool(
        pool=pool,
        profile=state.profile(pool.spec.profile_ref.name),
        deployment=_deployment(state, owner),
        service_digest=None if service is None else service.value,
        servers=tuple(_with_warning(state, server) for server in state.owned(state.servers, owner)),
        sessions=sum(place is not None and place.needs_place for place in places),
        jobs=sum(job is not None and job.needs_server for job in jobs),
        admission=state.admission(owner, requested_tenant=pool.spec.tenant_name),
        token_keys=() if state.token_keys is None else tuple(state.token_keys.accepted.values()),
        held_keys=frozenset(() if state.token_keys is None else state.token_keys.held.values()),
        conflicting=state.conflicts.get(owner.uid),
    )


def pool_occupies_quota(state: ClusterState, owner: OwnerKey) -> bool:
    """Tell whether a pool has servers, or may: what they occupy is not free."""
    deployment = _deployment(state, owner)
    may = deployment is not None and (deployment.replicas > 0 or deployment.total > 0)
    return may or any(not ended(server.value.pod) for server in state.owned(state.servers, owner))


def _deployment(state: ClusterState, owner: OwnerKey) -> ObservedDeployment | None:
    return next((each.value for each in state.owned(state.deployments, owner)), None)


def _with_warning(state: ClusterState, server: Entry[ObservedServer]) -> ObservedServer:
    [pod] = with_warnings(state, server.namespace, [server.value.pod])
    return server.value if pod is server.value.pod else replace(server.value, pod=pod)
