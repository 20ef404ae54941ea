"""What other parts of a cluster do to a job, with a real apiserver and Job controller."""

from __future__ import annotations

import pytest

from .harness import GROUP

pytestmark = pytest.mark.apiserver


def test_k12_another_controller_suspends_the_child(harness):
    replica = harness.start()
    harness.apply()
    harness.pod("talk-1")
    path = f"/apis/batch/v1/namespaces/{harness.namespace}/jobs/talk-1"
    harness.patch(path, {"spec": {"suspend": True, "activeDeadlineSeconds": 3600}})
    harness.until("it says so", lambda: harness.status().get("queue", {}).get("reason") == "ChildSuspended")
    harness.until("no pod is left", lambda: not harness.pods("talk-1"))
    [child] = harness.children()
    assert (child["spec"]["suspend"], child["spec"]["activeDeadlineSeconds"]) == (True, 3600)
    assert replica.metric("steno_actions_total", action="SuspendAttempt") == 0
    assert replica.metric("steno_actions_total", action="SetDeadline") == 0
    harness.patch(path, {"spec": {"suspend": False}})
    harness.publish(harness.run_pod("talk-1"))
    assert harness.wait("Complete")["attempt"] == 1


def test_k2_a_sidecar_that_does_not_end(harness):
    harness.start()
    harness.apply()
    pod = harness.run_pod("talk-1")
    harness.wait("Running")
    harness.publish(pod)
    harness.patch(
        f"/api/v1/namespaces/{harness.namespace}/pods/{pod['metadata']['name']}/status",
        {"status": {"phase": "Running"}},
    )
    harness.wait("Complete")
    harness.until("the child is stopped", lambda: all("deletionTimestamp" in c["metadata"] for c in harness.children()))


def test_k5_the_kubelets_words_about_a_volume(harness):
    harness.start()
    harness.apply()
    pod = harness.pod("talk-1")
    about = {"kind": "Pod", "namespace": harness.namespace, "name": pod["metadata"]["name"]}
    event = {
        "metadata": {"name": "attach"},
        "type": "Warning",
        "reason": "FailedAttachVolume",
        "message": "Multi-Attach error for volume",
        "involvedObject": {**about, "uid": pod["metadata"]["uid"]},
    }
    harness.must("POST", f"/api/v1/namespaces/{harness.namespace}/events", event)
    harness.until("it says so", lambda: "Multi-Attach" in harness.status().get("queue", {}).get("message", ""))
    assert harness.status()["queue"]["reason"] == "VolumeOrSecretMissing"


def test_k9_a_limit_range_is_named(harness):
    limits = {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}
    path = f"/api/v1/namespaces/{harness.namespace}/limitranges"
    harness.must("POST", path, {"metadata": {"name": "small"}, "spec": limits})
    harness.patch(
        f"{GROUP}/runtimeprofiles/{harness.namespace}", {"spec": {"resources": {"limits": {"memory": "16Gi"}}}}
    )
    harness.start()
    harness.apply()
    harness.until(
        "the limit in the status", lambda: harness.status().get("queue", {}).get("reason") == "PodQuotaExceeded"
    )
    assert "1Gi" in harness.status()["queue"]["message"]
    harness.must("DELETE", f"{path}/small")
    harness.publish(harness.run_pod("talk-1"))
    harness.wait("Complete")
