"""A job starts, starts again and resumes only where its Tenant lets it; and it says what it waits for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steno_api.failures import FailureReason
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_operator.plan.common.admission import Admission
from steno_operator.plan.common.plan import DeleteResource, StartAttempt, SuspendAttempt
from steno_operator.plan.job.cleanup import ACCOUNTING_RECHECK

from .builders import POLICY, SUCCESS, JobHarness, actions_of, make_child, make_ended_pod, make_failed_child

ADMITTED = Admission("Admitted", tenant="acme", reserved=True)
FULL = Admission("Waiting", "GPUsExhausted", 'Tenant "acme" may use 4 GPUs.', 7, "acme")
NO_TENANT = Admission("Refused", "NoTenant", 'No Tenant has namespace "team-a".')


def test_a_job_waits_for_admission_and_then_starts_as_its_tenants():
    harness = JobHarness(tenant=None)
    plan = harness.reconcile(admission=FULL)
    assert actions_of(plan) == []
    assert harness.status.phase == "Pending"
    assert (harness.status.queue.reason, harness.status.queue.position) == ("GPUsExhausted", 7)
    assert (harness.condition("Admitted").status, harness.condition("Admitted").reason) == ("False", "GPUsExhausted")
    assert harness.condition("Admitted").message == FULL.message
    assert harness.condition("Accepted").status == "True"
    assert harness.status.start_time is None
    [start] = actions_of(harness.reconcile(admission=ADMITTED, at=30))
    assert isinstance(start, StartAttempt)
    assert start.manifest["metadata"]["labels"]["steno.dev/tenant"] == "acme"
    [container] = start.manifest["spec"]["template"]["spec"]["containers"]
    assert '"tenant":"acme"' in container["args"][1]
    assert harness.condition("Admitted").status == "True"
    assert harness.status.queue.position is None


def test_without_a_tenant_the_spec_or_the_namespace_is_billed():
    for spec, name in (({}, "team-a"), ({"tenantRef": {"name": "someone"}}, "someone")):
        [start] = actions_of(JobHarness(**spec).reconcile())
        assert start.manifest["metadata"]["labels"]["steno.dev/tenant"] == name


@pytest.mark.parametrize("reason", ["NoTenant", "TenantMismatch"])
def test_a_job_that_no_tenant_takes_is_not_accepted_and_waits(reason):
    harness = JobHarness()
    harness.reconcile(admission=Admission("Refused", reason, "Change this."))
    accepted = harness.condition("Accepted")
    assert (accepted.status, accepted.reason, accepted.message) == ("False", reason, "Change this.")
    assert harness.status.queue.reason == reason
    assert harness.condition("Stalled").status == "False"
    assert actions_of(harness.reconcile(admission=ADMITTED))


def test_a_retry_waits_for_admission_too():
    harness = JobHarness()
    harness.reconcile(admission=ADMITTED)
    failed = make_failed_child(FailureReason.SOURCE_UNAVAILABLE)
    harness.reconcile(failed, at=60, admission=ADMITTED)
    assert harness.status.phase == "Retrying"
    assert actions_of(harness.reconcile(failed, at=600, admission=FULL)) == []
    assert harness.condition("Admitted").status == "False"
    [start] = actions_of(harness.reconcile(failed, at=700, admission=ADMITTED))
    assert start.attempt == 2


def test_a_resume_waits_for_admission_too_and_its_clock_is_stopped():
    harness = JobHarness(activeDeadlineSeconds=100)
    harness.reconcile(admission=ADMITTED)
    harness.edit(suspend=True)
    harness.reconcile(make_child(), at=10, admission=ADMITTED)
    harness.edit(suspend=False)
    plan = harness.reconcile(make_child(suspended=True), at=20, admission=FULL)
    assert actions_of(plan) == []
    assert harness.status.queue.reason == "GPUsExhausted"
    assert harness.status.start_time is None
    [resume] = actions_of(harness.reconcile(make_child(suspended=True, deadline=160), at=5000, admission=ADMITTED))
    assert resume == SuspendAttempt("standup-1", "child-1", suspend=False)


def test_an_attempt_that_lives_needs_no_admission():
    harness = JobHarness()
    harness.reconcile(admission=ADMITTED)
    assert actions_of(harness.reconcile(make_child(), admission=FULL)) == []
    assert harness.status.queue.reason == "WaitingForPod"


def test_positions_are_written_at_most_every_progress_interval_and_refreshed_by_nearness():
    harness = JobHarness()
    plan = harness.reconcile(admission=FULL)
    assert plan.requeue_after == POLICY.progress_interval
    nearer = Admission("Waiting", FULL.reason, FULL.message, 3, "acme")
    harness.reconcile(admission=nearer)
    assert harness.status.queue.position == 7
    harness.reconcile(admission=nearer, progress_due=True)
    assert harness.status.queue.position == 3
    far = Admission("Waiting", FULL.reason, FULL.message, 195, "acme")
    assert harness.reconcile(admission=far, progress_due=True).requeue_after == POLICY.progress_interval * 20
    other = Admission("Waiting", "ConcurrentJobsExhausted", "More jobs.", 2, "acme")
    harness.reconcile(admission=other)
    assert (harness.status.queue.reason, harness.status.queue.position) == ("ConcurrentJobsExhausted", 2)


def test_without_its_profile_a_job_says_that_first():
    harness = JobHarness()
    harness.reconcile(profile=None, admission=FULL)
    assert harness.status.queue.reason == "ProfileNotFound"


@pytest.mark.parametrize(
    ("allowed", "tenant", "reason"),
    [
        (None, "", "Admitted"),
        (None, "acme", "Admitted"),
        (["acme", "beta"], "acme", "Admitted"),
        (["beta"], "acme", "ProfileNotAllowed"),
        (["beta"], "", "ProfileNotAllowed"),
        ([], "acme", "ProfileNotAllowed"),
    ],
)
def test_m1_a_profile_is_for_the_tenants_that_it_names(allowed, tenant, reason):
    profile = RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": {"allowedTenants": allowed}})
    harness = JobHarness()
    plan = harness.reconcile(profile=profile, admission=Admission("Admitted", tenant=tenant))
    assert bool(actions_of(plan)) == (reason == "Admitted")
    if reason != "Admitted":
        assert (harness.condition("Accepted").reason, harness.status.queue.reason) == (reason, reason)
        assert harness.status.queue.message.startswith('RuntimeProfile "gpu" is not for ')


def test_a_name_that_is_taken_times_out_from_admission_on():
    harness = JobHarness()
    harness.reconcile(admission=FULL)
    conflicting = frozenset({"standup-1"})
    harness.reconcile(at=5000, admission=ADMITTED, conflicting=conflicting)
    assert harness.status.phase == "Waiting"
    assert harness.status.queue.reason == "NameConflict"
    harness.reconcile(
        at=5000 + POLICY.name_conflict_timeout.total_seconds(), admission=ADMITTED, conflicting=conflicting
    )
    assert harness.status.phase == "Failed"


def test_a_job_whose_time_is_over_stays_until_its_tenant_has_accounted_for_it():
    harness = JobHarness(ttlSecondsAfterFinished=0, ttlPolicy="DeleteResource")
    harness.reconcile(admission=ADMITTED)
    done = make_child(make_ended_pod(0, SUCCESS), succeeded=True)
    harness.reconcile(done, at=60, admission=ADMITTED)
    plan = harness.reconcile(done, at=70, admission=ADMITTED)
    assert (actions_of(plan), plan.requeue_after) == ([], ACCOUNTING_RECHECK)
    assert actions_of(harness.reconcile(done, at=80)) == [DeleteResource("uid-1")]
    keep = JobHarness(ttlSecondsAfterFinished=0)
    keep.reconcile(admission=ADMITTED)
    keep.reconcile(done, at=60, admission=ADMITTED)
    assert actions_of(keep.reconcile(done, at=70, admission=ADMITTED))
    assert keep.reconcile(done, at=70, admission=ADMITTED).requeue_after in (None, timedelta())
