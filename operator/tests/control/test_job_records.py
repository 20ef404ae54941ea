from __future__ import annotations

from datetime import UTC, datetime

import pytest

from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.job_records import read_job, read_worker
from steno_operator.control.cache.pool_records import read_server
from steno_operator.control.cache.resource_records import read_resource, strip
from steno_operator.manifests.labels import DEADLINE, MANAGED_BY, MANAGED_BY_VALUE, SUSPENDED

from .objects import container, job, pod, resource

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIME = "2026-01-02T03:04:05Z"


def conditions(*entries):
    return {
        "conditions": [dict(zip(("type", "status", "reason", "message"), entry, strict=False)) for entry in entries]
    }


def test_a_resource_is_kept_without_metadata_that_is_never_read():
    kept = strip(resource())
    assert set(kept) == {"apiVersion", "kind", "metadata", "spec", "status"}
    read = {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"}
    assert set(kept["metadata"]) == read


def test_a_jobs_free_text_is_not_kept_and_a_sessions_is_for_its_tokens():
    raw = resource()
    raw["spec"]["metadata"] = {"tenant_id": "tenant_abc"}
    assert "metadata" not in read_resource(raw).value.raw["spec"]
    assert strip(raw)["spec"]["metadata"] == {"tenant_id": "tenant_abc"}, "what is read live has it"
    session = {**raw, "kind": "StreamSession", "spec": {"metadata": {"tenant_id": "tenant_abc"}}}
    assert read_resource(session).value.raw["spec"] == session["spec"]


def test_of_a_pools_labels_the_one_is_kept_that_says_it_was_made_on_demand():
    ours, others = {MANAGED_BY: MANAGED_BY_VALUE}, {MANAGED_BY: "Helm"}
    for labels, kept in (({**ours, "team": "a"}, ours), (others, None)):
        raw = {**resource(), "kind": "RuntimePool"}
        raw["metadata"] = {**raw["metadata"], "labels": labels}
        assert read_resource(raw).value.raw["metadata"].get("labels") == kept
        assert "labels" not in read_resource({**raw, "kind": "StreamSession"}).value.raw["metadata"]


def test_a_running_child():
    entry = read_job(job(spec={"suspend": False}, status={"active": 1}))
    assert entry.value.controller == Key("TranscriptionJob", "ns", "talk")
    assert entry.owner == OwnerKey("ns", "u1")
    child = entry.value.child
    assert (child.name, child.uid, child.attempt, child.created) == ("talk-1", "j1", 1, MOMENT)
    assert not child.done
    assert not child.deleting
    assert not child.suspended


def test_a_failed_child():
    status = conditions(("SuccessCriteriaMet", "False"), ("Failed", "True", "PodFailurePolicy", "exit code 64"))
    status["conditions"][1]["lastTransitionTime"] = TIME
    child = read_job(job(status=status)).value.child
    assert child.failed
    assert not child.succeeded
    assert (child.failure_reason, child.failure_message) == ("PodFailurePolicy", "exit code 64")
    assert child.finished == MOMENT


def test_a_child_that_ends_soon_is_not_done():
    """`FailureTarget` and `SuccessCriteriaMet` come before the pods have ended."""
    assert not read_job(
        job(status=conditions(("FailureTarget", "True"), ("SuccessCriteriaMet", "True")))
    ).value.child.done


def test_a_suspended_and_a_deleted_child():
    assert read_job(job(spec={"suspend": True})).value.child.suspended
    raw = job()
    raw["metadata"]["deletionTimestamp"] = TIME
    assert read_job(raw).value.child.deleting


def test_k12_a_child_that_another_controller_suspended_has_no_mark_of_ours():
    theirs = job(spec={"suspend": True})
    ours = job(spec={"suspend": True})
    ours["metadata"]["annotations"] = {SUSPENDED: "true"}
    assert read_job(theirs).value.child.held
    assert not read_job(ours).value.child.held
    ours["spec"]["suspend"] = False
    assert not read_job(ours).value.child.held


def test_k12_a_deadline_that_a_policy_added_is_not_ours():
    raw = job(spec={"activeDeadlineSeconds": 3600})
    assert read_job(raw).value.child.deadline is None
    raw["metadata"]["annotations"] = {DEADLINE: "1060"}
    assert read_job(raw).value.child.deadline == 1060


def test_a_job_without_a_controller_has_no_owner():
    entry = read_job(job(owner=""))
    assert entry.value.controller is None
    assert entry.owner is None


def test_a_pod_that_no_node_fits():
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    found = read_worker(
        pod(phase="Pending", **conditions(("PodScheduled", "False", "Unschedulable", message)))
    ).value.pod
    assert found.unschedulable == message
    assert not found.started
    assert found.child_uid == "j1"


def test_a_pod_whose_image_does_not_come():
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    found = read_worker(pod(**container(waiting=waiting))).value.pod
    assert (found.waiting_reason, found.waiting_message) == ("ImagePullBackOff", "Back-off pulling image")


def test_a_pod_with_a_termination_message():
    ended = {"exitCode": 64, "reason": "Error", "message": '{"result":{}}', "finishedAt": TIME}
    found = read_worker(pod(phase="Failed", **container(terminated=ended))).value.pod
    assert found.started
    assert (found.exit_code, found.termination_message, found.finished) == (64, '{"result":{}}', MOMENT)
    assert not found.oom_killed


def test_a_pod_that_the_kernel_killed():
    assert read_worker(pod(**container(terminated={"exitCode": 137, "reason": "OOMKilled"}))).value.pod.oom_killed


def test_a_pod_that_was_preempted_and_is_going():
    raw = pod(**conditions(("DisruptionTarget", "True", "PreemptionByScheduler"), ("PodScheduled", "True")))
    raw["metadata"]["deletionTimestamp"] = TIME
    raw["status"]["conditions"][1]["lastTransitionTime"] = TIME
    found = read_worker(raw).value.pod
    assert found.disruption == "PreemptionByScheduler"
    assert found.deleting
    assert found.gone_by == MOMENT
    assert found.scheduled == MOMENT


def test_k1_a_pod_that_the_kubelet_ended_or_refused_keeps_its_words():
    found = read_worker(pod(phase="Failed", reason="Terminated", message="imminent node shutdown")).value.pod
    assert (found.status_reason, found.status_message) == ("Terminated", "imminent node shutdown")


@pytest.mark.parametrize(
    ("phase", "said", "lost"),
    [
        ("Running", [("Ready", "False", None), ("ContainersReady", "True", None)], True),
        ("Running", [("Ready", "False", "NodeStatusUnknown")], True),
        ("Running", [("Ready", "Unknown", "NodeStatusUnknown"), ("ContainersReady", "True", None)], True),
        ("Running", [("Ready", "True", None), ("ContainersReady", "True", None)], False),
        ("Running", [("Ready", "False", "ContainersNotReady"), ("ContainersReady", "False", None)], False),
        ("Running", [("Ready", "False", "ReadinessGatesNotReady"), ("ContainersReady", "True", None)], False),
        ("Pending", [("Ready", "False", None)], False),
        ("Succeeded", [("Ready", "False", "PodCompleted")], False),
        ("Running", [], False),
    ],
)
def test_k6_a_pod_whose_node_is_not_heard_of(phase, said, lost):
    status = conditions(*said)
    for each in status["conditions"]:
        each["lastTransitionTime"] = TIME
    found = read_worker(pod(phase=phase, **status)).value.pod
    assert found.unreachable_since == (MOMENT if lost else None)


def initialising(**state):
    init = {"initContainerStatuses": [{"name": "proxy", "state": state}]}
    return pod(phase="Pending", **container(waiting={"reason": "PodInitializing"}), **init)


def test_k10_an_init_container_that_does_not_start_is_what_the_worker_waits_for():
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "proxy" not found'}
    found = read_worker(initialising(waiting=waiting)).value.pod
    assert (found.waiting_reason, found.waiting_message) == ("CreateContainerConfigError", 'secret "proxy" not found')
    assert read_worker(initialising(running={})).value.pod.waiting_reason == "PodInitializing"


def test_k3_an_init_container_that_failed_is_named():
    raw = initialising(terminated={"exitCode": 3, "message": "no route\nto host"})
    raw["status"]["phase"] = "Failed"
    found = read_worker(raw).value.pod
    assert found.status_message == "Init container proxy ended with exit code 3: no route to host"
    assert not found.rejected


def test_k3_a_container_that_could_not_be_started():
    ended = {"exitCode": 128, "reason": "StartError", "message": "cuda>=12.8"}
    found = read_worker(pod(phase="Failed", **container(terminated=ended))).value.pod
    assert (found.start_failed, found.termination_message) == (True, "cuda>=12.8")


def test_k3_a_server_that_could_not_be_started():
    ended = {"exitCode": 128, "reason": "StartError", "message": "unsatisfied condition: cuda>=12.8"}
    raw = pod()
    raw["status"] = {"containerStatuses": [{"name": "server", "lastState": {"terminated": ended}}]}
    assert (
        read_server(raw).value.last_exit == "it could not be started, exit code 128: unsatisfied condition: cuda>=12.8"
    )


def test_k7_a_pod_that_the_kubelet_rejected():
    found = read_worker(pod(phase="Failed", reason="UnexpectedAdmissionError", message="no device")).value.pod
    assert found.rejected
    assert not read_worker(pod(phase="Failed")).value.pod.rejected


def test_a_pod_that_is_quite_new():
    found = read_worker({"metadata": pod()["metadata"]}).value.pod
    assert (found.phase, found.node, found.exit_code, found.disruption) == ("Pending", None, None, None)
