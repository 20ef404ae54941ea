"""RuntimePools' half of reconciling."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.client import ApiError, Cluster
from steno_operator.control.kube.keys import Key
from steno_operator.control.kube.signing import Signer
from steno_operator.control.reconcile.controller import RefusedError
from steno_operator.control.reconcile.executor import NOT_FOUND, owner_of
from steno_operator.control.reconcile.pool_actions import CHILDREN
from steno_operator.manifests.labels import pool_child_name
from steno_operator.plan.common.plan import PoolPlan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.pool.observed import ObservedPool
from steno_operator.plan.pool.planner import plan_pool


class PoolKind:
    """RuntimePool. See `Kind`."""

    model = RuntimePool

    def __init__(self, cluster: Cluster, store: Store, signer: Signer) -> None:
        self._cluster = cluster
        self._store = store
        self._signer = signer

    def observe(self, key: Key, resource: RuntimePool) -> ObservedPool:
        """See `Kind`."""
        pools, uid, signing = self._store.pools, resource.metadata.uid, self._signer.key
        return ObservedPool(
            pool=resource,
            profile=self._store.profile(resource.spec.profile),
            deployment=pools.deployment(uid),
            service_digest=pools.service_digest(uid),
            servers=pools.servers(uid),
            sessions=pools.wanted(key),
            admission=self._store.tenancy.admission(key, uid, claimed=resource.spec.tenant),
            token_keys=() if signing is None else (signing.public_pem,),
            foreign=pools.foreign(uid),
        )

    def plan(self, observed: ObservedPool, now: datetime, policy: Policy) -> PoolPlan:
        """See `Kind`."""
        return plan_pool(observed, now, policy)

    def must_verify(self, observed: ObservedPool, plan: PoolPlan) -> bool:
        """See `Kind`. What stands in a child's place is no child of ours, so no watch tells when it goes."""
        return plan.verify or bool(observed.foreign)

    async def refresh(self, key: Key, uid: str) -> None:
        """See `Kind`."""
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

    def refused(self, observed: ObservedPool, refusal: RefusedError) -> ObservedPool:
        """See `Kind`."""
        return replace(observed, refusal=str(refusal), refusal_final=refusal.final)
