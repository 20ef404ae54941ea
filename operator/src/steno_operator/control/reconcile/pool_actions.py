"""The steps of pools' and sessions' plans. Each may be the last before a crash: each can be taken again, by anyone."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_operator.control.cache.pool_store import POOL_KIND
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.client import DEPLOYMENTS, ONE_METADATA, SECRETS, SERVICES, ApiError, Cluster
from steno_operator.control.kube.keys import Key
from steno_operator.control.kube.signing import Signer
from steno_operator.control.reconcile.controller import resource_type
from steno_operator.control.reconcile.executor import CONFLICT, NOT_FOUND, owner_of, refusal
from steno_operator.control.reconcile.work_queue import RetryError
from steno_operator.manifests.session_token import with_token
from steno_operator.plan.common.plan import ApplyChild, CreatePool, IssueToken

log = logging.getLogger(__name__)

CHILDREN = {"Deployment": DEPLOYMENTS, "Service": SERVICES}


class PoolSteps:
    """Applies children, makes pools, issues tokens; puts every answer into the store."""

    def __init__(self, cluster: Cluster, store: Store, signer: Signer) -> None:
        self._cluster = cluster
        self._store = store
        self._signer = signer
        self._put = {"Deployment": store.pools.put_deployment, "Service": store.pools.put_service}

    @property
    def steps(self) -> dict[type, Callable[[Key, str, Any], Awaitable[None]]]:
        """Returns the step of each action."""
        return {ApplyChild: self._apply, CreatePool: self._create_pool, IssueToken: self._issue}

    async def _apply(self, key: Key, uid: str, action: ApplyChild) -> None:
        """Applies a child whole. What stands there is read first: an apply would take over anything of that name."""
        manifest = action.manifest
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        standing = await self._standing(key, kind, name)
        if standing is not None and (owner_of(standing) != uid or "deletionTimestamp" in standing["metadata"]):
            self._store.pools.put_foreign(uid, kind)
            raise RetryError(f"{kind} {name} belongs to something else", after=0)
        if standing is not None:
            manifest = {**manifest, "metadata": {**manifest["metadata"], "uid": standing["metadata"]["uid"]}}
        try:
            # Not by force where nothing stood: whatever came there meanwhile is not taken over.
            answer = await self._cluster.apply(CHILDREN[kind], manifest, force=standing is not None)
        except ApiError as error:
            if error.status == CONFLICT:
                raise RetryError(f"{kind} {name} is not the one planned for: {error.message}") from None
            raise refusal(error) from None
        self._put[kind](answer)
        log.info("applied %s %s", kind, name, extra=key.log())

    async def _standing(self, key: Key, kind: str, name: str) -> dict[str, Any] | None:
        try:
            return await self._cluster.get(CHILDREN[kind], key.namespace, name)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return None

    async def _create_pool(self, key: Key, uid: str, action: CreatePool) -> None:  # noqa: ARG002 - one shape for all
        pools, name = resource_type(RuntimePool.definition), action.manifest["metadata"]["name"]
        try:
            pool = await self._cluster.create(pools, key.namespace, action.manifest)
        except ApiError as error:
            if error.status != CONFLICT:
                raise refusal(error) from None
            try:
                pool = await self._cluster.get(pools, key.namespace, name)
            except ApiError as again:
                if again.status != NOT_FOUND:
                    raise
                raise RetryError(f"RuntimePool {name} was there and is gone") from None
        else:
            log.info("made RuntimePool %s", name, extra=key.log())
        self._store.put_resource(POOL_KIND, pool)

    async def _issue(self, key: Key, uid: str, action: IssueToken) -> None:  # noqa: ARG002 - one shape for all steps
        if self._signer.key is None:
            raise RetryError("there is no key to sign with")
        secret = with_token(action.secret, self._signer.key.sign(action.claims))
        try:
            # By force, and unread: the name holds part of the session's UID, and the operator may not read Secrets.
            await self._cluster.apply(SECRETS, secret, force=True, accept=ONE_METADATA)
        except ApiError as error:
            raise refusal(error) from None
        log.info("issued a token", extra=key.log())
