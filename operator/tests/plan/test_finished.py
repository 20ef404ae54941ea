"""What is left of a job that ended."""

from datetime import timedelta

import pytest

from steno_api.failures import FailureReason
from steno_operator.plan.common.plan import DeleteResource, StopAttempt

from .scene import SUCCESS, Life, after, child, deeds, ended, failed_child, running, stories

DONE = child(ended(0, SUCCESS), succeeded=True, finished=after(60))


def finished(**spec) -> Life:
    life = Life(**spec)
    life.see()
    life.see(DONE, at=60)
    assert life.status.phase == "Succeeded"
    return life


@pytest.mark.parametrize(
    "children", [[], [failed_child(FailureReason.INTERNAL)], [child(running(), deleting=True)], [DONE]]
)
def test_a_result_stands_whatever_becomes_of_the_children(children):
    life = finished()
    before = life.status
    assert life.see(*children, at=10_000).actions == ()
    assert life.status == before


def test_a_failure_stands_even_if_the_limit_is_raised_or_a_result_turns_up():
    life = Life(backoffLimit=0)
    life.see()
    life.see(failed_child(FailureReason.INTERNAL), at=60)
    life.edit(backoff_limit=5)
    life.see(DONE, at=100)
    assert life.status.phase == "Failed"


def test_a_finished_job_sees_a_new_generation_and_changes_nothing_else():
    life = finished()
    life.edit(suspend=True)
    plan = life.see(DONE, at=100)
    assert plan.actions == ()
    assert life.status.observed_generation == 2
    assert {item.observed_generation for item in life.status.conditions} == {2}
    assert life.status.phase == "Succeeded"


def test_a_worker_that_outlives_its_job_is_stopped():
    life = finished()
    late = child(running("standup-2-x"), attempt=2)
    assert deeds(life.see(DONE, late, at=70)) == [StopAttempt("standup-2", "child-2")]


def test_without_a_ttl_nothing_is_ever_cleared_away():
    life = finished()
    plan = life.see(DONE, at=10**9)
    assert (plan.actions, plan.requeue_after) == ((), None)


def test_the_ttl_deletes_the_children_and_keeps_the_resource():
    life = finished(ttlSecondsAfterFinished=100)
    plan = life.see(DONE, at=100)
    assert (plan.actions, plan.requeue_after) == ((), timedelta(seconds=60))
    plan = life.see(DONE, at=160)
    assert deeds(plan) == [StopAttempt("standup-1", "child-1")]
    assert stories(plan) == ["ChildrenDeleted"]
    plan = life.see(child(ended(0, SUCCESS), succeeded=True, deleting=True), at=160)
    assert (plan.actions, plan.requeue_after) == ((), None)
    assert life.status.phase == "Succeeded"


def test_the_ttl_may_delete_the_resource():
    life = finished(ttlSecondsAfterFinished=0, ttlPolicy="DeleteResource")
    assert deeds(life.see(DONE, at=60)) == [DeleteResource("uid-1")]


def test_the_ttl_waits_for_the_result_to_be_written_down():
    life = Life(ttlSecondsAfterFinished=0)
    life.see()
    plan = life.see(DONE, at=60)
    assert deeds(plan) == []
    assert plan.requeue_after == timedelta()
