"""How failed attempts are classified, counted and retried."""

from dataclasses import replace
from datetime import timedelta

import pytest

from steno_api.failures import FailureReason
from steno_operator.plan.common.plan import StartAttempt, StopAttempt
from steno_operator.plan.common.pods import ObservedPod

from .builders import (
    SUCCESS,
    JobHarness,
    actions_of,
    after,
    event_reasons,
    failure_message,
    make_child,
    make_ended_pod,
    make_failed_child,
    make_pod,
    make_running_pod,
)


@pytest.mark.parametrize("reason", [r for r in FailureReason if r.failure_class == "User"])
def test_the_users_failures_are_never_retried(reason):
    harness = JobHarness(backoffLimit=5)
    harness.reconcile()
    plan = harness.reconcile(make_failed_child(reason), at=60)
    assert actions_of(plan) == []
    assert event_reasons(plan) == [reason, "Failed"]
    assert harness.status.phase == "Failed"
    assert harness.truths() == {"Stalled", "Failed", "Accepted", "Admitted"}
    assert harness.condition("Failed").reason == reason
    assert harness.condition("Failed").message == "It broke."


@pytest.mark.parametrize(
    "reason", [r for r in FailureReason if r.failure_class in ("Environment", "Internal") and not r.free]
)
def test_other_failures_are_retried_with_doubling_backoff_up_to_the_limit(reason):
    harness = JobHarness(backoffLimit=2)
    harness.reconcile()
    first = make_failed_child(reason)
    plan = harness.reconcile(first, at=60)
    assert (harness.status.phase, harness.status.failures) == ("Retrying", 1)
    assert event_reasons(plan) == [reason, "Retrying"]
    assert plan.requeue_after == timedelta(seconds=10)
    assert actions_of(harness.reconcile(first, at=69)) == []
    assert [a.attempt for a in actions_of(harness.reconcile(first, at=70))] == [2]
    second = make_failed_child(reason, attempt=2, seconds=100)
    plan = harness.reconcile(first, second, at=100)
    assert plan.requeue_after == timedelta(seconds=20)
    assert [a.attempt for a in actions_of(harness.reconcile(first, second, at=120))] == [3]
    third = make_failed_child(reason, attempt=3, seconds=130)
    harness.reconcile(first, second, third, at=130)
    assert harness.condition("Failed").reason == reason
    assert (harness.status.failures, harness.status.attempt) == (3, 3)


def test_running_out_of_memory_halves_the_batch_of_the_next_attempt():
    harness = JobHarness()
    harness.reconcile()
    worker = make_ended_pod(137, oom_killed=True)
    dead = make_child(worker, failed=True, finished=after(60))
    harness.reconcile(dead, at=60)
    assert harness.status.out_of_memory == 1
    assert harness.status.last_failure is not None
    assert harness.status.last_failure.reason == "OutOfMemory"
    [start] = actions_of(harness.reconcile(dead, at=70))
    assert '"batchDivisor":2' in start.manifest["spec"]["template"]["spec"]["containers"][0]["args"][1]


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([make_ended_pod(143)], "Killed"),
        ([make_ended_pod(137)], "Killed"),
        ([make_ended_pod(143, failure_message(FailureReason.PREEMPTED))], "Killed"),
        ([make_ended_pod(143, disruption="PreemptionByScheduler")], "Preempted"),
        ([make_ended_pod(75)], "Killed"),
        ([make_ended_pod(71)], "OutOfMemory"),
        ([make_ended_pod(70)], "Internal"),
        ([make_ended_pod(1)], "Internal"),
        ([make_ended_pod(64)], "InvalidSpec"),
        ([make_ended_pod(64, failure_message(FailureReason.SOURCE_NOT_FOUND)[:40])], "InvalidSpec"),
        ([make_ended_pod(75, failure_message(FailureReason.SOURCE_UNAVAILABLE))], "SourceUnavailable"),
        ([make_ended_pod(143, name="a", disruption="EvictionByEvictionAPI"), make_ended_pod(70, name="b")], "Internal"),
        ([make_pod(phase="Failed")], "PodLost"),
        ([], "PodLost"),
    ],
)
def test_a_failed_child_is_classified_by_its_result_then_the_exit_code(pods, expected):
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(*pods, failed=True, failure_reason="BackoffLimitExceeded", finished=after(61)), at=61)
    assert harness.status.last_failure is not None
    assert harness.status.last_failure.reason == expected
    assert harness.status.last_failure.message
    assert "Traceback" not in harness.status.last_failure.message


def test_a_failed_pod_is_classified_only_when_kubernetes_ended_the_child():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_running_pod()))
    harness.reconcile(make_child(make_ended_pod(70)), at=60)
    assert harness.status.last_failure is None
    assert harness.status.phase == "Running"


def make_lingering_pod(exit_code: int, message: str = "") -> ObservedPod:
    """Return a pod whose worker has ended, and whose sidecar has not."""
    return replace(make_ended_pod(exit_code, message), phase="Running")


def test_k2_a_sidecar_that_does_not_end_is_stopped_after_the_worker_published():
    harness = JobHarness()
    harness.reconcile()
    child = make_child(make_lingering_pod(0, SUCCESS))
    plan = harness.reconcile(child, at=61)
    assert (harness.status.phase, actions_of(plan)) == ("Succeeded", [])
    assert plan.requeue_after == timedelta(seconds=14), "most pods end by themselves, and keep their log"
    assert harness.reconcile(child, at=74).requeue_after == timedelta(seconds=1)
    plan = harness.reconcile(child, at=75)
    assert (actions_of(plan), plan.requires_live_read) == ([StopAttempt("standup-1", "child-1")], True)
    assert harness.reconcile(replace(child, deleting=True), at=75).actions == ()
    assert replace(child, deleting=True).occupies_quota, "until its pod is gone"
    assert not replace(child, deleting=True, pods=(make_ended_pod(0, SUCCESS),)).occupies_quota


def test_k2_a_late_look_stops_the_sidecar_at_once():
    harness = JobHarness()
    harness.reconcile()
    plan = harness.reconcile(make_child(make_lingering_pod(0, SUCCESS)), at=300)
    assert actions_of(plan) == [StopAttempt("standup-1", "child-1")]
    assert harness.status.phase == "Succeeded"


@pytest.mark.parametrize(
    ("code", "message", "expected", "phase"),
    [
        (64, failure_message(FailureReason.SOURCE_NOT_FOUND), "SourceNotFound", "Failed"),
        (75, failure_message(FailureReason.SOURCE_UNAVAILABLE), "SourceUnavailable", "Retrying"),
        (137, "", "Killed", "Retrying"),
        (0, '{"result": {"outcome"', "Internal", "Retrying"),
    ],
)
def test_k2_a_failed_worker_is_judged_though_its_sidecar_does_not_end(code, message, expected, phase):
    harness = JobHarness()
    harness.reconcile()
    child = make_child(make_lingering_pod(code, message))
    plan = harness.reconcile(child, at=61)
    assert (harness.status.last_failure, plan.requeue_after) == (None, timedelta(seconds=14))
    plan = harness.reconcile(child, at=75)
    assert actions_of(plan) == [StopAttempt("standup-1", "child-1")]
    assert (harness.status.last_failure.reason, harness.status.phase) == (expected, phase)


def test_success_without_a_readable_result_is_retried_for_the_manifest():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_ended_pod(0, '{"result": {"outcome"'), succeeded=True, finished=after(60)), at=60)
    assert harness.status.last_failure is not None
    assert harness.status.last_failure.reason == "Internal"
    assert harness.status.phase == "Retrying"


def test_a_preemption_is_free_and_stays_in_its_attempt():
    harness = JobHarness(backoffLimit=0)
    harness.reconcile()
    harness.reconcile(make_child(make_running_pod()))
    gone = make_ended_pod(143, disruption="PreemptionByScheduler")
    plan = harness.reconcile(make_child(gone), at=60)
    assert (harness.status.phase, harness.status.attempt, harness.status.failures) == ("Waiting", 1, 0)
    assert actions_of(plan) == []
    assert event_reasons(plan) == ["Preempted"]
    assert harness.status.queue is not None
    assert harness.status.queue.reason == "Preempted"
    harness.reconcile(make_child(gone, make_running_pod("standup-1-fghij")), at=70)
    assert harness.status.phase == "Running"


def test_a_deleted_pod_is_waited_for_until_its_job_fails():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_running_pod()))
    plan = harness.reconcile(make_child(make_running_pod(deleting=True, gone_by=after(40))), at=10)
    assert (actions_of(plan), event_reasons(plan)) == ([], [])
    assert harness.condition("Running").message == "Pod standup-1-abcde is being removed."
    plan = harness.reconcile(make_child(failed=True, finished=after(40)), at=40)
    assert event_reasons(plan) == ["PodLost", "Retrying"]
    assert plan.requires_live_read, "the pod's last word may only not have been seen yet"


def test_a_vanished_child_is_a_lost_attempt():
    harness = JobHarness()
    harness.reconcile()
    plan = harness.reconcile(at=30)
    assert plan.requires_live_read
    assert harness.status.last_failure is not None
    assert harness.status.last_failure.reason == "PodLost"
    assert [a.attempt for a in actions_of(harness.reconcile(at=40))] == [2]


def test_a_child_deleted_by_the_user_is_a_lost_attempt():
    harness = JobHarness(backoffLimit=0)
    harness.reconcile()
    harness.reconcile(make_child(make_running_pod(), deleting=True), at=30)
    assert harness.condition("Failed").reason == "PodLost"


def test_an_image_that_does_not_come_ends_the_attempt_after_the_timeout():
    harness = JobHarness()
    harness.reconcile()
    waiting = make_child(
        make_pod(node="node-1", scheduled=after(100), waiting_reason="ImagePullBackOff", waiting_message="nope")
    )
    plan = harness.reconcile(waiting, at=200)
    assert plan.requeue_after == timedelta(seconds=500)
    assert harness.status.queue is not None
    assert harness.status.queue.reason == "ImagePullBackOff"
    plan = harness.reconcile(waiting, at=700)
    assert actions_of(plan) == [StopAttempt("standup-1", "child-1")]
    assert harness.status.last_failure is not None
    assert harness.status.last_failure.reason == "ImagePull"


@pytest.mark.parametrize(
    "stuck",
    [
        {"node": "n", "waiting_reason": "CreateContainerConfigError", "waiting_message": 'secret "s3x" not found'},
        {"node": "n", "waiting_reason": "CreateContainerError", "waiting_message": 'secret "s3x" not found'},
        {"node": "n", "warning": 'secret "s3x" not found', "warning_reason": "FailedMount", "warned": after(550)},
        {"node": "n", "warning": 'no handler "s3x"', "warning_reason": "FailedCreatePodSandBox", "warned": after(300)},
        {"unschedulable": 'persistentvolumeclaim "s3x" not found'},
    ],
)
def test_k5_k10_a_pod_that_cannot_be_started_ends_its_attempt_after_the_timeout(stuck):
    harness = JobHarness(backoffLimit=5)
    harness.reconcile()
    child = make_child(make_pod(scheduled=after(0), **stuck))
    plan = harness.reconcile(child, at=400)
    assert plan.requeue_after == timedelta(seconds=200)
    assert (actions_of(plan), harness.status.phase) == ([], "Waiting")
    assert "s3x" in harness.status.queue.message
    assert actions_of(harness.reconcile(child, at=600)) == [StopAttempt("standup-1", "child-1")]
    assert harness.status.last_failure.reason == "StartFailed"
    assert "s3x" in harness.status.last_failure.message
    again = replace(child, name="standup-2", uid="child-2", attempt=2)
    harness.reconcile(again, at=620)
    assert (harness.status.phase, harness.condition("Failed").reason) == ("Failed", "StartFailed")


def test_h6_a_secret_that_was_not_made_for_steno_is_told_from_one_that_does_not_exist():
    harness = JobHarness()
    harness.reconcile()
    said = (
        'MountVolume.SetUp failed for volume "source-credentials" : references non-existent secret key: allowedPrefix'
    )
    pod = make_pod(scheduled=after(0), node="n", warning=said, warning_reason="FailedMount", warned=after(5))
    harness.reconcile(make_child(pod), at=10)
    assert harness.status.queue.reason == "VolumeOrSecretMissing"
    assert harness.status.queue.message.startswith(f"{said}. Add this key to the Secret that secretRef names")
    assert "steno-http-token" in harness.status.queue.message


@pytest.mark.parametrize(
    "waiting",
    [
        {"unschedulable": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."},
        {"node": "n", "waiting_reason": "ContainerCreating"},
        {"node": "n", "warning": "configmap cache is not synced", "warning_reason": "FailedMount", "warned": after(5)},
    ],
)
def test_k10_a_pod_that_waits_for_a_node_or_a_long_pull_is_not_given_up(waiting):
    harness = JobHarness()
    harness.reconcile()
    plan = harness.reconcile(make_child(make_pod(scheduled=after(0), **waiting)), at=3600)
    assert (actions_of(plan), harness.status.last_failure) == ([], None)


def test_a_pod_that_outstays_its_deletion_is_on_a_lost_node():
    harness = JobHarness()
    harness.reconcile()
    stuck = make_child(make_running_pod(deleting=True, gone_by=after(100), disruption="DeletionByTaintManager"))
    assert harness.reconcile(stuck, at=100).requeue_after == timedelta(seconds=60)
    assert actions_of(harness.reconcile(stuck, at=159)) == []
    assert actions_of(harness.reconcile(stuck, at=160)) == [StopAttempt("standup-1", "child-1")]
    assert harness.status.last_failure is not None
    assert harness.status.last_failure.reason == "NodeLost"


def test_k6_a_worker_whose_node_is_not_heard_of_is_given_up_though_nothing_deletes_its_pod():
    harness = JobHarness()
    harness.reconcile()
    silent = make_child(make_running_pod(unreachable_since=after(100)))
    assert harness.reconcile(silent, at=150).requeue_after == timedelta(seconds=250)
    assert actions_of(harness.reconcile(silent, at=399)) == []
    assert actions_of(harness.reconcile(silent, at=400)) == [StopAttempt("standup-1", "child-1")]
    assert harness.status.last_failure.reason == "NodeLost"
    assert "node-1" in harness.status.last_failure.message
    start = actions_of(harness.reconcile(replace(silent, deleting=True), at=410))
    assert [action.attempt for action in start] == [2]


def test_k6_a_node_that_answers_again_keeps_its_worker():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_running_pod(unreachable_since=after(100))), at=150)
    plan = harness.reconcile(make_child(make_running_pod()), at=500)
    assert (actions_of(plan), plan.requeue_after, harness.status.phase) == ([], None, "Running")


def test_a_worker_evicted_again_and_again_is_stopped():
    harness = JobHarness()
    harness.reconcile()
    evicted = [make_ended_pod(137, name=f"standup-1-{i}", disruption="TerminationByKubelet") for i in range(3)]
    assert actions_of(harness.reconcile(make_child(*evicted[:2], make_pod("standup-1-z")))) == []
    assert actions_of(harness.reconcile(make_child(*evicted, make_pod("standup-1-z")))) == [
        StopAttempt("standup-1", "child-1")
    ]


def test_k1_a_worker_whose_nodes_shut_down_again_and_again_goes_on_for_free():
    harness = JobHarness(backoffLimit=0)
    harness.reconcile()
    words = "Pod was terminated in response to imminent node shutdown."
    shut_down = [
        make_ended_pod(
            143,
            name=f"standup-1-{i}",
            disruption="TerminationByKubelet",
            status_reason="Terminated",
            status_message=words,
        )
        for i in range(5)
    ]
    plan = harness.reconcile(make_child(*shut_down))
    assert actions_of(plan) == []
    assert (harness.status.attempt, harness.status.failures, harness.status.last_failure) == (1, 0, None)
    assert words in harness.condition("Running").message
    harness.reconcile(make_child(*shut_down, make_running_pod("standup-1-z")))
    assert harness.status.phase == "Running"


def test_k1_evictions_among_shutdowns_are_counted():
    harness = JobHarness()
    harness.reconcile()
    kubelets = {"disruption": "TerminationByKubelet"}
    evicted = [make_ended_pod(137, name=f"standup-1-{i}", status_reason="Evicted", **kubelets) for i in range(3)]
    others = [make_ended_pod(143, name=f"standup-1-s{i}", status_reason="Preempting", **kubelets) for i in range(3)]
    assert actions_of(harness.reconcile(make_child(*evicted[:2], *others, make_pod("standup-1-z")))) == []
    assert actions_of(harness.reconcile(make_child(*evicted, *others, make_pod("standup-1-z")))) == [
        StopAttempt("standup-1", "child-1")
    ]


def test_a_leftover_is_stopped_before_the_next_attempt_starts():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(at=30)
    plan = harness.reconcile(make_child(make_running_pod()), at=40)
    assert [type(action) for action in actions_of(plan)] == [StopAttempt, StartAttempt]


def test_lost_status_writes_are_made_up_from_the_children():
    harness = JobHarness(backoffLimit=5)
    children = [
        make_failed_child(FailureReason.INTERNAL),
        make_failed_child(FailureReason.OUT_OF_MEMORY, attempt=2, seconds=120),
        make_child(make_running_pod("standup-3-x"), attempt=3),
    ]
    plan = harness.reconcile(*children, at=200)
    assert actions_of(plan) == []
    assert (harness.status.attempt, harness.status.failures, harness.status.out_of_memory) == (3, 2, 1)
    assert harness.status.phase == "Running"


def test_a_finished_child_without_an_exit_code_is_read_live_once():
    """Jobs and pods come over two watches: the pod's result may not have been seen yet."""
    harness = JobHarness()
    harness.reconcile()
    done = make_child(make_running_pod(), succeeded=True)
    harness.reconcile(done)
    assert harness.reconcile(done, at=1).requires_live_read
    assert not harness.reconcile(replace(done, pods_read_live=True), at=1).requires_live_read
