"""Executor of pools' and sessions' actions. Each may be the last before a crash, and can be taken again."""

from __future__ import annotations

import logging
from typing import Any

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_kube.client import (
    CONFLICT,
    DEPLOYMENTS,
    NOT_FOUND,
    ONE_METADATA,
    SECRETS,
    SERVICES,
    ApiError,
    Cluster,
)
from steno_kube.keys import Key, controller_uid
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.kube.signing import Signer
from steno_operator.control.reconcile.controller import resource_type
from steno_operator.control.reconcile.executor import ActionHandler, refusal
from steno_operator.control.reconcile.work_queue import RetryError
from steno_operator.manifests.session_token import with_token
from steno_operator.plan.common.plan import ApplyChild, CreatePool, IssueToken

log = logging.getLogger(__name__)

CHILDREN = {"Deployment": DEPLOYMENTS, "Service": SERVICES}


class PoolActions:
    """Applies children, creates pools, issues tokens; every answer goes into the caches."""

    def __init__(self, cluster: Cluster, state: ClusterState, signer: Signer) -> None:
        self._cluster = cluster
        self._state = state
        self._signer = signer
        self._caches = {"Deployment": state.deployments, "Service": state.services}

    @property
    def handlers(self) -> dict[type, ActionHandler]:
        """The handler of each type of action."""
        return {ApplyChild: self._apply, CreatePool: self._create_pool, IssueToken: self._issue}

    async def _apply(self, key: Key, uid: str, action: ApplyChild) -> None:
        """Apply a child whole. What exists is read first: an apply would take over anything of that name."""
        manifest = action.manifest
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        existing = await self._read(key, kind, name)
        if existing is not None and (controller_uid(existing) != uid or "deletionTimestamp" in existing["metadata"]):
            self._state.conflicts.add(uid, kind)
            raise RetryError(f"{kind} {name} belongs to something else", after=0)
        if existing is not None:
            manifest = {**manifest, "metadata": {**manifest["metadata"], "uid": existing["metadata"]["uid"]}}
        try:
            # Not by force where nothing existed: what was created there meanwhile is not taken over.
            answer = await self._cluster.apply(CHILDREN[kind], manifest, force=existing is not None)
        except ApiError as error:
            if error.status == CONFLICT:
                raise RetryError(f"{kind} {name} is not the one planned for: {error.message}") from None
            raise refusal(error) from None
        self._caches[kind].upsert(answer)
        log.info("applied %s %s", kind, name, extra=key.log())

    async def _read(self, key: Key, kind: str, name: str) -> dict[str, Any] | None:
        try:
            return await self._cluster.get(CHILDREN[kind], key.namespace, name)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return None

    async def _create_pool(self, key: Key, uid: str, action: CreatePool) -> None:  # noqa: ARG002 - one signature for all actions
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
                raise RetryError(f"RuntimePool {name} existed and is gone") from None
        else:
            log.info("created RuntimePool %s", name, extra=key.log())
        self._state.resources.upsert(pool)

    async def _issue(self, key: Key, uid: str, action: IssueToken) -> None:  # noqa: ARG002 - one signature for all actions
        if self._signer.key is None:
            raise RetryError("there is no key to sign with")
        secret = with_token(action.secret, self._signer.key.sign(action.claims))
        try:
            # By force, and unread: the name holds part of the session's UID, and the operator may not read Secrets.
            await self._cluster.apply(SECRETS, secret, force=True, accept=ONE_METADATA)
        except ApiError as error:
            raise refusal(error) from None
        log.info("issued a token", extra=key.log())
