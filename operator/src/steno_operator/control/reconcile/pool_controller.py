"""The controller of RuntimePools.

Separate because every kind has its controller in a file of its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_kube.client import NOT_FOUND, ApiError, Cluster
from steno_kube.keys import Key, controller_uid
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.snapshots.pool import observe_pool
from steno_operator.control.reconcile.controller import Controller, RefusedError
from steno_operator.control.reconcile.pool_actions import CHILDREN
from steno_operator.manifests.labels import pool_child_name
from steno_operator.plan.common.plan import PoolPlan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.pool.observed import ObservedPool
from steno_operator.plan.pool.planner import plan_pool


class PoolController(Controller[RuntimePool, ObservedPool, PoolPlan]):
    """RuntimePools: a Deployment and a Service each."""

    def __init__(self, cluster: Cluster, state: ClusterState) -> None:
        super().__init__(RuntimePool)
        self._cluster = cluster
        self._state = state

    def observe(self, key: Key, resource: RuntimePool) -> ObservedPool:
        """See `Controller`."""
        return observe_pool(self._state, key, resource)

    def plan(self, observed: ObservedPool, now: datetime, policy: Policy) -> PoolPlan:
        """See `Controller`."""
        return plan_pool(observed, now, policy)

    async def refresh(self, key: Key, uid: str) -> None:
        """See `Controller`."""
        for kind in self._state.conflicts.get(uid):
            try:
                existing = await self._cluster.get(CHILDREN[kind], key.namespace, pool_child_name(key.name))
            except ApiError as error:
                if error.status != NOT_FOUND:
                    raise
                self._state.conflicts.remove(uid, kind)
                continue
            if controller_uid(existing) == uid and "deletionTimestamp" not in existing["metadata"]:
                self._state.conflicts.remove(uid, kind)

    def with_refusal(self, observed: ObservedPool, refusal: RefusedError) -> ObservedPool:
        """See `Controller`."""
        return replace(observed, refusal=str(refusal), refusal_final=refusal.final)
