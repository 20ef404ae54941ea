"""The controller of Tenants: one write of the reservations, and the reasons of those that wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from steno_api.v1alpha1.tenant import Tenant
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.snapshots.tenant import observe_tenant
from steno_operator.control.kube.keys import Key
from steno_operator.control.reconcile.controller import Controller
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.tenant.planner import ObservedTenant, TenantPlan, plan_tenant
from steno_operator.telemetry import metrics


class TenantController(Controller[Tenant, ObservedTenant, TenantPlan]):
    """Tenants have no children; they are planned from the resources that request admission.

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

    def accept(self, key: Key, plan: TenantPlan) -> None:
        """Publish why each request waits, for the plans of the resources themselves."""
        if plan.pending is not None:
            self._state.pending.publish_reasons(key.name, plan.pending)


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
