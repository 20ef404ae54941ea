"""What is observed of Tenants and of those that ask them, and whom a change of it enqueues."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from steno_api.usage import Work
from steno_api.v1alpha1.tenant import Tenant
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.snapshots.job import observe_job
from steno_operator.control.cache.snapshots.tenant import observe_tenant
from steno_operator.control.cache.subscriptions import Subscriptions
from steno_operator.plan.common.admission import Admission, Demand
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.planner import plan_job
from steno_operator.plan.tenant.planner import plan_tenant

from .objects import CREATED, container, job, pod, profile_object, resource
from .simulation import termination_message

KEY = Key("TranscriptionJob", "ns", "talk")
ACME = Key("Tenant", "", "acme")
ENTRY = {"uid": "u1", "kind": "TranscriptionJob", "namespace": "ns", "name": "talk", "gpus": 1, "jobs": 1}
PUBLISHED = {
    "phase": "Succeeded",
    **container(terminated={"exitCode": 0, "message": termination_message("TranscriptionJob", 12.5, 0)}),
}
FULL = Admission("Waiting", "GPUsExhausted", "All are in use.", 4, "acme")


def tenant(name: str = "acme", *spaces: str, version: int = 5, created: str = CREATED) -> dict[str, Any]:
    return {
        "kind": "Tenant",
        "metadata": {"name": name, "uid": f"t-{name}", "resourceVersion": str(version), "creationTimestamp": created},
        "spec": {"namespaces": list(spaces or ("ns",))},
    }


def quota(*reservations: dict[str, Any], of: str = "acme", version: int = 5, **status: Any) -> dict[str, Any]:
    owner = {"kind": "Tenant", "name": of, "uid": f"t-{of}", "controller": True}
    metadata = {"name": of, "uid": f"q-{of}", "resourceVersion": str(version), "ownerReferences": [owner]}
    return {"kind": "TenantQuota", "metadata": metadata, "status": {**status, "reservations": list(reservations)}}


def entry(**fields: Any) -> dict[str, Any]:
    return {**ENTRY, "since": CREATED, **fields}


@pytest.fixture
def changes():
    return []


@pytest.fixture
def state(changes):
    state = ClusterState()
    Subscriptions(state, changes.append)
    state.profiles.upsert(profile_object(accelerator={"resource": "nvidia.com/gpu", "count": 1}))
    state.resources.upsert(resource())
    changes.clear()
    return state


def admission(state, requested_tenant=None, gpus=1):
    return state.admission(OwnerKey("ns", "u1"), requested_tenant=requested_tenant, gpus=gpus)


def observe(state, raw):
    return observe_tenant(state, Tenant.from_wire(raw))


def test_without_a_tenant_work_is_allowed_or_refused_by_the_setting(state):
    assert admission(state).state == "NotRequired"
    strict = ClusterState(tenant_required=True)
    answer = admission(strict)
    assert (answer.state, answer.reason) == ("Refused", "NoTenant")
    assert '"ns"' in answer.message
    strict.resources.upsert(tenant())
    assert admission(strict).state == "Waiting"


def test_a_new_tenant_enqueues_the_jobs_of_its_namespaces(state, changes):
    state.resources.upsert(tenant())
    assert set(changes) == {ACME, KEY}
    assert (admission(state).state, admission(state).reason) == ("Waiting", "WaitingForAdmission")
    changes.clear()
    state.resources.delete("t-acme")
    assert KEY in changes
    assert admission(state).state == "NotRequired"


def test_a_job_may_name_its_own_tenant_and_no_other(state):
    assert (
        admission(state, requested_tenant="label").state == "NotRequired"
    )  # no Tenant is called that: it is the label alone
    state.resources.upsert(tenant("other", "elsewhere"))
    assert admission(state, requested_tenant="other").reason == "TenantMismatch"
    assert "no Tenant has it" in admission(state, requested_tenant="other").message
    state.resources.upsert(tenant())
    assert admission(state, requested_tenant="acme").state == "Waiting"
    for wrong in ("other", "label"):
        answer = admission(state, requested_tenant=wrong)
        assert (answer.state, answer.reason) == ("Refused", "TenantMismatch")
        assert 'Tenant "acme" has it' in answer.message


def test_l6_a_namespace_does_not_pass_for_the_tenant_of_its_name(state):
    state.resources.upsert(tenant(KEY.namespace, "elsewhere"))
    answer = admission(state)
    assert (answer.state, answer.reason) == ("Refused", "TenantMismatch")
    assert "does not have the namespace of its name" in answer.message
    assert admission(state, requested_tenant="label").state == "NotRequired"
    state.resources.upsert(tenant("acme", KEY.namespace))
    assert admission(state).state == "Waiting"


def test_a_reservation_admits_unless_it_is_being_released_or_too_small(state, changes):
    state.resources.upsert(tenant())
    changes.clear()
    state.quotas.upsert(quota(entry()))
    assert set(changes) == {ACME, KEY}
    assert admission(state) == Admission("Admitted", tenant="acme", reserved=True, gpus=1)
    assert (admission(state, gpus=2).state, admission(state, gpus=2).reserved) == ("Waiting", True)
    changes.clear()
    state.quotas.upsert(quota(entry(releasing=True), version=7))
    assert KEY in changes
    assert admission(state).state == "Waiting"
    state.quotas.upsert(quota(version=8))
    assert not admission(state).reserved


def test_pending_reasons_enqueue_those_whose_reason_changed_not_those_that_moved_up(state, changes):
    state.resources.upsert(tenant())
    changes.clear()
    state.pending.publish_reasons("acme", {"u1": FULL})
    assert changes == [KEY]
    assert admission(state) == FULL
    state.pending.publish_reasons("acme", {"u1": Admission("Waiting", FULL.reason, FULL.message, 3, "acme")})
    assert changes == [KEY]
    assert admission(state).position == 3
    state.pending.publish_reasons("acme", {"u1": Admission("Waiting", "PagesExhausted", "Tomorrow.", 3, "acme")})
    assert changes == [KEY, KEY]


def test_the_oldest_tenant_has_the_namespace(state):
    young, old = tenant("acme", "ns", "mine", created="2026-02-02T00:00:00Z"), tenant("zeta")
    state.resources.upsert(young)
    state.resources.upsert(old)
    assert state.tenant_of("ns").name == "zeta"
    found = observe(state, young)
    assert (found.taken, found.requests) == ({"ns": "zeta"}, ())
    assert [request.uid for request in observe(state, old).requests] == ["u1"]


def test_progress_does_not_enqueue_the_tenant_and_what_matters_does(state, changes):
    state.resources.upsert(tenant())
    changes.clear()
    state.resources.upsert(resource(version=2, phase="Running", progress={"percent": 4}))
    assert changes == [KEY]
    held = resource(version=3)
    held["spec"]["suspend"] = True
    state.resources.upsert(held)
    assert ACME in changes
    changes.clear()
    state.jobs.upsert(job())
    assert ACME in changes
    changes.clear()
    state.jobs.upsert(job(version=11, status={"ready": 1}))
    assert ACME not in changes
    state.jobs.upsert(job(version=12, status={"conditions": [{"type": "Complete", "status": "True"}]}))
    assert ACME in changes
    changes.clear()
    state.profiles.upsert(profile_object(version=2))
    assert ACME in changes


def test_what_an_admission_request_says(state):
    raw = tenant()
    state.resources.upsert(raw)
    state.quotas.upsert(quota(entry(), entry(uid="u7", name="gone")))
    state.jobs.upsert(job())
    with state.busy.working_on(KEY):
        mine, gone = observe(state, raw).requests
    assert (mine.demand.gpus, mine.demand.jobs, mine.running, mine.reconciling, mine.finished, mine.active) == (
        1,
        1,
        True,
        True,
        False,
        True,
    )
    assert (gone.finished, gone.running, gone.active, gone.usage.audio_seconds) == (True, False, False, 0)
    ended = resource(version=9, completionTime=CREATED, summary={"duration": 12.5})
    state.resources.upsert(ended)
    with state.busy.working_on(KEY):
        mine, _ = observe(state, raw).requests
    assert (mine.finished, mine.reconciling, mine.usage.audio_seconds) == (True, False, 12.5)


def test_a_deleted_job_is_still_accounted_for(state):
    raw = tenant()
    state.resources.upsert(raw)
    state.quotas.upsert(quota(entry()))
    state.resources.upsert(resource(version=9, completionTime=CREATED, summary={"duration": 12.5}))
    state.resources.delete("u1")
    [request] = observe(state, raw).requests
    assert (request.finished, request.usage.audio_seconds) == (True, 12.5)
    state.quotas.upsert(quota(version=6))
    assert observe(state, raw).requests == ()


def test_what_a_worker_published_counts_though_the_job_was_deleted_before_its_status_said_so(state):
    def usage() -> float:
        [request] = observe(state, raw).requests
        return request.usage.audio_seconds

    raw = tenant()
    state.resources.upsert(raw)
    state.quotas.upsert(quota(entry()))
    state.jobs.upsert(job())
    state.pods.upsert(pod(phase="Running"))
    state.resources.delete("u1")
    assert usage() == 0
    state.pods.upsert(pod(version=21, **PUBLISHED))
    assert usage() == 12.5
    state.jobs.delete("j1")
    state.pods.delete("p1")
    assert usage() == 12.5


def suspended(state, raw):
    """Suspends the job, and has its Tenant planned until that is settled; returns the reservations."""
    held = resource(version=3)
    held["spec"]["suspend"] = True
    state.resources.upsert(held)
    for version in (6, 7):
        for write in plan_tenant(observe(state, raw), datetime.now(UTC)).actions:
            state.quotas.upsert(quota(version=version) | {"status": write.status.to_wire()})
    return observe(state, raw).quota.status.reservations


def test_a_job_that_published_and_is_suspended_keeps_its_reservation_until_its_status_has_its_usage(state):
    raw = tenant()
    state.resources.upsert(raw)
    state.quotas.upsert(quota(entry()))
    state.jobs.upsert(job(status={"conditions": [{"type": "Complete", "status": "True"}]}))
    state.pods.upsert(pod(**PUBLISHED))
    assert [one.uid for one in suspended(state, raw)] == ["u1"]
    ended = resource(version=9, completionTime=CREATED, summary={"duration": 12.5})
    state.resources.upsert(ended)
    plan = plan_tenant(observe(state, raw), datetime.now(UTC))
    [write] = plan.actions
    assert (write.status.reservations, write.status.audio_millis) == ([], 12_500)
    assert plan.status.usage.audio_millis_today == 12_500


def test_a_result_that_can_no_longer_be_read_keeps_no_reservation(state):
    raw = tenant()
    state.resources.upsert(raw)
    state.quotas.upsert(quota(entry()))
    state.jobs.upsert(job(spec={"suspend": True}, status={"conditions": [{"type": "Suspended", "status": "True"}]}))
    state.pods.upsert(pod(**PUBLISHED))
    state.pods.delete("p1")  # asked to stop, it published; its pod was gone before its job was planned
    assert [one.uid for one in suspended(state, raw)] == ["u1"]  # until its status has what it used
    held = resource(version=4)
    held["spec"]["suspend"] = True
    seen = observe_job(state, KEY, TranscriptionJob.from_wire(held))
    plan = plan_job(seen, datetime.now(UTC), Policy(runtime_image="i", report_url="u"))
    assert plan.status.usage is not None
    held["status"] = plan.status.to_wire()
    state.resources.upsert(held)
    charged = 0
    for version in (8, 9):
        for write in plan_tenant(observe(state, raw), datetime.now(UTC)).actions:
            charged = write.status.audio_millis
            state.quotas.upsert(quota(version=version) | {"status": write.status.to_wire()})
    assert (observe(state, raw).quota.status.reservations, charged) == ([], 12_500)
    state.resources.upsert(resource(version=9, usage=plan.status.usage.to_wire()))
    [write] = plan_tenant(observe(state, raw), datetime.now(UTC)).actions
    [one] = write.status.reservations
    assert (one.uid, one.releasing, one.charged) == ("u1", None, Work(audio_millis=12_500))  # not again


@pytest.mark.parametrize("suspended", [True, False], ids=["suspended", "running"])
@pytest.mark.parametrize("profile", ["edited", "deleted"])
def test_a_child_asks_for_what_its_profile_gave_it_whatever_the_profile_gives_now(state, profile, suspended):
    limits = {"cpu": "4", "nvidia.com/gpu": "2"}
    template = {"spec": {"containers": [{"name": "worker", "resources": {"limits": limits}}]}}
    state.resources.upsert(tenant())
    state.jobs.upsert(job(spec={"suspend": suspended, "template": template}))
    if profile == "deleted":
        state.profiles.delete("profile-gpu")
    [request] = observe(state, tenant()).requests
    assert request.demand == Demand(gpus=2, jobs=1)
    state.quotas.upsert(quota(entry(gpus=1)))
    seen = observe_job(state, KEY, TranscriptionJob.from_wire(resource()))
    assert seen.admission.state == "Waiting"  # the reservation is of one GPU
    state.jobs.upsert(job(version=11, status={"conditions": [{"type": "Failed", "status": "True"}]}))
    [request] = observe(state, tenant()).requests
    assert request.demand == (None if profile == "deleted" else Demand(gpus=1, jobs=1))  # the next attempt's


def test_m1_nothing_is_reserved_for_a_profile_that_is_for_others(state):
    gpu = {"resource": "nvidia.com/gpu", "count": 1}
    state.resources.upsert(tenant())
    state.profiles.upsert(profile_object(version=2, accelerator=gpu, allowedTenants=["beta"]))
    [request] = observe(state, tenant()).requests
    assert request.demand is None
    state.profiles.upsert(profile_object(version=3, accelerator=gpu, allowedTenants=["beta", "acme"]))
    [request] = observe(state, tenant()).requests
    assert request.demand == Demand(gpus=1, jobs=1)


def test_a_pod_that_outlives_its_job_keeps_the_reservation(state, changes):
    raw = tenant()
    state.resources.upsert(raw)
    state.quotas.upsert(quota(entry()))
    state.jobs.upsert(job())
    state.pods.upsert(pod(phase="Running"))
    elsewhere = pod(uid="p2", phase="Running")
    elsewhere["metadata"]["namespace"] = "elsewhere"
    state.pods.upsert(elsewhere)
    state.resources.delete("u1")
    state.jobs.delete("j1")  # as the garbage collector does, before the pods
    assert is_running(state, raw)
    changes.clear()
    state.pods.delete("p1")
    assert not is_running(state, raw)
    assert ACME in changes


def is_running(state, raw) -> bool:
    return observe(state, raw).requests[0].running


def test_a_child_keeps_its_reservation_until_it_is_at_rest(state):
    raw = tenant()
    state.resources.upsert(raw)
    state.quotas.upsert(quota(entry()))
    state.jobs.upsert(job(version=10))
    state.jobs.upsert(job(version=11, spec={"suspend": True}))
    assert is_running(state, raw)  # the Job controller has not acted yet
    halted = {"conditions": [{"type": "Suspended", "status": "True"}]}
    state.pods.upsert(pod(phase="Running"))
    state.jobs.upsert(job(version=12, spec={"suspend": True}, status=halted))
    assert is_running(state, raw)
    state.pods.delete("p1")
    assert not is_running(state, raw)
    state.jobs.upsert(job(version=13, status=halted))
    assert is_running(state, raw)  # resumed
    state.jobs.delete("j1")
    assert not is_running(state, raw)


@pytest.mark.parametrize(("served", "found"), [((), "all"), (("ns", "b"), "all"), (("ns",), "some"), (("x",), "none")])
def test_whether_this_operator_serves_the_tenant(served, found):
    state = ClusterState(served_namespaces=served)
    state.resources.upsert(tenant("acme", "ns", "b"))
    assert observe(state, tenant("acme", "ns", "b")).served == found


def test_work_with_two_reservations_keeps_the_other_when_one_is_released(state):
    for raw in (tenant(), quota(entry()), tenant("zeta", "b"), quota(entry(), of="zeta", version=6)):
        (state.quotas if raw["kind"] == "TenantQuota" else state.resources).upsert(raw)
    assert admission(state).tenant == "zeta"
    state.quotas.upsert(quota(of="zeta", version=7))
    assert admission(state).tenant == "acme"


def test_a_quota_counts_only_for_the_tenant_that_owns_it(state, changes):
    state.quotas.upsert(quota(entry()))  # its watch may be ahead of the Tenants'
    assert admission(state).state == "NotRequired"
    changes.clear()
    state.resources.upsert(tenant())
    assert KEY in changes
    assert admission(state).state == "Admitted"
    changes.clear()
    again = tenant(version=8)
    again["metadata"]["uid"] = "t-again"  # deleted, and created anew under the same name
    state.resources.upsert(again)
    assert KEY in changes
    assert (admission(state).state, admission(state).reserved) == ("Waiting", False)
    assert observe(state, again).quota is None


def test_a_deleted_tenant_admits_nothing_though_its_quota_is_still_there(state, changes):
    state.resources.upsert(tenant())
    state.quotas.upsert(quota(entry()))
    state.resources.delete("u1")
    changes.clear()
    state.resources.delete("t-acme")
    assert KEY in changes
    assert state.reserving_quota(OwnerKey("ns", "u1")) is None
    assert state.quota_request(OwnerKey("ns", "u1")) is None  # nothing is kept for it any more
