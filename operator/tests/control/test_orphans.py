"""Children that outlive their resource (`kubectl delete --cascade=orphan`) hold their reservation, and are charged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from steno_api.v1alpha1.tenant import Tenant
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.snapshots.job import observe_job
from steno_operator.control.cache.snapshots.tenant import observe_tenant
from steno_operator.control.cache.subscriptions import Subscriptions
from steno_operator.plan.tenant.planner import plan_tenant

from .objects import CREATED, container, job, pod, profile_object, resource
from .simulation import termination_message

ACME, KEY = Key("Tenant", "", "acme"), Key("TranscriptionJob", "ns", "talk")
TENANT = {
    "kind": "Tenant",
    "metadata": {"name": "acme", "uid": "t-acme", "resourceVersion": "5", "creationTimestamp": CREATED},
    "spec": {"namespaces": ["ns"], "limits": {"gpus": 1}},
}
ENTRY = {"uid": "u1", "kind": "TranscriptionJob", "namespace": "ns", "name": "talk", "gpus": 1, "jobs": 1}
PUBLISHED = container(terminated={"exitCode": 0, "message": termination_message("TranscriptionJob", 12.5, 0)})


def quota(status: dict[str, Any], version: int) -> dict[str, Any]:
    owner = {"kind": "Tenant", "name": "acme", "uid": "t-acme", "controller": True}
    metadata = {"name": "acme", "uid": "q-acme", "resourceVersion": str(version), "ownerReferences": [owner]}
    return {"kind": "TenantQuota", "metadata": metadata, "status": status}


def orphan(version: int = 11, name: str = "talk-1", uid: str = "j1", label: str = "u1", **more: Any) -> dict[str, Any]:
    """A child whose owner reference the garbage collector has removed."""
    raw = job(name, uid, version=version, owner="", **more)
    raw["metadata"]["labels"]["steno.dev/job-uid"] = label
    return raw


class Orphanage:
    def __init__(self) -> None:
        self.changes: list[Key] = []
        self.state = ClusterState()
        Subscriptions(self.state, self.changes.append)
        self.state.profiles.upsert(profile_object(accelerator={"resource": "nvidia.com/gpu", "count": 1}))
        self.state.resources.upsert(TENANT)
        self.state.quotas.upsert(quota({"reservations": [{**ENTRY, "since": CREATED}]}, 5))
        self.version = 5

    def settle(self) -> tuple[list[str], int]:
        """Have the Tenant planned; return whose reservations there are, and what was charged."""
        observed = observe_tenant(self.state, Tenant.from_wire(TENANT))
        for write in plan_tenant(observed, datetime.now(UTC)).actions:
            self.version += 1
            self.state.quotas.upsert(quota(write.status.to_wire(), self.version))
        status = observe_tenant(self.state, Tenant.from_wire(TENANT)).quota.status
        return [one.uid for one in status.reservations], status.audio_millis


@pytest.fixture(params=["same leader", "new leader", "being deleted"])
def orphans(request):
    found = Orphanage()
    if request.param != "new leader":
        found.state.resources.upsert(resource())
        found.state.jobs.upsert(job())
    found.state.pods.upsert(pod(phase="Running"))
    found.state.jobs.upsert(orphan())
    if request.param == "same leader":
        found.state.resources.delete("u1")
    if request.param == "being deleted":
        going = resource(version=2)
        going["metadata"]["deletionTimestamp"] = CREATED
        found.state.resources.upsert(going)
    return found


def test_m10_an_orphan_holds_its_gpu_until_it_ends_and_is_charged(orphans):
    assert orphans.settle() == (["u1"], 0)
    orphans.changes.clear()
    orphans.state.pods.upsert(pod(version=21, phase="Succeeded", **PUBLISHED))
    assert ACME in orphans.changes
    orphans.changes.clear()
    orphans.state.jobs.upsert(orphan(12, status={"conditions": [{"type": "Complete", "status": "True"}]}))
    assert ACME in orphans.changes
    assert orphans.settle() == ([], 12_500)
    assert orphans.settle() == ([], 12_500)


def test_an_orphan_whose_pod_is_gone_is_charged(orphans):
    orphans.state.pods.upsert(pod(version=21, phase="Succeeded", **PUBLISHED))
    orphans.state.pods.delete("p1")
    orphans.state.jobs.delete("j1")
    assert orphans.settle() == ([], 12_500)


@pytest.mark.parametrize("fake", [{"label": "u2"}, {"name": "walk-1"}, {"name": "talk-x"}])
def test_what_only_looks_like_an_orphan_holds_nothing(fake):
    found = Orphanage()
    found.state.jobs.upsert(orphan(**fake))
    assert found.settle() == ([], 0)


def test_a_living_resource_has_no_orphans():
    found = Orphanage()
    found.state.resources.upsert(resource())
    found.state.jobs.upsert(orphan())
    assert found.state.remains(OwnerKey("ns", "u1")) == []
    seen = observe_job(found.state, KEY, TranscriptionJob.from_wire(resource()))
    assert (seen.children, seen.conflicting) == ((), frozenset({"talk-1"}))
