"""The longest deadline that a Tenant allows: it ends jobs that name none, or a later one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steno_operator.plan.common.plan import SetDeadline, StopAttempt
from steno_operator.plan.job.observed import Deadline

from .builders import JobHarness, actions_of, after, make_child, make_job, make_running_pod
from .simulated_queue import SimulatedQueue

LIMIT = Deadline(100, "acme")


def test_m12_a_tenants_limit_ends_a_job_without_a_deadline():
    harness = JobHarness()
    plan = harness.reconcile(deadline_limit=LIMIT)
    [start] = actions_of(plan)
    assert start.manifest["spec"]["activeDeadlineSeconds"] == 160
    assert plan.requeue_after == timedelta(seconds=100)
    running = make_child(make_running_pod(), deadline=160)
    assert harness.reconcile(running, at=40, deadline_limit=LIMIT).requeue_after == timedelta(seconds=60)
    assert harness.status.phase == "Running"
    admitted = harness.condition("Admitted")
    assert admitted.message == 'Tenant "acme" ends the job 100 s after its start (maxActiveDeadlineSeconds).'
    plan = harness.reconcile(running, at=100, deadline_limit=LIMIT)
    assert actions_of(plan) == [StopAttempt("standup-1", "child-1")]
    failed = harness.condition("Failed")
    assert failed.reason == "DeadlineExceeded"
    assert 'within 100 s, the maxActiveDeadlineSeconds of Tenant "acme"' in failed.message


@pytest.mark.parametrize(("own", "effective", "says"), [(500, 100, "acme"), (100, 100, ""), (60, 60, "")])
def test_m12_the_shorter_of_both_deadlines_holds_and_the_status_says_when_it_is_the_tenants(own, effective, says):
    harness = JobHarness(activeDeadlineSeconds=own)
    plan = harness.reconcile(deadline_limit=LIMIT)
    [start] = actions_of(plan)
    assert start.manifest["spec"]["activeDeadlineSeconds"] == effective + 60
    assert plan.requeue_after == timedelta(seconds=effective)
    assert ("acme" in harness.condition("Admitted").message) == bool(says)
    harness.reconcile(make_child(make_running_pod(), deadline=effective + 60), at=effective, deadline_limit=LIMIT)
    assert harness.condition("Failed").reason == "DeadlineExceeded"
    assert ("acme" in harness.condition("Failed").message) == bool(says)


def test_m12_a_limit_that_is_set_changed_or_taken_away_holds_for_what_runs():
    harness = JobHarness(activeDeadlineSeconds=5000)
    harness.reconcile()
    deadline = 5060
    for limit, childs in ((LIMIT, 160), (Deadline(300, "acme"), 360), (Deadline(9000, "acme"), 5060), (None, 5060)):
        running = make_child(make_running_pod(), deadline=deadline)
        expected = [] if childs == deadline else [SetDeadline("standup-1", "child-1", childs)]
        assert actions_of(harness.reconcile(running, at=30, deadline_limit=limit)) == expected
        deadline = childs
    harness.reconcile(make_child(make_running_pod(), deadline=5060), at=200, deadline_limit=LIMIT)
    assert harness.condition("Failed").reason == "DeadlineExceeded"


def test_m12_the_clock_does_not_run_before_the_start_or_while_suspended():
    harness = JobHarness(suspend=True)
    harness.reconcile(at=500, deadline_limit=LIMIT)
    harness.edit(suspend=False)
    harness.reconcile(at=1000, deadline_limit=LIMIT)
    assert harness.status.start_time == after(1000)
    harness.edit(suspend=True)
    harness.reconcile(make_child(make_running_pod(), deadline=160), at=1050, deadline_limit=LIMIT)
    assert harness.reconcile(make_child(suspended=True, deadline=160), at=5000, deadline_limit=LIMIT).actions == ()
    assert harness.status.phase == "Suspended"


def test_m12_the_limit_ends_jobs_of_pools_too():
    pool = SimulatedQueue(make_job(execution="Pool", poolRef={"name": "fast"}), deadline_limit=LIMIT)
    pool.reconcile()
    pool.now = 99
    pool.reconcile()
    assert (pool.status.phase, pool.wanted(1)) == ("Waiting", True)
    pool.now = 100
    pool.reconcile()
    assert (pool.status.phase, pool.wanted(1)) == ("Failed", False)
