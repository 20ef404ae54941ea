"""The controller of Tenants, and the writes of their quotas: reservations first, then the status that sums them up."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from steno_api.v1alpha1.tenant import Tenant
from steno_api.v1alpha1.tenantquota import TenantQuota
from steno_kube.client import CONFLICT, NOT_FOUND, ApiError, Cluster
from steno_kube.keys import Key, controller_uid
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.snapshots.tenant import observe_tenant
from steno_operator.control.reconcile.controller import Controller, RefusedError, resource_type
from steno_operator.control.reconcile.executor import ActionHandler, merge_patch, refusal
from steno_operator.control.reconcile.work_queue import RetryError
from steno_operator.plan.common.plan import CreateQuota, WriteQuota
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.tenant.planner import ObservedTenant, TenantPlan, plan_tenant
from steno_operator.telemetry import metrics

log = logging.getLogger(__name__)

TENANT_QUOTAS = resource_type(TenantQuota.definition)


class TenantController(Controller[Tenant, ObservedTenant, TenantPlan]):
    """Tenants are planned from the resources that request admission, and from their quota.

    The reservations are written over the ones that were read or not at all, so a plan needs no live read.
    """

    def __init__(self, state: ClusterState) -> None:
        super().__init__(Tenant)
        self._state = state

    def observe(self, key: Key, resource: Tenant) -> ObservedTenant:  # noqa: ARG002 - the resource says it all
        """See `Controller`."""
        return observe_tenant(self._state, resource)

    def plan(self, observed: ObservedTenant, now: datetime, policy: Policy) -> TenantPlan:  # noqa: ARG002
        """See `Controller`."""
        return plan_tenant(observed, now)

    def with_refusal(self, observed: ObservedTenant, refusal: RefusedError) -> ObservedTenant:
        """See `Controller`."""
        return replace(observed, refusal=str(refusal))

    def accept(self, key: Key, plan: TenantPlan) -> None:
        """Publish why each request waits, for the plans of the resources themselves."""
        if plan.pending is not None:
            self._state.pending.publish_reasons(key.name, plan.pending)


class QuotaActions:
    """Creates TenantQuotas and writes their status; every answer goes into the cache.

    Each action may be the last before a crash: a quota without a status is empty, and the status of a Tenant that was
    not written after its quota is written by the next plan.
    """

    def __init__(self, cluster: Cluster, state: ClusterState) -> None:
        self._cluster = cluster
        self._quotas = state.quotas

    @property
    def handlers(self) -> dict[type, ActionHandler]:
        """The handler of each type of action."""
        return {CreateQuota: self._create, WriteQuota: self._write}

    async def _create(self, key: Key, uid: str, action: CreateQuota) -> None:
        try:
            quota = await self._cluster.create(TENANT_QUOTAS, "", action.manifest)
        except ApiError as error:
            if error.status != CONFLICT:
                raise refusal(error) from None
            await self._adopt(key, uid)
            return
        self._quotas.upsert(quota)
        log.info("created its TenantQuota", extra=key.log())

    async def _adopt(self, key: Key, uid: str) -> None:
        """Adopt the quota if it is this Tenant's; delete what an earlier Tenant of the name, or a person, left."""
        quota = await self._read(key)
        if quota is not None and controller_uid(quota) == uid:
            return
        if quota is not None:
            await self._cluster.delete(TENANT_QUOTAS, "", key.name, quota["metadata"]["uid"], "Background")
            self._quotas.delete(quota["metadata"]["uid"])
            log.info("deleted a TenantQuota that another Tenant of its name had", extra=key.log())
        raise RetryError(f"TenantQuota {key.name} is to be created anew", after=0)

    async def _read(self, key: Key) -> dict[str, Any] | None:
        """Read the quota of that name live into the cache."""
        try:
            quota = await self._cluster.get(TENANT_QUOTAS, "", key.name)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return None
        self._quotas.upsert(quota)
        return quota

    async def _write(self, key: Key, uid: str, action: WriteQuota) -> None:  # noqa: ARG002 - one signature for all actions
        metadata = action.quota.metadata
        body = {
            "metadata": {"uid": metadata.uid, "resourceVersion": metadata.resource_version},
            "status": merge_patch(action.quota.status.to_wire(), action.status.to_wire()),
        }
        try:
            answer = await self._cluster.merge_patch(TENANT_QUOTAS, "", key.name, body, "status")
        except ApiError as error:
            if error.status not in (NOT_FOUND, CONFLICT):
                raise
            live = await self._read(key)
            if live is None or live["metadata"]["uid"] != metadata.uid:
                self._quotas.delete(metadata.uid)
            raise RetryError("the quota changed while it was written", after=0) from None
        self._quotas.upsert(answer)


_USAGE = {
    "gpus": ("gpus", "gpus"),
    "jobs": ("runningJobs", "concurrentJobs"),
    "queued_jobs": ("queuedJobs", ""),
    "streams": ("streams", "streams"),
    "servers": ("servers", "servers"),
    "audio_minutes_today": ("audioMinutesToday", "audioMinutesPerDay"),
    "pages_today": ("pagesToday", "pagesPerDay"),
}
"""Label value of the metrics → field of the usage, and of the limits."""


def refresh_metrics(tenants: Iterable[Mapping[str, Any]]) -> None:
    """Export usage and limits of raw Tenants."""
    metrics.TENANT_USAGE.clear()
    metrics.TENANT_LIMIT.clear()
    for raw in tenants:
        usage = (raw.get("status") or {}).get("usage") or {}
        limits = raw["spec"].get("limits") or {}
        for resource, (used, limit) in _USAGE.items():
            metrics.TENANT_USAGE.labels(raw["metadata"]["name"], resource).set(usage.get(used, 0))
            if limit in limits:
                metrics.TENANT_LIMIT.labels(raw["metadata"]["name"], resource).set(limits[limit])
