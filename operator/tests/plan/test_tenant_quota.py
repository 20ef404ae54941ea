"""A Tenant's quota object: made before anything is admitted, and again without losing the day's usage."""

from __future__ import annotations

from datetime import timedelta

from steno_api.v1alpha1.tenantquota import TenantQuota
from steno_operator.plan.common.plan import CreateQuota
from steno_operator.plan.tenant.planner import REFUSED_RECHECK, ObservedTenant, plan_tenant

from .builders import T0
from .tenant_harness import TenantHarness, make_ended_pod, make_request, tenant


def test_a_tenant_without_a_quota_makes_one_and_admits_nothing_before():
    plan = plan_tenant(ObservedTenant(tenant(gpus=2), requests=(make_request("a"),)), T0)
    [create] = plan.actions
    assert isinstance(create, CreateQuota)
    metadata = create.manifest["metadata"]
    assert (create.manifest["kind"], metadata["name"]) == ("TenantQuota", "acme")
    assert [(one["uid"], one["controller"]) for one in metadata["ownerReferences"]] == [("tenant-1", True)]
    assert (plan.pending, plan.requeue_after) == (None, None)
    refused = plan_tenant(ObservedTenant(tenant(), refusal="forbidden by policy"), T0)
    [*_, stalled] = refused.status.conditions
    assert (stalled.status, stalled.reason) == ("True", "ChildRefused")
    assert "forbidden by policy" in stalled.message
    assert refused.requeue_after == REFUSED_RECHECK


def test_a_quota_made_anew_starts_from_the_usage_that_the_tenant_says():
    harness = TenantHarness(audioMinutesPerDay=2, pagesPerDay=9)
    harness.reconcile(make_request("a", running=True))
    harness.reconcile(make_ended_pod(make_request("a"), audio_seconds=120))
    harness.quota = TenantQuota.from_wire({"metadata": {"name": "acme", "uid": "quota-2"}})
    harness.reconcile(make_request("b"))
    assert (harness.quota.status.audio_millis, harness.reserved) == (120_000, "")
    harness.reconcile(make_request("b"), at=T0 + timedelta(days=1))
    assert (harness.quota.status.audio_millis, harness.reserved) == (0, "b")


def test_a_status_that_was_not_written_after_its_quota_is_written_by_the_next_plan():
    harness = TenantHarness()
    crashed = harness.tenant
    harness.reconcile(make_request("a"))
    wanted, harness.tenant = harness.tenant, crashed
    assert harness.reconcile(make_request("a")).actions == ()
    assert harness.tenant == wanted
