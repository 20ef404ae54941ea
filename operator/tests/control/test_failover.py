"""Operators that die, and several at once."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.apiserver


def test_killed_while_a_job_runs(place):
    first = place.start()
    place.apply()
    pod = place.run_pod("talk-1")
    place.wait("Running")
    first.kill()
    place.publish(pod)  # ends while nobody looks
    place.start()
    assert place.wait("Complete")["attempt"] == 1
    assert [child["metadata"]["name"] for child in place.children()] == ["talk-1"]


@pytest.mark.parametrize("moment", ["created", "started", "failed", "retried"])
def test_killed_at_any_step_ends_the_same(place, moment):
    """Whatever was written last before the kill: one result, one child an attempt, no attempt too many."""
    operator = place.start()

    def maybe_kill(now: str) -> None:
        nonlocal operator
        if now == moment:
            operator.kill()
            operator = place.start()

    place.apply()
    maybe_kill("created")
    place.until("the first child", place.children)
    maybe_kill("started")
    failed = {"outcome": "Failed", "reason": "SourceUnavailable", "message": "Try later."}
    place.end_pod(place.run_pod("talk-1"), 75, failed)
    maybe_kill("failed")
    place.until("the second child", lambda: len(place.children()) == 2)
    maybe_kill("retried")
    place.publish(place.run_pod("talk-2"))
    status = place.wait("Complete")
    assert (status["attempt"], status["failures"]) == (2, 1)
    assert sorted(child["metadata"]["name"] for child in place.children()) == ["talk-1", "talk-2"]


def test_one_of_two_leads_and_the_other_takes_over(place):
    first = place.start()
    place.until("the first leads", first.leads)
    second = place.start()
    assert second.get("/readyz")[0] == 200
    assert not second.leads()
    assert second.report("any", b"{}") == 503
    place.apply()
    pod = place.run_pod("talk-1")
    place.wait("Running")
    assert second.metric("steno_actions_total") == 0
    first.kill()
    place.until("the second leads", second.leads)
    place.publish(pod)
    place.wait("Complete")
    assert len(place.children()) == 1


def test_a_leader_told_to_stop_hands_over_at_once(place):
    first = place.start(lease_duration_seconds=600, lease_renew_seconds=300)
    place.until("the first leads", first.leads)
    second = place.start()
    assert first.stop() == 0
    place.until("the second leads, long before the lease would run out", second.leads)
    assert second.stop() == 0


def test_a_leader_that_lost_the_lease_exits(place):
    first = place.start()
    place.until("the first leads", first.leads)
    path = f"/apis/coordination.k8s.io/v1/namespaces/{place.namespace}/leases/steno-operator"
    place.patch(path, {"spec": {"holderIdentity": "usurper", "leaseDurationSeconds": 600}})
    place.until("the first has exited", lambda: first.process.poll() is not None)
    assert first.process.returncode == 1


def test_the_leader_labels_its_pod(place):
    spec = {"containers": [{"name": "operator", "image": "x"}]}
    place.must("POST", f"/api/v1/namespaces/{place.namespace}/pods", {"metadata": {"name": "operator-0"}, "spec": spec})
    place.start(label_pod=True)
    path = f"/api/v1/namespaces/{place.namespace}/pods/operator-0"
    place.until(
        "the label", lambda: place.must("GET", path)["metadata"].get("labels", {}).get("steno.dev/role") == "leader"
    )
