"""The operator as a process against a real apiserver and Job controller; only scheduler and kubelet are played."""

from __future__ import annotations

import json

import pytest

from .harness import SUMMARIES
from .objects import manifest_of

pytestmark = pytest.mark.apiserver


def test_a_job_from_apply_to_complete(harness):
    replica = harness.start()
    harness.apply()
    pod = harness.run_pod("talk-1")
    harness.wait("Running")
    assert harness.status()["attempt"] == 1
    assert "queue" not in harness.status()  # it was there while the job waited
    harness.publish(pod)
    status = harness.wait("Complete")
    assert status["results"]["manifest"] == manifest_of(pod)
    assert status["phase"] == "Succeeded"
    assert status["summary"]["segments"] == 5
    assert [child["metadata"]["name"] for child in harness.children()] == ["talk-1"]
    assert replica.metric("steno_jobs", phase="Succeeded") == 1
    assert replica.metric("steno_attempts_total") == 1
    harness.until("its Event", lambda: harness.events("AttemptStarted"))
    assert replica.get("/healthz") == (200, "ok")


def test_a_success_is_confirmed_without_lists(harness):
    harness.start()
    harness.apply()
    pod = harness.run_pod("talk-1")
    harness.wait("Running")
    before = harness.lists_served("jobs", "pods")
    harness.publish(pod)
    harness.wait("Complete")
    assert harness.lists_served("jobs", "pods") == before


def test_an_ocr_job_goes_the_same_way(harness):
    harness.kind = "OCRJob"
    replica = harness.start()
    harness.apply("scan", languages=["ko"], output={"uri": "s3://results", "formats": ["pdf", "json"]})
    harness.end_pod(
        harness.run_pod("scan-1"), 75, {"outcome": "Failed", "reason": "SourceUnavailable", "message": "Try later."}
    )
    pod = harness.run_pod("scan-2")
    harness.wait("Running", "scan")
    report = harness.progress(2, "scan", stage="Recognizing", percent=40, pages=1, message="page 1 of 3")
    harness.until("a report is taken", lambda: replica.report(harness.token(pod), report) == 202)
    harness.until("the page in the status", lambda: harness.status("scan").get("progress", {}).get("pages") == 1)
    assert harness.condition("Running", "scan")["reason"] == "Recognizing"
    harness.publish(pod)
    status = harness.wait("Complete", "scan")
    assert (status["phase"], status["attempt"], status["summary"]) == ("Succeeded", 2, SUMMARIES["OCRJob"])
    assert replica.metric("steno_jobs", kind="OCRJob", phase="Succeeded") == 1
    [task] = [json.loads(c["args"][1]) for c in pod["spec"]["containers"]]
    assert (task["kind"], task["languages"], task["output"]["formats"]) == ("OCRTask", ["ko"], ["pdf", "json"])
    harness.must("DELETE", harness.job_path("scan"), {"propagationPolicy": "Foreground"})
    harness.until("its children are gone", lambda: not harness.children())


def test_a_job_of_each_kind_of_one_name_share_a_namespace_but_not_a_child(harness):
    harness.start()
    harness.apply("same")
    harness.publish(harness.run_pod("same-1"))
    harness.wait("Complete", "same")
    harness.kind = "OCRJob"
    harness.apply("same")
    harness.wait("Failed", "same")
    assert harness.condition("Failed", "same")["reason"] == "NameConflict"


def test_nothing_is_written_at_idle(harness):
    replica = harness.start()
    harness.apply("done")
    harness.publish(harness.run_pod("done-1"))
    harness.wait("Complete", "done")
    harness.apply("waits", profileRef={"name": "missing"})
    harness.wait("Accepted", "waits", "False")
    writes = replica.metric("steno_status_writes_total") + replica.metric("steno_actions_total")
    reconciliations = replica.metric("steno_reconcile_seconds_count")
    for name in ("done", "waits"):
        harness.patch(harness.job_path(name), {"metadata": {"annotations": {"touched": "yes"}}})
    harness.until(
        "two more reconciliations", lambda: replica.metric("steno_reconcile_seconds_count") >= reconciliations + 2
    )
    versions = [harness.get(name)["metadata"]["resourceVersion"] for name in ("done", "waits")]
    assert replica.metric("steno_status_writes_total") + replica.metric("steno_actions_total") == writes
    assert [harness.get(name)["metadata"]["resourceVersion"] for name in ("done", "waits")] == versions


def test_a_job_waits_for_its_profile(harness):
    harness.start()
    name = f"{harness.namespace}-late"
    harness.apply(profileRef={"name": name})
    harness.wait("Accepted", status="False")
    assert harness.condition("Accepted")["reason"] == "ProfileNotFound"
    body = {"apiVersion": "steno.dev/v1alpha1", "kind": "RuntimeProfile", "metadata": {"name": name}, "spec": {}}
    harness.must("POST", "/apis/steno.dev/v1alpha1/runtimeprofiles", body)
    harness.pod("talk-1")
    harness.wait("Accepted")


def test_a_failure_is_retried_and_a_users_failure_is_not(harness):
    harness.start()
    harness.apply("flaky")
    harness.end_pod(
        harness.run_pod("flaky-1"), 75, {"outcome": "Failed", "reason": "SourceUnavailable", "message": "Try later."}
    )
    harness.publish(harness.run_pod("flaky-2"))
    assert harness.wait("Complete", "flaky")["attempt"] == 2
    harness.apply("wrong")
    harness.end_pod(
        harness.run_pod("wrong-1"), 64, {"outcome": "Failed", "reason": "UnsupportedMedia", "message": "Not audio."}
    )
    status = harness.wait("Failed", "wrong")
    assert status["lastFailure"]["reason"] == "UnsupportedMedia"
    assert harness.condition("Stalled", "wrong")["status"] == "True"
    assert status["attempt"] == 1


def test_the_status_says_why_no_pod_comes(harness):
    """The Job controller says it in FailedCreate Events only."""
    harness.must("POST", f"/api/v1/namespaces/{harness.namespace}/resourcequotas", _quota("pods"))
    harness.start()
    harness.apply()
    harness.until(
        "the quota in the status", lambda: harness.status().get("queue", {}).get("reason") == "PodQuotaExceeded"
    )
    assert "exceeded quota" in harness.status()["queue"]["message"]
    harness.must("DELETE", f"/api/v1/namespaces/{harness.namespace}/resourcequotas/none")


def test_a_refused_child_shows_in_the_status_and_is_tried_again(harness):
    harness.must("POST", f"/api/v1/namespaces/{harness.namespace}/resourcequotas", _quota("count/jobs.batch"))
    harness.start()
    harness.apply()
    harness.until("the refusal in the status", lambda: "exceeded quota" in str(harness.status().get("queue")))
    assert harness.status().get("attempt", 0) == 0
    harness.must("DELETE", f"/api/v1/namespaces/{harness.namespace}/resourcequotas/none")
    harness.publish(harness.run_pod("talk-1"))
    harness.wait("Complete")


def _quota(resource: str):
    return {"metadata": {"name": "none"}, "spec": {"hard": {resource: "0"}}}


def test_suspend_and_resume(harness):
    harness.start()
    harness.apply()
    harness.run_pod("talk-1")
    harness.wait("Running")
    harness.patch(harness.job_path("talk"), {"spec": {"suspend": True}})
    harness.wait("Suspended")
    harness.until("no pod is left", lambda: not harness.pods("talk-1"))
    harness.patch(harness.job_path("talk"), {"spec": {"suspend": False}})
    harness.wait("Suspended", status="False")
    [child] = harness.children()
    harness.publish(harness.run_pod(child["metadata"]["name"]))
    harness.wait("Complete")


def test_a_deadline_may_be_changed_while_the_worker_runs(harness):
    def deadline() -> int | None:
        [child] = harness.children()
        return child["spec"].get("activeDeadlineSeconds")

    harness.start()
    harness.apply(activeDeadlineSeconds=1000)
    pod = harness.run_pod("talk-1")
    harness.wait("Running")
    assert deadline() == 1060
    for seconds, childs in ((7200, 7260), (None, None), (500, 560)):
        harness.patch(harness.job_path("talk"), {"spec": {"activeDeadlineSeconds": seconds}})
        harness.until(f"the child's deadline is {childs} s", lambda wanted=childs: deadline() == wanted)
    harness.publish(pod)
    assert harness.wait("Complete")["attempt"] == 1


def test_a_deleted_child_is_replaced(harness):
    harness.start()
    harness.apply()
    harness.run_pod("talk-1")
    harness.wait("Running")
    path = f"/apis/batch/v1/namespaces/{harness.namespace}/jobs/talk-1"
    harness.must("DELETE", path, {"propagationPolicy": "Background"})
    harness.publish(harness.run_pod("talk-2"))
    status = harness.wait("Complete")
    assert status["lastFailure"]["reason"] == "PodLost"


def test_a_deleted_job_takes_its_children_along(harness):
    replica = harness.start()
    harness.apply()
    harness.run_pod("talk-1")
    harness.must("DELETE", harness.job_path("talk"), {"propagationPolicy": "Foreground"})
    harness.until("the job is gone", lambda: harness.call("GET", harness.job_path("talk")).status == 404)
    harness.until("its child is gone", lambda: not harness.children())
    harness.apply()  # the name is free again
    harness.publish(harness.run_pod("talk-1"))
    harness.wait("Complete")
    assert replica.metric("steno_reconcile_errors_total") == 0


def test_a_deleted_job_that_a_foreign_finalizer_keeps_works_no_longer(harness):
    replica = harness.start()
    harness.apply()
    harness.patch(harness.job_path("talk"), {"metadata": {"finalizers": ["example.com/archive"]}})
    harness.run_pod("talk-1")
    harness.wait("Running")
    harness.must("DELETE", harness.job_path("talk"), {"propagationPolicy": "Background"})
    harness.until("its child is gone", lambda: not harness.children())
    kept = harness.get()
    assert kept["metadata"]["deletionTimestamp"]
    assert kept["status"]["phase"] == "Running"
    harness.patch(harness.job_path("talk"), {"metadata": {"finalizers": None}})
    harness.until("the job is gone", lambda: harness.call("GET", harness.job_path("talk")).status == 404)
    assert harness.children() == []
    assert replica.metric("steno_reconcile_errors_total") == 0


def test_a_conflicting_job(harness):
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "other", "image": "other"}]}}
    path = f"/apis/batch/v1/namespaces/{harness.namespace}/jobs"
    harness.must("POST", path, {"metadata": {"name": "talk-1"}, "spec": {"template": template, "suspend": True}})
    harness.start()
    harness.apply()
    harness.wait("Failed")
    assert harness.condition("Failed")["reason"] == "NameConflict"
    assert len(harness.children()) == 1


def test_time_to_live_removes_children_only(harness):
    harness.start()
    harness.apply(ttlSecondsAfterFinished=0)
    harness.publish(harness.run_pod("talk-1"))
    harness.wait("Complete")
    harness.until("the child is gone", lambda: not harness.children())
    assert harness.status()["results"]


def test_time_to_live_removes_the_resource_when_asked(harness):
    harness.start()
    harness.apply(ttlSecondsAfterFinished=0, ttlPolicy="DeleteResource")
    harness.publish(harness.run_pod("talk-1"))
    harness.until("the job is gone", lambda: harness.call("GET", harness.job_path("talk")).status == 404)
    harness.until("its child is gone", lambda: not harness.children())


def test_all_namespaces_are_served_unless_set_otherwise(harness):
    replica = harness.start(namespaces="")
    harness.apply()
    harness.publish(harness.run_pod("talk-1"))
    harness.wait("Complete")
    assert replica.metric("steno_reconcile_errors_total") == 0
