"""A job starts, starts again and resumes only where its Tenant lets it; and it says what it waits for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steno_api.failures import FailureReason
from steno_operator.plan.common.admission import Admission
from steno_operator.plan.common.plan import DeleteResource, StartAttempt, SuspendAttempt
from steno_operator.plan.job.cleanup import ACCOUNTING_RECHECK

from .scene import POLICY, SUCCESS, Life, child, deeds, ended, failed_child

ADMITTED = Admission("Admitted", tenant="acme", reserved=True)
FULL = Admission("Waiting", "GPUsExhausted", 'Tenant "acme" may use 4 GPUs.', 7, "acme")
NO_TENANT = Admission("Refused", "NoTenant", 'No Tenant has namespace "team-a".')


def test_a_job_waits_for_admission_and_then_starts_as_its_tenants():
    life = Life(tenant=None)
    plan = life.see(admission=FULL)
    assert deeds(plan) == []
    assert life.status.phase == "Pending"
    assert (life.status.queue.reason, life.status.queue.position) == ("GPUsExhausted", 7)
    assert (life.condition("Admitted").status, life.condition("Admitted").reason) == ("False", "GPUsExhausted")
    assert life.condition("Admitted").message == FULL.message
    assert life.condition("Accepted").status == "True"
    assert life.status.start_time is None
    [start] = deeds(life.see(admission=ADMITTED, at=30))
    assert isinstance(start, StartAttempt)
    assert start.manifest["metadata"]["labels"]["steno.dev/tenant"] == "acme"
    [container] = start.manifest["spec"]["template"]["spec"]["containers"]
    assert '"tenant":"acme"' in container["args"][1]
    assert life.condition("Admitted").status == "True"
    assert life.status.queue.position is None


def test_without_a_tenant_the_spec_or_the_namespace_says_who_pays():
    for spec, name in (({}, "team-a"), ({"tenantRef": {"name": "someone"}}, "someone")):
        [start] = deeds(Life(**spec).see())
        assert start.manifest["metadata"]["labels"]["steno.dev/tenant"] == name


@pytest.mark.parametrize("reason", ["NoTenant", "TenantMismatch"])
def test_a_job_that_no_tenant_takes_is_not_accepted_and_waits(reason):
    life = Life()
    life.see(admission=Admission("Refused", reason, "Change this."))
    accepted = life.condition("Accepted")
    assert (accepted.status, accepted.reason, accepted.message) == ("False", reason, "Change this.")
    assert life.status.queue.reason == reason
    assert life.condition("Stalled").status == "False"
    assert deeds(life.see(admission=ADMITTED))


def test_a_retry_waits_for_admission_too():
    life = Life()
    life.see(admission=ADMITTED)
    failed = failed_child(FailureReason.SOURCE_UNAVAILABLE)
    life.see(failed, at=60, admission=ADMITTED)
    assert life.status.phase == "Retrying"
    assert deeds(life.see(failed, at=600, admission=FULL)) == []
    assert life.condition("Admitted").status == "False"
    [start] = deeds(life.see(failed, at=700, admission=ADMITTED))
    assert start.attempt == 2


def test_a_resume_waits_for_admission_too_and_its_clock_stands():
    life = Life(activeDeadlineSeconds=100)
    life.see(admission=ADMITTED)
    life.edit(suspend=True)
    life.see(child(), at=10, admission=ADMITTED)
    life.edit(suspend=False)
    plan = life.see(child(suspended=True), at=20, admission=FULL)
    assert deeds(plan) == []
    assert life.status.queue.reason == "GPUsExhausted"
    assert life.status.start_time is None
    [resume] = deeds(life.see(child(suspended=True, deadline=160), at=5000, admission=ADMITTED))
    assert resume == SuspendAttempt("standup-1", "child-1", suspend=False)


def test_an_attempt_that_lives_needs_no_admission():
    life = Life()
    life.see(admission=ADMITTED)
    assert deeds(life.see(child(), admission=FULL)) == []
    assert life.status.queue.reason == "WaitingForPod"


def test_positions_are_written_at_most_every_progress_interval_and_looked_at_by_nearness():
    life = Life()
    plan = life.see(admission=FULL)
    assert plan.requeue_after == POLICY.progress_interval
    nearer = Admission("Waiting", FULL.reason, FULL.message, 3, "acme")
    life.see(admission=nearer)
    assert life.status.queue.position == 7
    life.see(admission=nearer, progress_due=True)
    assert life.status.queue.position == 3
    far = Admission("Waiting", FULL.reason, FULL.message, 195, "acme")
    assert life.see(admission=far, progress_due=True).requeue_after == POLICY.progress_interval * 20
    other = Admission("Waiting", "ConcurrentJobsExhausted", "More jobs.", 2, "acme")
    life.see(admission=other)
    assert (life.status.queue.reason, life.status.queue.position) == ("ConcurrentJobsExhausted", 2)


def test_without_its_profile_a_job_says_that_first():
    life = Life()
    life.see(profile=None, admission=FULL)
    assert life.status.queue.reason == "ProfileNotFound"


def test_a_name_that_is_taken_times_out_from_admission_on():
    life = Life()
    life.see(admission=FULL)
    conflicting = frozenset({"standup-1"})
    life.see(at=5000, admission=ADMITTED, conflicting=conflicting)
    assert life.status.phase == "Waiting"
    assert life.status.queue.reason == "NameConflict"
    life.see(at=5000 + POLICY.name_conflict_timeout.total_seconds(), admission=ADMITTED, conflicting=conflicting)
    assert life.status.phase == "Failed"


def test_a_job_whose_time_is_over_stays_until_its_tenant_has_accounted_for_it():
    life = Life(ttlSecondsAfterFinished=0, ttlPolicy="DeleteResource")
    life.see(admission=ADMITTED)
    done = child(ended(0, SUCCESS), succeeded=True)
    life.see(done, at=60, admission=ADMITTED)
    plan = life.see(done, at=70, admission=ADMITTED)
    assert (deeds(plan), plan.requeue_after) == ([], ACCOUNTING_RECHECK)
    assert deeds(life.see(done, at=80)) == [DeleteResource("uid-1")]
    keep = Life(ttlSecondsAfterFinished=0)
    keep.see(admission=ADMITTED)
    keep.see(done, at=60, admission=ADMITTED)
    assert deeds(keep.see(done, at=70, admission=ADMITTED))
    assert keep.see(done, at=70, admission=ADMITTED).requeue_after in (None, timedelta())
