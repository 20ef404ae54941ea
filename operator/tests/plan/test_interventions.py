"""What users and the cluster do to a job: suspend, deadlines, deletion, names in the way, refusals."""

from datetime import timedelta

import pytest

from steno_api.failures import FailureReason
from steno_operator.plan.common.plan import SetDeadline, StartAttempt, StopAttempt, SuspendAttempt

from .scene import (
    SUCCESS,
    Life,
    after,
    child,
    deeds,
    ended,
    failed_child,
    running,
    stories,
)


def test_suspend_stops_the_worker_and_resume_goes_on_with_the_same_attempt():
    life = Life()
    life.see()
    life.see(child(running()))
    life.edit(suspend=True)
    plan = life.see(child(running()), at=20)
    assert deeds(plan) == [SuspendAttempt("standup-1", "child-1", suspend=True)]
    assert stories(plan) == ["Suspended"]
    assert life.truths() == {"Suspended", "Accepted", "Admitted"}
    assert life.condition("Ready").reason == "Suspended"
    assert (life.status.phase, life.status.start_time) == ("Suspended", None)
    assert life.see(child(suspended=True), at=21).actions == ()
    life.edit(suspend=False)
    plan = life.see(child(suspended=True), at=1000)
    assert deeds(plan) == [SuspendAttempt("standup-1", "child-1", suspend=False)]
    assert stories(plan) == ["Resumed"]
    assert (life.status.attempt, life.status.start_time) == (1, after(1000))


def test_a_job_suspended_from_the_start_starts_nothing_until_resumed():
    life = Life(suspend=True)
    assert deeds(life.see()) == []
    assert life.status.phase == "Suspended"
    assert life.condition("Admitted").status == "False"
    life.edit(suspend=False)
    assert isinstance(deeds(life.see(at=10))[0], StartAttempt)


def test_the_deadline_stops_the_attempt_and_fails_the_job():
    life = Life(activeDeadlineSeconds=100)
    assert life.see().requeue_after == timedelta(seconds=100)
    assert life.see(child(running()), at=40).requeue_after == timedelta(seconds=60)
    plan = life.see(child(running()), at=100)
    assert deeds(plan) == [StopAttempt("standup-1", "child-1")]
    assert life.condition("Failed").reason == "DeadlineExceeded"
    assert life.condition("Stalled").status == "True"
    assert life.status.failures == 0


@pytest.mark.parametrize("left", [[], [child(running(), deleting=True)]])
def test_a_deadline_stop_whose_status_was_lost_is_still_the_deadline(left):
    life = Life(activeDeadlineSeconds=100, backoffLimit=0)
    life.see()
    life.see(*left, at=101)
    assert life.condition("Failed").reason == "DeadlineExceeded"


@pytest.mark.parametrize(("seconds", "childs"), [(7200, 7260), (50, 110), (None, None)])
def test_a_deadline_that_is_changed_is_changed_in_the_running_child_too(seconds, childs):
    life = Life(activeDeadlineSeconds=60)
    life.see()
    life.edit(active_deadline_seconds=seconds)
    plan = life.see(child(running(), deadline=120), at=30)
    assert deeds(plan) == [SetDeadline("standup-1", "child-1", childs)]
    assert plan.requires_live_read
    assert life.see(child(running(), deadline=childs), at=30).actions == ()


def test_a_deadline_that_was_changed_while_suspended_is_set_before_the_resume():
    life = Life(activeDeadlineSeconds=60)
    life.see()
    life.edit(suspend=True)
    life.see(child(suspended=True, deadline=120), at=20)
    life.edit(active_deadline_seconds=None)
    assert life.see(child(suspended=True, deadline=120), at=500).actions == ()
    life.edit(suspend=False)
    assert deeds(life.see(child(suspended=True, deadline=120), at=1000)) == [
        SetDeadline("standup-1", "child-1", None),
        SuspendAttempt("standup-1", "child-1", suspend=False),
    ]


def test_a_failure_before_the_deadline_keeps_its_own_reason():
    life = Life(activeDeadlineSeconds=100)
    life.see()
    life.see(failed_child(FailureReason.UNSUPPORTED_MEDIA, seconds=60), at=500)
    assert life.condition("Failed").reason == "UnsupportedMedia"


def test_the_deadlines_clock_stands_while_suspended():
    life = Life(activeDeadlineSeconds=100)
    life.see()
    life.edit(suspend=True)
    life.see(child(running()), at=50)
    assert life.see(child(suspended=True), at=5000).requeue_after is None
    assert life.status.phase == "Suspended"
    life.edit(suspend=False)
    assert life.see(child(suspended=True), at=6000).requeue_after == timedelta(seconds=100)


def test_a_job_being_deleted_is_stopped_whoever_keeps_it():
    life = Life()
    life.see()
    metadata = life.job.metadata.model_copy(update={"deletion_timestamp": after(10)})
    life.job = life.job.model_copy(update={"metadata": metadata})
    before = life.status
    plan = life.see(child(running()), at=20)
    assert plan.actions == (StopAttempt("standup-1", "child-1"),)
    assert (plan.requires_live_read, plan.requeue_after, life.status) == (True, None, before)
    for rest in ([], [child(running(), deleting=True)], [child(ended(0, SUCCESS))]):
        plan = life.see(*rest, at=21)
        assert (plan.actions, plan.requeue_after, life.status) == ((), None, before)


def test_a_conflicting_job_with_the_childs_name_fails_the_job_after_a_while():
    life = Life()
    taken = frozenset({"standup-1"})
    plan = life.see(conflicting=taken)
    assert deeds(plan) == []
    assert plan.requeue_after == timedelta(seconds=5)
    assert life.status.queue is not None
    assert life.status.queue.reason == "NameConflict"
    life.see(conflicting=taken, at=120)
    assert life.condition("Failed").reason == "NameConflict"
    assert "delete it" in life.condition("Failed").message


def test_a_namesakes_job_that_goes_away_only_delays_the_start():
    life = Life()
    life.see(conflicting=frozenset({"standup-1"}))
    assert isinstance(deeds(life.see(at=5))[0], StartAttempt)


def test_a_refusal_by_quota_waits_and_tries_again():
    life = Life()
    message = 'jobs.batch "standup-1" is forbidden: exceeded quota: jobs'
    plan = life.see(refusal=message)
    assert deeds(plan) == []
    assert plan.requeue_after == timedelta(seconds=10)
    assert life.status.queue is not None
    assert (life.status.queue.reason, life.status.queue.message) == ("PodQuotaExceeded", message)
    assert (life.status.attempt, life.status.phase) == (0, "Pending")
    assert isinstance(deeds(life.see(at=10))[0], StartAttempt)


def test_an_invalid_child_fails_the_job():
    life = Life()
    life.see(refusal="spec.template.spec.containers[0].image: Required value", refusal_final=True)
    assert life.condition("Failed").reason == "InvalidSpec"
    assert "Required value" in life.condition("Failed").message
