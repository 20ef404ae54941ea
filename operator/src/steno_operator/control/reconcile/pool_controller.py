"""The controller of RuntimePools."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.client import ApiError, Cluster
from steno_operator.control.kube.keys import Key
from steno_operator.control.kube.signing import Signer
from steno_operator.control.reconcile.controller import Controller, RefusedError
from steno_operator.control.reconcile.executor import NOT_FOUND, owner_of
from steno_operator.control.reconcile.pool_actions import CHILDREN
from steno_operator.manifests.labels import pool_child_name
from steno_operator.plan.common.plan import PoolPlan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.pool.observed import ObservedPool
from steno_operator.plan.pool.planner import plan_pool


class PoolController(Controller[RuntimePool, ObservedPool, PoolPlan]):
    """RuntimePools: a Deployment and a Service each."""

    def __init__(self, cluster: Cluster, store: Store, signer: Signer) -> None:
        super().__init__(RuntimePool)
        self._cluster = cluster
        self._store = store
        self._signer = signer

    def observe(self, key: Key, resource: RuntimePool) -> ObservedPool:
        """See `Controller`."""
        pools, uid, signing = self._store.pools, resource.metadata.uid, self._signer.key
        return ObservedPool(
            pool=resource,
            profile=self._store.profile(resource.spec.profile_ref.name),
            deployment=pools.deployment(uid),
            service_digest=pools.service_digest(uid),
            servers=pools.servers(uid),
            sessions=pools.wanted(key),
            admission=self._store.tenancy.admission(key, uid, claimed=resource.spec.tenant_name),
            token_keys=() if signing is None else (signing.public_pem,),
            foreign=pools.foreign(uid),
        )

    def plan(self, observed: ObservedPool, now: datetime, policy: Policy) -> PoolPlan:
        """See `Controller`."""
        return plan_pool(observed, now, policy)

    async def refresh(self, key: Key, uid: str) -> None:
        """See `Controller`."""
        for kind in self._store.pools.foreign(uid):
            try:
                standing = await self._cluster.get(CHILDREN[kind], key.namespace, pool_child_name(key.name))
            except ApiError as error:
                if error.status != NOT_FOUND:
                    raise
                self._store.pools.drop_foreign(uid, kind)
                continue
            if owner_of(standing) == uid and "deletionTimestamp" not in standing["metadata"]:
                self._store.pools.drop_foreign(uid, kind)

    def with_refusal(self, observed: ObservedPool, refusal: RefusedError) -> ObservedPool:
        """See `Controller`."""
        return replace(observed, refusal=str(refusal), refusal_final=refusal.final)
