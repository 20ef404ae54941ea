"""Tenants' half of reconciling: one write of the ledger, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from steno_api.v1alpha1.tenant import Tenant
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.keys import Key
from steno_operator.control.reconcile.controller import RefusedError
from steno_operator.plan.common.plan import AnyPlan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.tenant.planner import ObservedTenant, TenantPlan, plan_tenant
from steno_operator.telemetry import metrics


class TenantKind:
    """See `Kind`. It has no children; what it is about are the resources that ask it."""

    model = Tenant

    def __init__(self, store: Store) -> None:
        self._store = store

    def observe(self, key: Key, resource: Tenant) -> ObservedTenant:  # noqa: ARG002 - one shape for all kinds
        """See `Kind`."""
        return self._store.tenancy.observe(resource)

    def plan(self, observed: ObservedTenant, now: datetime, policy: Policy) -> TenantPlan:  # noqa: ARG002
        """See `Kind`."""
        return plan_tenant(observed, now)

    def must_verify(self, observed: ObservedTenant, plan: AnyPlan) -> bool:  # noqa: ARG002
        """See `Kind`. The ledger is written over the one that was read or not at all, so that needs no other look."""
        return False

    async def refresh(self, key: Key, uid: str) -> None:
        """See `Kind`."""

    def refused(self, observed: ObservedTenant, refusal: RefusedError) -> ObservedTenant:  # noqa: ARG002
        """See `Kind`."""
        return observed


_USAGE = {
    "gpus": ("gpus", "gpus"),
    "jobs": ("runningJobs", "concurrentJobs"),
    "queued_jobs": ("queuedJobs", ""),
    "streams": ("streams", "streams"),
    "audio_minutes_today": ("audioMinutesToday", "audioMinutesPerDay"),
    "pages_today": ("pagesToday", "pagesPerDay"),
}
"""Label value of the metrics → field of the usage, and of the limits."""


def refresh_metrics(tenants: Iterable[Mapping[str, Any]]) -> None:
    """Exports usage and limits of raw Tenants."""
    metrics.TENANT_USAGE.clear()
    metrics.TENANT_LIMIT.clear()
    for raw in tenants:
        usage = (raw.get("status") or {}).get("usage") or {}
        limits = raw["spec"].get("limits") or {}
        for resource, (used, limit) in _USAGE.items():
            metrics.TENANT_USAGE.labels(raw["metadata"]["name"], resource).set(usage.get(used, 0))
            if limit in limits:
                metrics.TENANT_LIMIT.labels(raw["metadata"]["name"], resource).set(limits[limit])
