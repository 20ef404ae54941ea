"""What is left of a job that ended."""

from datetime import timedelta

import pytest

from steno_api.failures import FailureReason
from steno_operator.plan.common.plan import DeleteResource, StopAttempt

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

DONE = make_child(make_ended_pod(0, SUCCESS), succeeded=True, finished=after(60))


def finished(**spec) -> JobHarness:
    harness = JobHarness(**spec)
    harness.reconcile()
    harness.reconcile(DONE, at=60)
    assert harness.status.phase == "Succeeded"
    return harness


@pytest.mark.parametrize(
    "children",
    [[], [make_failed_child(FailureReason.INTERNAL)], [make_child(make_running_pod(), deleting=True)], [DONE]],
)
def test_a_result_stays_whatever_happens_to_the_children(children):
    harness = finished()
    before = harness.status
    assert harness.reconcile(*children, at=10_000).actions == ()
    assert harness.status == before


def test_a_failure_stays_even_if_the_limit_is_raised_or_a_result_turns_up():
    harness = JobHarness(backoffLimit=0)
    harness.reconcile()
    harness.reconcile(make_failed_child(FailureReason.INTERNAL), at=60)
    harness.edit(backoff_limit=5)
    harness.reconcile(DONE, at=100)
    assert harness.status.phase == "Failed"


def test_a_finished_job_observes_a_new_generation_and_changes_nothing_else():
    harness = finished()
    harness.edit(suspend=True)
    plan = harness.reconcile(DONE, at=100)
    assert plan.actions == ()
    assert harness.status.observed_generation == 2
    assert {item.observed_generation for item in harness.status.conditions} == {2}
    assert harness.status.phase == "Succeeded"


def test_a_worker_that_outlives_its_job_is_stopped():
    harness = finished()
    late = make_child(make_running_pod("standup-2-x"), attempt=2)
    assert actions_of(harness.reconcile(DONE, late, at=70)) == [StopAttempt("standup-2", "child-2")]


def test_without_a_ttl_nothing_is_ever_cleared_away():
    harness = finished()
    plan = harness.reconcile(DONE, at=10**9)
    assert (plan.actions, plan.requeue_after) == ((), None)


def test_the_ttl_deletes_the_children_and_keeps_the_resource():
    harness = finished(ttlSecondsAfterFinished=100)
    plan = harness.reconcile(DONE, at=100)
    assert (plan.actions, plan.requeue_after) == ((), timedelta(seconds=60))
    plan = harness.reconcile(DONE, at=160)
    assert actions_of(plan) == [StopAttempt("standup-1", "child-1")]
    assert event_reasons(plan) == ["ChildrenDeleted"]
    plan = harness.reconcile(make_child(make_ended_pod(0, SUCCESS), succeeded=True, deleting=True), at=160)
    assert (plan.actions, plan.requeue_after) == ((), None)
    assert harness.status.phase == "Succeeded"


def test_the_ttl_may_delete_the_resource():
    harness = finished(ttlSecondsAfterFinished=0, ttlPolicy="DeleteResource")
    assert actions_of(harness.reconcile(DONE, at=60)) == [DeleteResource("uid-1")]


def test_the_ttl_waits_for_the_result_to_be_written_down():
    harness = JobHarness(ttlSecondsAfterFinished=0)
    harness.reconcile()
    plan = harness.reconcile(DONE, at=60)
    assert actions_of(plan) == []
    assert plan.requeue_after == timedelta()


def test_a_nodes_clock_that_is_ahead_does_not_complete_the_job_in_the_future():
    harness = JobHarness(ttlSecondsAfterFinished=100)
    harness.reconcile()
    plan = harness.reconcile(make_child(make_ended_pod(0, SUCCESS), succeeded=True), at=20)
    assert harness.status.completion_time == after(20)
    assert plan.requeue_after is not None
