"""How failed attempts are judged, counted and retried."""

from datetime import timedelta

import pytest

from steno_api.failures import FailureReason
from steno_operator.plan.common.plan import StartAttempt, StopAttempt

from .scene import (
    Life,
    after,
    child,
    deeds,
    ended,
    failed_child,
    failure,
    pod,
    running,
    stories,
)


@pytest.mark.parametrize("reason", [r for r in FailureReason if r.failure_class == "User"])
def test_the_users_failures_are_never_retried(reason):
    life = Life(backoffLimit=5)
    life.see()
    plan = life.see(failed_child(reason), at=60)
    assert deeds(plan) == []
    assert stories(plan) == [reason, "Failed"]
    assert life.status.phase == "Failed"
    assert life.truths() == {"Stalled", "Failed", "Accepted", "Admitted"}
    assert life.condition("Failed").reason == reason
    assert life.condition("Failed").message == "It broke."


@pytest.mark.parametrize(
    "reason", [r for r in FailureReason if r.failure_class in ("Environment", "Internal") and not r.free]
)
def test_other_failures_are_retried_with_doubling_backoff_up_to_the_limit(reason):
    life = Life(backoffLimit=2)
    life.see()
    first = failed_child(reason)
    plan = life.see(first, at=60)
    assert (life.status.phase, life.status.failures) == ("Retrying", 1)
    assert stories(plan) == [reason, "Retrying"]
    assert plan.requeue_after == timedelta(seconds=10)
    assert deeds(life.see(first, at=69)) == []
    assert [a.attempt for a in deeds(life.see(first, at=70))] == [2]
    second = failed_child(reason, attempt=2, seconds=100)
    plan = life.see(first, second, at=100)
    assert plan.requeue_after == timedelta(seconds=20)
    assert [a.attempt for a in deeds(life.see(first, second, at=120))] == [3]
    third = failed_child(reason, attempt=3, seconds=130)
    life.see(first, second, third, at=130)
    assert life.condition("Failed").reason == reason
    assert (life.status.failures, life.status.attempt) == (3, 3)


def test_running_out_of_memory_halves_the_batch_of_the_next_attempt():
    life = Life()
    life.see()
    worker = ended(137, oom_killed=True)
    dead = child(worker, failed=True, finished=after(60))
    life.see(dead, at=60)
    assert life.status.out_of_memory == 1
    assert life.status.last_failure is not None
    assert life.status.last_failure.reason == "OutOfMemory"
    [start] = deeds(life.see(dead, at=70))
    assert '"batchDivisor":2' in start.manifest["spec"]["template"]["spec"]["containers"][0]["args"][1]


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([ended(143)], "Killed"),
        ([ended(137)], "Killed"),
        ([ended(143, failure(FailureReason.PREEMPTED))], "Killed"),
        ([ended(143, disruption="PreemptionByScheduler")], "Preempted"),
        ([ended(75)], "Killed"),
        ([ended(71)], "OutOfMemory"),
        ([ended(70)], "Internal"),
        ([ended(1)], "Internal"),
        ([ended(64)], "InvalidSpec"),
        ([ended(64, failure(FailureReason.SOURCE_NOT_FOUND)[:40])], "InvalidSpec"),
        ([ended(75, failure(FailureReason.SOURCE_UNAVAILABLE))], "SourceUnavailable"),
        ([ended(143, name="a", disruption="EvictionByEvictionAPI"), ended(70, name="b")], "Internal"),
        ([pod(phase="Failed")], "PodLost"),
        ([], "PodLost"),
    ],
)
def test_a_failed_child_is_judged_by_the_last_word_then_the_exit_code(pods, expected):
    life = Life()
    life.see()
    life.see(child(*pods, failed=True, failure_reason="BackoffLimitExceeded", finished=after(61)), at=61)
    assert life.status.last_failure is not None
    assert life.status.last_failure.reason == expected
    assert life.status.last_failure.message
    assert "Traceback" not in life.status.last_failure.message


def test_a_failed_pod_is_judged_only_when_kubernetes_ended_the_child():
    life = Life()
    life.see()
    life.see(child(running()))
    life.see(child(ended(70)), at=60)
    assert life.status.last_failure is None
    assert life.status.phase == "Running"


def test_success_without_a_readable_result_is_retried_for_the_manifest():
    life = Life()
    life.see()
    life.see(child(ended(0, '{"result": {"outcome"'), succeeded=True, finished=after(60)), at=60)
    assert life.status.last_failure is not None
    assert life.status.last_failure.reason == "Internal"
    assert life.status.phase == "Retrying"


def test_a_preemption_is_free_and_stays_in_its_attempt():
    life = Life(backoffLimit=0)
    life.see()
    life.see(child(running()))
    gone = ended(143, disruption="PreemptionByScheduler")
    plan = life.see(child(gone), at=60)
    assert (life.status.phase, life.status.attempt, life.status.failures) == ("Waiting", 1, 0)
    assert deeds(plan) == []
    assert stories(plan) == ["Preempted"]
    assert life.status.queue is not None
    assert life.status.queue.reason == "Preempted"
    life.see(child(gone, running("standup-1-fghij")), at=70)
    assert life.status.phase == "Running"


def test_a_deleted_pod_is_waited_for_until_its_job_fails():
    life = Life()
    life.see()
    life.see(child(running()))
    plan = life.see(child(running(deleting=True, gone_by=after(40))), at=10)
    assert (deeds(plan), stories(plan)) == ([], [])
    assert life.condition("Running").message == "Pod standup-1-abcde is being removed."
    plan = life.see(child(failed=True, finished=after(40)), at=40)
    assert stories(plan) == ["PodLost", "Retrying"]
    assert plan.requires_live_read, "the pod's last word may only not have been seen yet"


def test_a_vanished_child_is_a_lost_attempt():
    life = Life()
    life.see()
    plan = life.see(at=30)
    assert plan.requires_live_read
    assert life.status.last_failure is not None
    assert life.status.last_failure.reason == "PodLost"
    assert [a.attempt for a in deeds(life.see(at=40))] == [2]


def test_a_child_deleted_by_the_user_is_a_lost_attempt():
    life = Life(backoffLimit=0)
    life.see()
    life.see(child(running(), deleting=True), at=30)
    assert life.condition("Failed").reason == "PodLost"


def test_an_image_that_does_not_come_ends_the_attempt_after_the_timeout():
    life = Life()
    life.see()
    waiting = child(pod(node="node-1", scheduled=after(100), waiting_reason="ImagePullBackOff", waiting_message="nope"))
    plan = life.see(waiting, at=200)
    assert plan.requeue_after == timedelta(seconds=500)
    assert life.status.queue is not None
    assert life.status.queue.reason == "ImagePullBackOff"
    plan = life.see(waiting, at=700)
    assert deeds(plan) == [StopAttempt("standup-1", "child-1")]
    assert life.status.last_failure is not None
    assert life.status.last_failure.reason == "ImagePull"


def test_a_pod_that_outstays_its_deletion_is_on_a_lost_node():
    life = Life()
    life.see()
    stuck = child(running(deleting=True, gone_by=after(100), disruption="DeletionByTaintManager"))
    assert life.see(stuck, at=100).requeue_after == timedelta(seconds=60)
    assert deeds(life.see(stuck, at=159)) == []
    assert deeds(life.see(stuck, at=160)) == [StopAttempt("standup-1", "child-1")]
    assert life.status.last_failure is not None
    assert life.status.last_failure.reason == "NodeLost"


def test_a_worker_evicted_again_and_again_is_stopped():
    life = Life()
    life.see()
    evicted = [ended(137, name=f"standup-1-{i}", disruption="TerminationByKubelet") for i in range(3)]
    assert deeds(life.see(child(*evicted[:2], pod("standup-1-z")))) == []
    assert deeds(life.see(child(*evicted, pod("standup-1-z")))) == [StopAttempt("standup-1", "child-1")]


def test_a_leftover_is_stopped_before_the_next_attempt_starts():
    life = Life()
    life.see()
    life.see(at=30)
    plan = life.see(child(running()), at=40)
    assert [type(action) for action in deeds(plan)] == [StopAttempt, StartAttempt]


def test_lost_status_writes_are_made_up_from_the_children():
    life = Life(backoffLimit=5)
    children = [
        failed_child(FailureReason.INTERNAL),
        failed_child(FailureReason.OUT_OF_MEMORY, attempt=2, seconds=120),
        child(running("standup-3-x"), attempt=3),
    ]
    plan = life.see(*children, at=200)
    assert deeds(plan) == []
    assert (life.status.attempt, life.status.failures, life.status.out_of_memory) == (3, 2, 1)
    assert life.status.phase == "Running"
