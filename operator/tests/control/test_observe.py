from __future__ import annotations

from datetime import UTC, datetime

from steno_operator.control.cache.records import child_of, pod_of, trimmed
from steno_operator.control.kube.keys import Key

from .objects import container, job, pod, resource

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIME = "2026-01-02T03:04:05Z"


def conditions(*entries):
    return {
        "conditions": [dict(zip(("type", "status", "reason", "message"), entry, strict=False)) for entry in entries]
    }


def test_a_resource_is_kept_without_what_nobody_reads():
    metadata = trimmed(resource())["metadata"]
    assert "managedFields" not in metadata
    assert metadata["annotations"] == {"mine": "yes"}


def test_a_running_child():
    record = child_of(job(spec={"suspend": False}, status={"active": 1}))
    assert record.key == Key("TranscriptionJob", "ns", "talk")
    assert record.owner_uid == "u1"
    child = record.child
    assert (child.name, child.uid, child.attempt, child.created) == ("talk-1", "j1", 1, MOMENT)
    assert not child.done
    assert not child.deleting
    assert not child.suspended


def test_a_failed_child():
    status = conditions(("SuccessCriteriaMet", "False"), ("Failed", "True", "PodFailurePolicy", "exit code 64"))
    status["conditions"][1]["lastTransitionTime"] = TIME
    child = child_of(job(status=status)).child
    assert child.failed
    assert not child.succeeded
    assert (child.failure_reason, child.failure_message) == ("PodFailurePolicy", "exit code 64")
    assert child.finished == MOMENT


def test_a_child_that_ends_soon_is_not_done():
    """`FailureTarget` and `SuccessCriteriaMet` come before the pods have ended."""
    assert not child_of(job(status=conditions(("FailureTarget", "True"), ("SuccessCriteriaMet", "True")))).child.done


def test_a_suspended_and_a_deleted_child():
    assert child_of(job(spec={"suspend": True})).child.suspended
    raw = job()
    raw["metadata"]["deletionTimestamp"] = TIME
    assert child_of(raw).child.deleting


def test_a_job_without_owner_is_nobodys():
    record = child_of(job(owner=""))
    assert record.key is None
    assert record.owner_uid == ""


def test_a_pod_that_no_node_fits():
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    found = pod_of(pod(phase="Pending", **conditions(("PodScheduled", "False", "Unschedulable", message)))).pod
    assert found.unschedulable == message
    assert not found.started
    assert found.child_uid == "j1"


def test_a_pod_whose_image_does_not_come():
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    found = pod_of(pod(**container(waiting=waiting))).pod
    assert (found.waiting_reason, found.waiting_message) == ("ImagePullBackOff", "Back-off pulling image")


def test_a_pod_that_said_its_last_word():
    ended = {"exitCode": 64, "reason": "Error", "message": '{"result":{}}', "finishedAt": TIME}
    found = pod_of(pod(phase="Failed", **container(terminated=ended))).pod
    assert found.started
    assert (found.exit_code, found.termination_message, found.finished) == (64, '{"result":{}}', MOMENT)
    assert not found.oom_killed


def test_a_pod_that_the_kernel_killed():
    assert pod_of(pod(**container(terminated={"exitCode": 137, "reason": "OOMKilled"}))).pod.oom_killed


def test_a_pod_that_was_preempted_and_is_going():
    raw = pod(**conditions(("DisruptionTarget", "True", "PreemptionByScheduler"), ("PodScheduled", "True")))
    raw["metadata"]["deletionTimestamp"] = TIME
    raw["status"]["conditions"][1]["lastTransitionTime"] = TIME
    found = pod_of(raw).pod
    assert found.disruption == "PreemptionByScheduler"
    assert found.deleting
    assert found.gone_by == MOMENT
    assert found.scheduled == MOMENT


def test_a_pod_that_is_quite_new():
    found = pod_of({"metadata": pod()["metadata"]}).pod
    assert (found.phase, found.node, found.exit_code, found.disruption) == ("Pending", None, None, None)
