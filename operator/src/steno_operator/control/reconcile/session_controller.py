"""The controller of StreamSessions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.streamsession import StreamSession
from steno_operator.control.cache.pool_store import POOL_KIND
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.keys import Key
from steno_operator.control.kube.signing import Signer
from steno_operator.control.reconcile.controller import Controller, RefusedError, UnreadableError, parse
from steno_operator.plan.common.plan import SessionPlan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.session.observed import ObservedSession
from steno_operator.plan.session.planner import plan_session


class SessionController(Controller[StreamSession, ObservedSession, SessionPlan]):
    """StreamSessions. All that a session is planned from is watched or reported; only the resource is read live."""

    def __init__(self, store: Store, signer: Signer) -> None:
        super().__init__(StreamSession)
        self._store = store
        self._signer = signer

    def observe(self, key: Key, resource: StreamSession) -> ObservedSession:
        """See `Controller`."""
        pools, uid, signing = self._store.pools, resource.metadata.uid, self._signer.key
        pool = self._pool(Key(POOL_KIND, key.namespace, resource.spec.pool_ref.name))
        return ObservedSession(
            session=resource,
            pool=pool,
            admission=self._store.tenancy.admission(key, uid, claimed=resource.spec.tenant_name),
            ahead=pools.ahead(key),
            key_id="" if signing is None else signing.key_id,
            connection=pools.connection(uid),
            silent=pools.silent(key.namespace, resource.status.pod_name),
            figures_due=self._store.write_due(uid),
        )

    def _pool(self, key: Key) -> RuntimePool | None:
        """Returns a pool; one that cannot be read (stored under another schema) counts as absent."""
        raw = self._store.resource(key)
        try:
            return None if raw is None else parse(RuntimePool, raw)
        except UnreadableError:
            return None

    def plan(self, observed: ObservedSession, now: datetime, policy: Policy) -> SessionPlan:
        """See `Controller`."""
        return plan_session(observed, now, policy)

    def with_refusal(self, observed: ObservedSession, refusal: RefusedError) -> ObservedSession:
        """See `Controller`."""
        return replace(observed, refusal=str(refusal))
