"""TenantQuotas with a real apiserver: made for a Tenant, made anew when it is gone or another Tenant's."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from .harness import GROUP, OperatorHarness

pytestmark = pytest.mark.apiserver


class QuotaHarness:
    """One Tenant of the harness's namespace, its quota, and a job that runs."""

    def __init__(self, harness: OperatorHarness) -> None:
        self.harness = harness
        self.name = f"acme-{secrets.token_hex(3)}"
        self.path = f"{GROUP}/tenantquotas/{self.name}"

    def create_tenant(self, **limits: int) -> str:
        """Create the Tenant; returns its UID."""
        body = {
            "apiVersion": "steno.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": self.name},
            "spec": {"namespaces": [self.harness.namespace], "limits": {"concurrentJobs": 1, **limits}},
        }  # fmt: skip
        return self.harness.must("POST", f"{GROUP}/tenants", body)["metadata"]["uid"]

    def quota(self) -> dict[str, Any]:
        answer = self.harness.call("GET", self.path)
        return answer.body if answer.status == 200 else {"metadata": {}}

    def reserved(self) -> list[str]:
        return [entry["name"] for entry in self.quota().get("status", {}).get("reservations", ())]

    def wait_for(self, *names: str, owner: str) -> dict[str, Any]:
        """Wait for the quota of the Tenant of that UID to have reservations for just these jobs; returns it."""

        def found() -> bool:
            owners = [one["uid"] for one in self.quota()["metadata"].get("ownerReferences", ())]
            return owners == [owner] and self.reserved() == list(names)

        self.harness.until(f"reservations for {names}", found)
        return self.quota()


@pytest.fixture
def quotas(harness: OperatorHarness) -> QuotaHarness:
    return QuotaHarness(harness)


def test_a_tenant_gets_a_quota_of_its_own_with_what_is_admitted(quotas):
    harness = quotas.harness
    tenant = quotas.create_tenant()
    harness.start()
    harness.apply("first")
    quota = quotas.wait_for("first", owner=tenant)
    harness.apply("second")
    harness.until("second waits", lambda: harness.status("second").get("queue", {}).get("position") == 1)
    assert quotas.reserved() == ["first"]
    harness.publish(harness.run_pod("first-1"))
    harness.wait("Complete", "first")
    quota = quotas.wait_for("second", owner=tenant)
    assert quota["status"]["audioMillis"] == 30_000
    status = harness.must("GET", f"{GROUP}/tenants/{quotas.name}")["status"]
    assert "reservations" not in status


def test_a_quota_that_is_deleted_is_made_again_with_what_runs_and_the_usage_of_the_day(quotas):
    harness = quotas.harness
    tenant = quotas.create_tenant()
    harness.start()
    harness.apply("first")
    harness.publish(harness.run_pod("first-1"))
    harness.wait("Complete", "first")
    harness.apply("second")
    harness.run_pod("second-1")
    harness.until(
        "the Tenant says what was used",
        lambda: harness.must("GET", f"{GROUP}/tenants/{quotas.name}")["status"]["usage"]["audioMillisToday"] == 30_000,
    )
    before = quotas.wait_for("second", owner=tenant)["metadata"]["uid"]
    harness.must("DELETE", quotas.path)
    harness.until("another quota", lambda: quotas.quota()["metadata"].get("uid") not in (None, before))
    quota = quotas.wait_for("second", owner=tenant)
    assert quota["status"]["audioMillis"] == 30_000
    assert len(harness.children()) == 2


def test_a_quota_left_by_another_tenant_of_the_name_makes_way(quotas):
    harness = quotas.harness
    foreign = {
        "apiVersion": "steno.dev/v1alpha1", "kind": "TenantQuota",
        "metadata": {"name": quotas.name},
    }  # fmt: skip
    harness.must("POST", f"{GROUP}/tenantquotas", foreign)
    entry = {
        "uid": "u-1", "kind": "TranscriptionJob", "namespace": harness.namespace, "name": "ghost", "jobs": 1,
        "since": "2026-11-21T12:00:00Z",
    }  # fmt: skip
    harness.patch(f"{quotas.path}/status", {"status": {"reservations": [entry]}})
    tenant = quotas.create_tenant()
    harness.start()
    harness.apply("first")
    quotas.wait_for("first", owner=tenant)


def test_m12_a_tenants_longest_deadline_ends_a_job_that_runs(quotas):
    harness = quotas.harness
    quotas.create_tenant(maxActiveDeadlineSeconds=3600)
    harness.start()
    harness.apply("first", activeDeadlineSeconds=100_000)
    harness.run_pod("first-1")
    harness.wait("Running", "first")
    assert [child["spec"]["activeDeadlineSeconds"] for child in harness.children()] == [3660]
    assert f'Tenant "{quotas.name}" ends the job 3600 s after' in harness.condition("Admitted", "first")["message"]
    limit = {"spec": {"limits": {"maxActiveDeadlineSeconds": 1}}}
    harness.patch(f"{GROUP}/tenants/{quotas.name}", limit)
    harness.wait("Failed", "first")
    assert harness.condition("Failed", "first")["reason"] == "DeadlineExceeded"
    assert quotas.name in harness.condition("Failed", "first")["message"]
    harness.until("the worker is stopped", lambda: not harness.pods("first-1"))
