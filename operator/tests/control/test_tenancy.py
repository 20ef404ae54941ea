"""What the store knows of Tenants, and whom a change wakes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from steno_api.v1alpha1.tenant import Tenant
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.keys import Key
from steno_operator.plan.common.admission import Admission, Demand
from steno_operator.plan.tenant.planner import plan_tenant

from .ledger import last_word
from .objects import CREATED, container, job, pod, resource

KEY = Key("TranscriptionJob", "ns", "talk")
ACME = Key("Tenant", "", "acme")
ENTRY = {"uid": "u1", "kind": "TranscriptionJob", "namespace": "ns", "name": "talk", "gpus": 1, "jobs": 1}
SPOKEN = {
    "phase": "Succeeded",
    **container(terminated={"exitCode": 0, "message": last_word("TranscriptionJob", 12.5, 0)}),
}
FULL = Admission("Waiting", "GPUsExhausted", "All are in use.", 4, "acme")


def tenant(name: str = "acme", *spaces: str, version: int = 5, created: str = CREATED, **status: Any) -> dict[str, Any]:
    return {
        "kind": "Tenant",
        "metadata": {"name": name, "uid": f"t-{name}", "resourceVersion": str(version), "creationTimestamp": created},
        "spec": {"namespaces": list(spaces or ("ns",))},
        "status": status,
    }


def entry(**fields: Any) -> dict[str, Any]:
    return {**ENTRY, "since": CREATED, **fields}


@pytest.fixture
def changes():
    return []


@pytest.fixture
def store(changes):
    store = Store(changes.append)
    spec = {"accelerator": {"resource": "nvidia.com/gpu", "count": 1}}
    store.put_profile({"metadata": {"name": "gpu", "resourceVersion": "1"}, "spec": spec})
    store.put_resource("TranscriptionJob", resource())
    changes.clear()
    return store


def admission(store, **asked):
    return store.tenancy.admission(KEY, "u1", **{"gpus": 1, **asked})


def observe(store, raw):
    return store.tenancy.observe(Tenant.from_wire(raw))


def test_without_a_tenant_work_is_allowed_or_refused_by_the_setting(store):
    assert admission(store).state == "NotRequired"
    strict = Store(lambda _: None, without_tenant="refuse")
    answer = strict.tenancy.admission(KEY, "u1")
    assert (answer.state, answer.reason) == ("Refused", "NoTenant")
    assert '"ns"' in answer.message
    strict.put_resource("Tenant", tenant())
    assert strict.tenancy.admission(KEY, "u1").state == "Waiting"


def test_a_new_tenant_wakes_the_jobs_of_its_namespaces(store, changes):
    store.put_resource("Tenant", tenant())
    assert set(changes) == {ACME, KEY}
    assert (admission(store).state, admission(store).reason) == ("Waiting", "WaitingForAdmission")
    changes.clear()
    store.drop_resource(ACME, "t-acme")
    assert KEY in changes
    assert admission(store).state == "NotRequired"


def test_a_job_may_name_its_own_tenant_and_no_other(store):
    assert admission(store, claimed="label").state == "NotRequired"  # no Tenant is called that: a word for the label
    store.put_resource("Tenant", tenant("other", "elsewhere"))
    assert admission(store, claimed="other").reason == "TenantMismatch"
    assert "no Tenant has it" in admission(store, claimed="other").message
    store.put_resource("Tenant", tenant())
    assert admission(store, claimed="acme").state == "Waiting"
    for wrong in ("other", "label"):
        answer = admission(store, claimed=wrong)
        assert (answer.state, answer.reason) == ("Refused", "TenantMismatch")
        assert 'Tenant "acme" has it' in answer.message


def test_an_entry_admits_unless_it_is_being_given_back_or_too_small(store, changes):
    store.put_resource("Tenant", tenant())
    changes.clear()
    store.put_resource("Tenant", tenant(version=6, admitted=[entry()]))
    assert set(changes) == {ACME, KEY}
    assert admission(store) == Admission("Admitted", tenant="acme", reserved=True, gpus=1)
    assert (admission(store, gpus=2).state, admission(store, gpus=2).reserved) == ("Waiting", True)
    changes.clear()
    store.put_resource("Tenant", tenant(version=7, admitted=[entry(releasing=True)]))
    assert KEY in changes
    assert admission(store).state == "Waiting"
    store.put_resource("Tenant", tenant(version=8))
    assert not admission(store).reserved


def test_what_is_told_wakes_those_whose_reason_changed_not_those_that_moved_up(store, changes):
    store.put_resource("Tenant", tenant())
    changes.clear()
    store.tenancy.publish_reasons("acme", {"u1": FULL})
    assert changes == [KEY]
    assert admission(store) == FULL
    store.tenancy.publish_reasons("acme", {"u1": Admission("Waiting", FULL.reason, FULL.message, 3, "acme")})
    assert changes == [KEY]
    assert admission(store).position == 3
    store.tenancy.publish_reasons("acme", {"u1": Admission("Waiting", "PagesExhausted", "Tomorrow.", 3, "acme")})
    assert changes == [KEY, KEY]


def test_the_oldest_tenant_has_the_namespace(store):
    young, old = tenant("acme", "ns", "mine", created="2026-02-02T00:00:00Z"), tenant("zeta")
    store.put_resource("Tenant", young)
    store.put_resource("Tenant", old)
    assert store.tenancy.tenant_of("ns") == "zeta"
    found = observe(store, young)
    assert (found.taken, found.requests) == ({"ns": "zeta"}, ())
    assert [request.uid for request in observe(store, old).requests] == ["u1"]


def test_progress_does_not_wake_the_tenant_and_what_matters_does(store, changes):
    store.put_resource("Tenant", tenant())
    changes.clear()
    store.put_resource("TranscriptionJob", resource(version=2, phase="Running", progress={"percent": 4}))
    assert changes == [KEY]
    held = resource(version=3)
    held["spec"]["suspend"] = True
    store.put_resource("TranscriptionJob", held)
    assert ACME in changes
    changes.clear()
    store.put_job(job())
    assert ACME in changes
    changes.clear()
    store.put_job(job(version=11, status={"ready": 1}))
    assert ACME not in changes
    store.put_job(job(version=12, status={"conditions": [{"type": "Complete", "status": "True"}]}))
    assert ACME in changes
    changes.clear()
    store.put_profile({"metadata": {"name": "gpu", "resourceVersion": "2"}, "spec": {}})
    assert ACME in changes


def test_what_an_admission_request_says(store):
    raw = tenant(admitted=[entry(), entry(uid="u7", name="gone")])
    store.put_resource("Tenant", raw)
    store.put_job(job())
    with store.working_on(KEY):
        mine, gone = observe(store, raw).requests
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
    store.put_resource("TranscriptionJob", ended)
    with store.working_on(KEY):
        mine, _ = observe(store, raw).requests
    assert (mine.finished, mine.reconciling, mine.usage.audio_seconds) == (True, False, 12.5)


def test_a_deleted_job_is_still_accounted_for(store):
    raw = tenant(admitted=[entry()])
    store.put_resource("Tenant", raw)
    store.put_resource("TranscriptionJob", resource(version=9, completionTime=CREATED, summary={"duration": 12.5}))
    store.drop_resource(KEY, "u1")
    [request] = observe(store, raw).requests
    assert (request.finished, request.usage.audio_seconds) == (True, 12.5)
    store.put_resource("Tenant", tenant(version=6))
    assert observe(store, tenant(version=6)).requests == ()


def test_what_a_worker_published_counts_though_the_job_was_deleted_before_its_status_said_so(store):
    def usage() -> float:
        [request] = observe(store, raw).requests
        return request.usage.audio_seconds

    raw = tenant(admitted=[entry()])
    store.put_resource("Tenant", raw)
    store.put_job(job())
    store.put_pod(pod(phase="Running"))
    store.drop_resource(KEY, "u1")
    assert usage() == 0
    store.put_pod(pod(version=21, **SPOKEN))
    assert usage() == 12.5
    store.drop_job("j1")
    store.drop_pod("p1")
    assert usage() == 12.5


def suspended(store, raw):
    """Suspends the job, and has its Tenant planned until that is settled; returns the Tenant."""
    held = resource(version=3)
    held["spec"]["suspend"] = True
    store.put_resource("TranscriptionJob", held)
    for _ in range(2):
        plan = plan_tenant(observe(store, raw), datetime.now(UTC))
        raw = tenant(version=7, **plan.status.to_wire())
        store.put_resource("Tenant", raw)
    return raw


def test_a_job_that_published_and_is_suspended_keeps_its_share_until_its_status_says_what_it_used(store):
    raw = tenant(admitted=[entry()])
    store.put_resource("Tenant", raw)
    store.put_job(job(status={"conditions": [{"type": "Complete", "status": "True"}]}))
    store.put_pod(pod(**SPOKEN))
    raw = suspended(store, raw)
    assert [one["uid"] for one in raw["status"]["admitted"]] == ["u1"]
    ended = resource(version=9, completionTime=CREATED, summary={"duration": 12.5})
    store.put_resource("TranscriptionJob", ended)
    plan = plan_tenant(observe(store, raw), datetime.now(UTC))
    assert (plan.status.admitted, plan.status.usage.audio_millis_today) == ([], 12_500)


def test_a_word_that_nobody_can_read_any_more_keeps_no_share(store):
    raw = tenant(admitted=[entry()])
    store.put_resource("Tenant", raw)
    store.put_job(job(spec={"suspend": True}, status={"conditions": [{"type": "Suspended", "status": "True"}]}))
    store.put_pod(pod(**SPOKEN))
    store.drop_pod("p1")  # told to stop, it published; its pod went before its job's plan had looked at it
    raw = suspended(store, raw)
    assert not raw["status"].get("admitted")
    store.put_resource("TranscriptionJob", resource(version=9))
    plan = plan_tenant(observe(store, raw), datetime.now(UTC))
    assert [(one.uid, one.releasing) for one in plan.status.admitted] == [("u1", None)]


@pytest.mark.parametrize("suspended", [True, False], ids=["suspended", "running"])
@pytest.mark.parametrize("profile", ["edited", "deleted"])
def test_a_child_asks_for_what_its_profile_gave_it_whatever_the_profile_gives_now(store, profile, suspended):
    limits = {"cpu": "4", "nvidia.com/gpu": "2"}
    template = {"spec": {"containers": [{"name": "worker", "resources": {"limits": limits}}]}}
    store.put_resource("Tenant", tenant())
    store.put_job(job(spec={"suspend": suspended, "template": template}))
    if profile == "deleted":
        store.drop_profile("gpu")
    [request] = observe(store, tenant()).requests
    assert request.demand == Demand(gpus=2, jobs=1)
    store.put_resource("Tenant", tenant(version=6, admitted=[entry(gpus=1)]))
    seen = store.snapshot(KEY, TranscriptionJob.from_wire(resource()))
    assert seen.admission.state == "Waiting"  # the entry is of one GPU
    store.put_job(job(version=11, status={"conditions": [{"type": "Failed", "status": "True"}]}))
    [request] = observe(store, tenant()).requests
    assert request.demand == (None if profile == "deleted" else Demand(gpus=1, jobs=1))  # the next attempt's


def test_a_pod_that_outlives_its_job_holds_the_share(store, changes):
    def live() -> bool:
        return observe(store, raw).requests[0].running

    raw = tenant(admitted=[entry()])
    store.put_resource("Tenant", raw)
    store.put_job(job())
    store.put_pod(pod(phase="Running"))
    elsewhere = pod(uid="p2", phase="Running")
    elsewhere["metadata"]["namespace"] = "elsewhere"
    store.put_pod(elsewhere)
    store.drop_resource(KEY, "u1")
    store.drop_job("j1")  # as the garbage collector does, before the pods
    assert live()
    changes.clear()
    store.drop_pod("p1")
    assert not live()
    assert ACME in changes


def test_a_child_holds_its_share_until_it_rests(store):
    def live() -> bool:
        return observe(store, raw).requests[0].running

    raw = tenant(admitted=[entry()])
    store.put_resource("Tenant", raw)
    store.put_job(job(version=10))
    store.put_job(job(version=11, spec={"suspend": True}))
    assert live()  # the Job controller has not acted yet
    halted = {"conditions": [{"type": "Suspended", "status": "True"}]}
    store.put_pod(pod(phase="Running"))
    store.put_job(job(version=12, spec={"suspend": True}, status=halted))
    assert live()
    store.drop_pod("p1")
    assert not live()
    store.put_job(job(version=13, status=halted))
    assert live()  # resumed
    store.drop_job("j1")
    assert not live()


@pytest.mark.parametrize(("served", "found"), [((), "all"), (("ns", "b"), "all"), (("ns",), "some"), (("x",), "none")])
def test_whether_this_operator_serves_the_tenant(served, found):
    store = Store(lambda _: None, served=served)
    store.put_resource("Tenant", tenant("acme", "ns", "b"))
    assert observe(store, tenant("acme", "ns", "b")).served == found


def test_work_in_two_ledgers_is_in_the_other_when_one_lets_go(store):
    store.put_resource("Tenant", tenant(admitted=[entry()]))
    store.put_resource("Tenant", tenant("zeta", "b", version=6, admitted=[entry()]))
    assert admission(store).tenant == "zeta"
    store.put_resource("Tenant", tenant("zeta", "b", version=7))
    assert admission(store).tenant == "acme"
