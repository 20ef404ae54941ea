"""What users and the cluster do to a job: suspend, deadlines, deletion, names in the way, refusals."""

from datetime import timedelta

import pytest

from steno_api.failures import FailureReason
from steno_operator.plan.common.plan import SetDeadline, StartAttempt, StopAttempt, SuspendAttempt

from .builders import (
    SUCCESS,
    JobHarness,
    actions_of,
    after,
    event_reasons,
    make_child,
    make_ended_pod,
    make_failed_child,
    make_running_pod,
)


def test_suspend_stops_the_worker_and_resume_continues_the_same_attempt():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_running_pod()))
    harness.edit(suspend=True)
    plan = harness.reconcile(make_child(make_running_pod()), at=20)
    assert actions_of(plan) == [SuspendAttempt("standup-1", "child-1", suspend=True)]
    assert event_reasons(plan) == ["Suspended"]
    assert harness.truths() == {"Suspended", "Accepted", "Admitted"}
    assert harness.condition("Ready").reason == "Suspended"
    assert (harness.status.phase, harness.status.start_time) == ("Suspended", None)
    assert harness.reconcile(make_child(suspended=True), at=21).actions == ()
    harness.edit(suspend=False)
    plan = harness.reconcile(make_child(suspended=True), at=1000)
    assert actions_of(plan) == [SuspendAttempt("standup-1", "child-1", suspend=False)]
    assert event_reasons(plan) == ["Resumed"]
    assert (harness.status.attempt, harness.status.start_time) == (1, after(1000))


def test_a_job_suspended_from_the_start_starts_nothing_until_resumed():
    harness = JobHarness(suspend=True)
    assert actions_of(harness.reconcile()) == []
    assert harness.status.phase == "Suspended"
    assert harness.condition("Admitted").status == "False"
    harness.edit(suspend=False)
    assert isinstance(actions_of(harness.reconcile(at=10))[0], StartAttempt)


def test_the_deadline_stops_the_attempt_and_fails_the_job():
    harness = JobHarness(activeDeadlineSeconds=100)
    assert harness.reconcile().requeue_after == timedelta(seconds=100)
    assert harness.reconcile(make_child(make_running_pod()), at=40).requeue_after == timedelta(seconds=60)
    plan = harness.reconcile(make_child(make_running_pod()), at=100)
    assert actions_of(plan) == [StopAttempt("standup-1", "child-1")]
    assert harness.condition("Failed").reason == "DeadlineExceeded"
    assert harness.condition("Stalled").status == "True"
    assert harness.status.failures == 0


@pytest.mark.parametrize("left", [[], [make_child(make_running_pod(), deleting=True)]])
def test_a_deadline_stop_whose_status_was_lost_is_still_the_deadline(left):
    harness = JobHarness(activeDeadlineSeconds=100, backoffLimit=0)
    harness.reconcile()
    harness.reconcile(*left, at=101)
    assert harness.condition("Failed").reason == "DeadlineExceeded"


@pytest.mark.parametrize(("seconds", "childs"), [(7200, 7260), (50, 110), (None, None)])
def test_a_deadline_that_is_changed_is_changed_in_the_running_child_too(seconds, childs):
    harness = JobHarness(activeDeadlineSeconds=60)
    harness.reconcile()
    harness.edit(active_deadline_seconds=seconds)
    plan = harness.reconcile(make_child(make_running_pod(), deadline=120), at=30)
    assert actions_of(plan) == [SetDeadline("standup-1", "child-1", childs)]
    assert plan.requires_live_read
    assert harness.reconcile(make_child(make_running_pod(), deadline=childs), at=30).actions == ()


def test_a_deadline_that_was_changed_while_suspended_is_set_before_the_resume():
    harness = JobHarness(activeDeadlineSeconds=60)
    harness.reconcile()
    harness.edit(suspend=True)
    harness.reconcile(make_child(suspended=True, deadline=120), at=20)
    harness.edit(active_deadline_seconds=None)
    assert harness.reconcile(make_child(suspended=True, deadline=120), at=500).actions == ()
    harness.edit(suspend=False)
    assert actions_of(harness.reconcile(make_child(suspended=True, deadline=120), at=1000)) == [
        SetDeadline("standup-1", "child-1", None),
        SuspendAttempt("standup-1", "child-1", suspend=False),
    ]


def test_k12_a_child_that_another_controller_suspends_waits_for_it():
    harness = JobHarness()
    harness.reconcile()
    held = make_child(suspended=True, held=True)
    for seconds in (1, 30, 3000):
        assert actions_of(harness.reconcile(held, at=seconds)) == []
        assert (harness.status.phase, harness.status.queue.reason) == ("Waiting", "ChildSuspended")
    assert "Kueue" in harness.status.queue.message
    assert actions_of(harness.reconcile(make_child(make_running_pod()), at=3001)) == []
    assert harness.status.phase == "Running"
    assert actions_of(harness.reconcile(held, at=3002)) == []
    assert harness.status.queue.reason == "ChildSuspended"


def test_k12_a_resume_leaves_a_child_suspended_that_another_controller_holds():
    harness = JobHarness()
    harness.reconcile()
    held = make_child(suspended=True, held=True)
    harness.edit(suspend=True)
    assert actions_of(harness.reconcile(held, at=10)) == []
    assert actions_of(harness.reconcile(make_child(), at=20)) == [SuspendAttempt("standup-1", "child-1", suspend=True)]
    harness.edit(suspend=False)
    assert actions_of(harness.reconcile(held, at=30)) == []
    assert harness.status.queue.reason == "ChildSuspended"


def test_a_failure_before_the_deadline_keeps_its_own_reason():
    harness = JobHarness(activeDeadlineSeconds=100)
    harness.reconcile()
    harness.reconcile(make_failed_child(FailureReason.UNSUPPORTED_MEDIA, seconds=60), at=500)
    assert harness.condition("Failed").reason == "UnsupportedMedia"


def test_the_deadlines_clock_is_stopped_while_suspended():
    harness = JobHarness(activeDeadlineSeconds=100)
    harness.reconcile()
    harness.edit(suspend=True)
    harness.reconcile(make_child(make_running_pod()), at=50)
    assert harness.reconcile(make_child(suspended=True), at=5000).requeue_after is None
    assert harness.status.phase == "Suspended"
    harness.edit(suspend=False)
    assert harness.reconcile(make_child(suspended=True), at=6000).requeue_after == timedelta(seconds=100)


def test_a_job_being_deleted_is_stopped_even_if_a_finalizer_keeps_it():
    harness = JobHarness()
    harness.reconcile()
    metadata = harness.job.metadata.model_copy(update={"deletion_timestamp": after(10)})
    harness.job = harness.job.model_copy(update={"metadata": metadata})
    before = harness.status
    plan = harness.reconcile(make_child(make_running_pod()), at=20)
    assert plan.actions == (StopAttempt("standup-1", "child-1"),)
    assert (plan.requires_live_read, plan.requeue_after, harness.status) == (True, None, before)
    for rest in ([], [make_child(make_running_pod(), deleting=True)], [make_child(make_ended_pod(0, SUCCESS))]):
        plan = harness.reconcile(*rest, at=21)
        assert (plan.actions, plan.requeue_after, harness.status) == ((), None, before)


def test_a_conflicting_job_with_the_childs_name_fails_the_job_after_a_while():
    harness = JobHarness()
    taken = frozenset({"standup-1"})
    plan = harness.reconcile(conflicting=taken)
    assert actions_of(plan) == []
    assert plan.requeue_after == timedelta(seconds=5)
    assert harness.status.queue is not None
    assert harness.status.queue.reason == "NameConflict"
    harness.reconcile(conflicting=taken, at=120)
    assert harness.condition("Failed").reason == "NameConflict"
    assert "delete it" in harness.condition("Failed").message


def test_a_namesakes_job_that_goes_away_only_delays_the_start():
    harness = JobHarness()
    harness.reconcile(conflicting=frozenset({"standup-1"}))
    assert isinstance(actions_of(harness.reconcile(at=5))[0], StartAttempt)


def test_a_refusal_by_quota_waits_and_tries_again():
    harness = JobHarness()
    message = 'jobs.batch "standup-1" is forbidden: exceeded quota: jobs'
    plan = harness.reconcile(refusal=message)
    assert actions_of(plan) == []
    assert plan.requeue_after == timedelta(seconds=10)
    assert harness.status.queue is not None
    assert (harness.status.queue.reason, harness.status.queue.message) == ("PodQuotaExceeded", message)
    assert (harness.status.attempt, harness.status.phase) == (0, "Pending")
    assert isinstance(actions_of(harness.reconcile(at=10))[0], StartAttempt)


def test_an_invalid_child_fails_the_job():
    harness = JobHarness()
    harness.reconcile(refusal="spec.template.spec.containers[0].image: Required value", refusal_final=True)
    assert harness.condition("Failed").reason == "InvalidSpec"
    assert "Required value" in harness.condition("Failed").message
