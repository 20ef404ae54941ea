"""Snapshots of sessions: their pool, their place in its queue, and what servers report of them."""

from __future__ import annotations

import pydantic

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.streamsession import StreamSession
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.cluster_state import SERVERS_BY_NAME, ClusterState
from steno_operator.control.cache.resource_records import BY_KEY, POOL_KIND, pool_of
from steno_operator.plan.common.pods import ended
from steno_operator.plan.pool.places import sessions_ahead
from steno_operator.plan.session.observed import ObservedSession


def observe_session(state: ClusterState, key: Key, session: StreamSession) -> ObservedSession:
    """Return everything that is observed about a session.

    Args:
        state: what is observed.
        key: the session's key.
        session: the resource, parsed.
    """
    uid, holder = session.metadata.uid, state.tenant_of(key.namespace)
    keys = state.token_keys
    return ObservedSession(
        session=session,
        pool=_pool(state, Key(POOL_KIND, key.namespace, session.spec.pool_ref.name)),
        admission=state.admission(OwnerKey(key.namespace, uid), requested_tenant=session.spec.tenant_name),
        holder=None if holder is None else holder.name,
        ahead=places_ahead(state, key),
        key_id="" if keys is None else keys.active.key_id,
        accepted_keys=frozenset(() if keys is None else keys.accepted),
        connection=state.connections.get(uid),
        silent=_is_silent(state, key.namespace, session.status.pod_name),
        uploads=state.uploads.work(OwnerKey(key.namespace, uid)),
        stats_due=state.status_writes.is_due(uid),
    )


def places_ahead(state: ClusterState, key: Key) -> int:
    """Return how many sessions of its pool get a place before this one."""
    found = state.resources.by_index(BY_KEY, key)
    place = found[0].value.place if found else None
    return 0 if place is None else sessions_ahead(state.place_queues.get(pool_of(place)), place)


def _pool(state: ClusterState, key: Key) -> RuntimePool | None:
    """Return a pool; one that cannot be read (stored under another schema) counts as absent."""
    raw = state.resource(key)
    try:
        return None if raw is None else RuntimePool.from_wire(raw)
    except pydantic.ValidationError:
        return None


def _is_silent(state: ClusterState, namespace: str, pod: str | None) -> bool:
    """Tell whether a server's pod is there and has not reported since this operator began."""
    servers = state.servers.by_index(SERVERS_BY_NAME, (namespace, pod or ""))
    return any(
        not state.connections.has_reported(server.uid) and not ended(server.value.pod) for server in servers[-1:]
    )
