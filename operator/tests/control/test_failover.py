"""Operators that die, and several at once."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.apiserver


def test_killed_while_a_job_runs(harness):
    first = harness.start()
    harness.apply()
    pod = harness.run_pod("talk-1")
    harness.wait("Running")
    first.kill()
    harness.publish(pod)  # ends while no operator runs
    harness.start()
    assert harness.wait("Complete")["attempt"] == 1
    assert [child["metadata"]["name"] for child in harness.children()] == ["talk-1"]


@pytest.mark.parametrize("moment", ["created", "started", "failed", "retried"])
def test_killed_at_any_step_ends_the_same(harness, moment):
    """Whatever was written last before the kill: one result, one child an attempt, no attempt too many."""
    operator = harness.start()

    def maybe_kill(now: str) -> None:
        nonlocal operator
        if now == moment:
            operator.kill()
            operator = harness.start()

    harness.apply()
    maybe_kill("created")
    harness.until("the first child", harness.children)
    maybe_kill("started")
    failed = {"outcome": "Failed", "reason": "SourceUnavailable", "message": "Try later."}
    harness.end_pod(harness.run_pod("talk-1"), 75, failed)
    maybe_kill("failed")
    harness.until("the second child", lambda: len(harness.children()) == 2)
    maybe_kill("retried")
    harness.publish(harness.run_pod("talk-2"))
    status = harness.wait("Complete")
    assert (status["attempt"], status["failures"]) == (2, 1)
    assert sorted(child["metadata"]["name"] for child in harness.children()) == ["talk-1", "talk-2"]


def test_one_of_two_leads_and_the_other_takes_over(harness):
    first = harness.start()
    harness.until("the first leads", first.leads)
    second = harness.start()
    assert second.get("/readyz")[0] == 200
    assert not second.leads()
    assert second.report("any", b"{}") == 503
    harness.apply()
    pod = harness.run_pod("talk-1")
    harness.wait("Running")
    assert second.metric("steno_actions_total") == 0
    first.kill()
    harness.until("the second leads", second.leads)
    harness.publish(pod)
    harness.wait("Complete")
    assert len(harness.children()) == 1


def test_a_leader_that_is_stopped_hands_over_at_once(harness):
    first = harness.start(lease_duration_seconds=600, lease_renew_seconds=300)
    harness.until("the first leads", first.leads)
    second = harness.start()
    assert first.stop() == 0
    harness.until("the second leads, long before the lease would run out", second.leads)
    assert second.stop() == 0


def test_a_leader_that_lost_the_lease_exits(harness):
    first = harness.start()
    harness.until("the first leads", first.leads)
    path = f"/apis/coordination.k8s.io/v1/namespaces/{harness.namespace}/leases/steno-operator"
    harness.patch(path, {"spec": {"holderIdentity": "usurper", "leaseDurationSeconds": 600}})
    harness.until("the first has exited", lambda: first.process.poll() is not None)
    assert first.process.returncode == 1


def test_the_leader_labels_its_pod(harness):
    spec = {"containers": [{"name": "operator", "image": "x"}]}
    harness.must(
        "POST", f"/api/v1/namespaces/{harness.namespace}/pods", {"metadata": {"name": "operator-0"}, "spec": spec}
    )
    harness.start(label_pod=True)
    path = f"/api/v1/namespaces/{harness.namespace}/pods/operator-0"
    harness.until(
        "the label", lambda: harness.must("GET", path)["metadata"].get("labels", {}).get("steno.dev/role") == "leader"
    )


def test_k14_what_is_deleted_while_no_operator_runs_leaves_nothing(harness):
    first = harness.start()
    harness.apply("gone")
    harness.run_pod("gone-1")
    harness.wait("Running", "gone")
    assert not harness.get("gone")["metadata"].get("finalizers")
    first.kill()
    harness.must("DELETE", harness.job_path("gone"))
    harness.until("its children are gone", lambda: not harness.children())
    assert harness.call("GET", harness.job_path("gone")).status == 404
    harness.start()
    harness.apply("gone")
    harness.publish(harness.run_pod("gone-1"))
    assert harness.wait("Complete", "gone")["attempt"] == 1
