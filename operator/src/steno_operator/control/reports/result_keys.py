"""Result keys for workers and servers: like a TokenRequest, a POST that is answered with a secret of the caller's own.

A pod gets the keys of the job that it works on; a server those of the jobs and sessions of its pool. So who may write
to an object store, and is no such pod, cannot write what their workers would take for results.

Separate because it is the one endpoint that gives a secret away.
"""

from __future__ import annotations

from typing import Any

from steno_api.worker.result_keys import ResultKeyRequest, ResultKeys
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.resource_records import POOL_KIND, ResourceRecord, pool_of
from steno_operator.control.reports.callers import attempt_of, server_of
from steno_operator.control.reports.token_review import PodIdentity


def take_result_key_request(
    state: ClusterState, caller: PodIdentity, request: ResultKeyRequest
) -> tuple[int, dict[str, Any]]:
    """Answer a worker or server; return the HTTP status and the body.

    Never 404, by which callers know an operator without such keys.

    Args:
        state: what is observed.
        caller: the pod whose token came with the request.
        request: whose keys it wants.
    """
    owner = OwnerKey(request.resource.namespace, request.resource.uid)
    resource = state.owner(owner)
    if resource is None or resource.key.name != request.resource.name:
        return 409, {"message": "no such job or session"}
    if not _works_on(state, caller, request, resource):
        return 403, {"message": "the token is not that of a pod that works on it"}
    if state.token_keys is None:
        return 503, {"message": "the operator has no keys now"}
    keys = state.token_keys.result_keys(owner.namespace, owner.uid)
    return 200, ResultKeys(keys=[key.hex() for key in keys]).to_wire()


def _works_on(state: ClusterState, caller: PodIdentity, request: ResultKeyRequest, resource: ResourceRecord) -> bool:
    """Tell whether a pod is a worker of a job, or a server of the pool that the job or session is of."""
    if request.pool is None:
        return attempt_of(state, caller, OwnerKey(resource.key.namespace, request.resource.uid)) is not None
    pool = Key(POOL_KIND, request.pool.namespace, request.pool.name)
    named = resource.pool if resource.place is None else pool_of(resource.place)
    return named == pool and server_of(state, caller, request.pool) is not None
