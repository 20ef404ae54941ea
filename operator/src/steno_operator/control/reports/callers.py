"""Whose pod a caller is: a worker of a job's attempt, or a server of a pool."""

from __future__ import annotations

from steno_api.model import ObjectRef
from steno_kube.keys import Key
from steno_kube.object_cache import Entry, OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.resource_records import POOL_KIND
from steno_operator.control.reports.token_review import PodIdentity
from steno_operator.plan.pool.observed import ObservedServer

NOT_A_SERVER = 403, {"message": "the token is not that of a server of this pool"}
"""The answer to a report of a pod that `server_of` does not believe."""


def attempt_of(state: ClusterState, caller: PodIdentity, owner: OwnerKey) -> int | None:
    """Return the attempt that a pod works on if it is a pod of that job, in the job's own namespace.

    Args:
        state: what is observed.
        caller: the pod.
        owner: the job.
    """
    pod = state.pods.get(caller.pod_uid)
    child = None if pod is None or pod.owner is None else state.job(pod.owner)
    return (
        None
        if child is None or child not in state.children(owner) or caller.namespace != owner.namespace
        else child.value.child.attempt
    )


def server_of(state: ClusterState, caller: PodIdentity, pool: ObjectRef) -> Entry[ObservedServer] | None:
    """Return the pod that reports, if it is a server of a pool: its labels and the names of what controls it say so."""
    owner, named = OwnerKey(pool.namespace, pool.uid), Key(POOL_KIND, pool.namespace, pool.name)
    server, resource = state.servers.get(caller.pod_uid), state.owner(owner)
    if server is None or (server.namespace, server.owner) != (caller.namespace, owner):
        return None
    believed = server.owner_name == named.name and (resource is None or resource.key == named)
    return server if believed else None
