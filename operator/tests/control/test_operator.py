"""The operator as a process against a real apiserver and Job controller; only scheduler and kubelet are played."""

from __future__ import annotations

import json

import pytest

from .harness import SUMMARIES

pytestmark = pytest.mark.apiserver


def test_a_job_from_apply_to_complete(place):
    replica = place.start()
    place.apply()
    pod = place.run_pod("talk-1")
    place.wait("Running")
    assert place.status()["attempt"] == 1
    assert "queue" not in place.status()  # it was there while the job waited
    place.publish(pod)
    status = place.wait("Complete")
    assert status["results"]["manifest"] == "s3://results/manifest.json"
    assert status["phase"] == "Succeeded"
    assert status["summary"]["segments"] == 5
    assert [child["metadata"]["name"] for child in place.children()] == ["talk-1"]
    assert replica.metric("steno_jobs", phase="Succeeded") == 1
    assert replica.metric("steno_attempts_total") == 1
    place.until("its Event", lambda: place.events("AttemptStarted"))
    assert replica.get("/healthz") == (200, "ok")


def test_an_ocr_job_goes_the_same_way(place):
    place.kind = "OCRJob"
    replica = place.start()
    place.apply("scan", languages=["ko"], output={"uri": "s3://results", "formats": ["pdf", "json"]})
    place.end_pod(
        place.run_pod("scan-1"), 75, {"outcome": "Failed", "reason": "SourceUnavailable", "message": "Try later."}
    )
    pod = place.run_pod("scan-2")
    place.wait("Running", "scan")
    told = place.progress(2, "scan", stage="Recognizing", percent=40, pages=1, message="page 1 of 3")
    place.until("a report is taken", lambda: replica.report(place.token(pod), told) == 202)
    place.until("the page in the status", lambda: place.status("scan").get("progress", {}).get("pages") == 1)
    assert place.condition("Running", "scan")["reason"] == "Recognizing"
    place.publish(pod)
    status = place.wait("Complete", "scan")
    assert (status["phase"], status["attempt"], status["summary"]) == ("Succeeded", 2, SUMMARIES["OCRJob"])
    assert replica.metric("steno_jobs", kind="OCRJob", phase="Succeeded") == 1
    [task] = [json.loads(c["args"][1]) for c in pod["spec"]["containers"]]
    assert (task["kind"], task["languages"], task["output"]["formats"]) == ("OCRTask", ["ko"], ["pdf", "json"])
    place.must("DELETE", place.job_path("scan"), {"propagationPolicy": "Foreground"})
    place.until("its children are gone", lambda: not place.children())


def test_a_job_of_each_kind_of_one_name_share_a_namespace_but_not_a_child(place):
    place.start()
    place.apply("same")
    place.publish(place.run_pod("same-1"))
    place.wait("Complete", "same")
    place.kind = "OCRJob"
    place.apply("same")
    place.wait("Failed", "same")
    assert place.condition("Failed", "same")["reason"] == "NameConflict"


def test_nothing_is_written_at_idle(place):
    replica = place.start()
    place.apply("done")
    place.publish(place.run_pod("done-1"))
    place.wait("Complete", "done")
    place.apply("waits", profileRef={"name": "missing"})
    place.wait("Accepted", "waits", "False")
    writes = replica.metric("steno_status_writes_total") + replica.metric("steno_actions_total")
    looks = replica.metric("steno_reconcile_seconds_count")
    for name in ("done", "waits"):
        place.patch(place.job_path(name), {"metadata": {"annotations": {"touched": "yes"}}})
    place.until("two more looks", lambda: replica.metric("steno_reconcile_seconds_count") >= looks + 2)
    versions = [place.get(name)["metadata"]["resourceVersion"] for name in ("done", "waits")]
    assert replica.metric("steno_status_writes_total") + replica.metric("steno_actions_total") == writes
    assert [place.get(name)["metadata"]["resourceVersion"] for name in ("done", "waits")] == versions


def test_a_job_waits_for_its_profile(place):
    place.start()
    name = f"{place.namespace}-late"
    place.apply(profileRef={"name": name})
    place.wait("Accepted", status="False")
    assert place.condition("Accepted")["reason"] == "ProfileNotFound"
    body = {"apiVersion": "steno.dev/v1alpha1", "kind": "RuntimeProfile", "metadata": {"name": name}, "spec": {}}
    place.must("POST", "/apis/steno.dev/v1alpha1/runtimeprofiles", body)
    place.pod("talk-1")
    place.wait("Accepted")


def test_a_failure_is_retried_and_a_users_failure_is_not(place):
    place.start()
    place.apply("flaky")
    place.end_pod(
        place.run_pod("flaky-1"), 75, {"outcome": "Failed", "reason": "SourceUnavailable", "message": "Try later."}
    )
    place.publish(place.run_pod("flaky-2"))
    assert place.wait("Complete", "flaky")["attempt"] == 2
    place.apply("wrong")
    place.end_pod(
        place.run_pod("wrong-1"), 64, {"outcome": "Failed", "reason": "UnsupportedMedia", "message": "Not audio."}
    )
    status = place.wait("Failed", "wrong")
    assert status["lastFailure"]["reason"] == "UnsupportedMedia"
    assert place.condition("Stalled", "wrong")["status"] == "True"
    assert status["attempt"] == 1


def test_why_no_pod_comes_is_told(place):
    """The Job controller says it in FailedCreate Events only."""
    place.must("POST", f"/api/v1/namespaces/{place.namespace}/resourcequotas", _quota("pods"))
    place.start()
    place.apply()
    place.until("the quota in the status", lambda: place.status().get("queue", {}).get("reason") == "PodQuotaExceeded")
    assert "exceeded quota" in place.status()["queue"]["message"]
    place.must("DELETE", f"/api/v1/namespaces/{place.namespace}/resourcequotas/none")


def test_a_refused_child_is_told_and_tried_again(place):
    place.must("POST", f"/api/v1/namespaces/{place.namespace}/resourcequotas", _quota("count/jobs.batch"))
    place.start()
    place.apply()
    place.until("the refusal in the status", lambda: "exceeded quota" in str(place.status().get("queue")))
    assert place.status().get("attempt", 0) == 0
    place.must("DELETE", f"/api/v1/namespaces/{place.namespace}/resourcequotas/none")
    place.publish(place.run_pod("talk-1"))
    place.wait("Complete")


def _quota(resource: str):
    return {"metadata": {"name": "none"}, "spec": {"hard": {resource: "0"}}}


def test_suspend_and_resume(place):
    place.start()
    place.apply()
    place.run_pod("talk-1")
    place.wait("Running")
    place.patch(place.job_path("talk"), {"spec": {"suspend": True}})
    place.wait("Suspended")
    place.until("no pod is left", lambda: not place.pods("talk-1"))
    place.patch(place.job_path("talk"), {"spec": {"suspend": False}})
    place.wait("Suspended", status="False")
    [child] = place.children()
    place.publish(place.run_pod(child["metadata"]["name"]))
    place.wait("Complete")


def test_a_deadline_may_be_changed_while_the_worker_runs(place):
    def deadline() -> int | None:
        [child] = place.children()
        return child["spec"].get("activeDeadlineSeconds")

    place.start()
    place.apply(activeDeadlineSeconds=1000)
    pod = place.run_pod("talk-1")
    place.wait("Running")
    assert deadline() == 1060
    for seconds, childs in ((7200, 7260), (None, None), (500, 560)):
        place.patch(place.job_path("talk"), {"spec": {"activeDeadlineSeconds": seconds}})
        place.until(f"the child's deadline is {childs} s", lambda wanted=childs: deadline() == wanted)
    place.publish(pod)
    assert place.wait("Complete")["attempt"] == 1


def test_a_deleted_child_is_replaced(place):
    place.start()
    place.apply()
    place.run_pod("talk-1")
    place.wait("Running")
    path = f"/apis/batch/v1/namespaces/{place.namespace}/jobs/talk-1"
    place.must("DELETE", path, {"propagationPolicy": "Background"})
    place.publish(place.run_pod("talk-2"))
    status = place.wait("Complete")
    assert status["lastFailure"]["reason"] == "PodLost"


def test_a_deleted_job_takes_its_children_along(place):
    replica = place.start()
    place.apply()
    place.run_pod("talk-1")
    place.must("DELETE", place.job_path("talk"), {"propagationPolicy": "Foreground"})
    place.until("the job is gone", lambda: place.call("GET", place.job_path("talk")).status == 404)
    place.until("its child is gone", lambda: not place.children())
    place.apply()  # the name is free again
    place.publish(place.run_pod("talk-1"))
    place.wait("Complete")
    assert replica.metric("steno_reconcile_errors_total") == 0


def test_a_deleted_job_that_somebody_elses_finalizer_keeps_works_no_longer(place):
    replica = place.start()
    place.apply()
    place.patch(place.job_path("talk"), {"metadata": {"finalizers": ["example.com/archive"]}})
    place.run_pod("talk-1")
    place.wait("Running")
    place.must("DELETE", place.job_path("talk"), {"propagationPolicy": "Background"})
    place.until("its child is gone", lambda: not place.children())
    kept = place.get()
    assert kept["metadata"]["deletionTimestamp"]
    assert kept["status"]["phase"] == "Running"
    place.patch(place.job_path("talk"), {"metadata": {"finalizers": None}})
    place.until("the job is gone", lambda: place.call("GET", place.job_path("talk")).status == 404)
    assert place.children() == []
    assert replica.metric("steno_reconcile_errors_total") == 0


def test_a_foreign_job_in_the_way(place):
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "other", "image": "other"}]}}
    path = f"/apis/batch/v1/namespaces/{place.namespace}/jobs"
    place.must("POST", path, {"metadata": {"name": "talk-1"}, "spec": {"template": template, "suspend": True}})
    place.start()
    place.apply()
    place.wait("Failed")
    assert place.condition("Failed")["reason"] == "NameConflict"
    assert len(place.children()) == 1


def test_time_to_live_removes_children_only(place):
    place.start()
    place.apply(ttlSecondsAfterFinished=0)
    place.publish(place.run_pod("talk-1"))
    place.wait("Complete")
    place.until("the child is gone", lambda: not place.children())
    assert place.status()["results"]


def test_time_to_live_removes_the_resource_when_asked(place):
    place.start()
    place.apply(ttlSecondsAfterFinished=0, ttlPolicy="DeleteResource")
    place.publish(place.run_pod("talk-1"))
    place.until("the job is gone", lambda: place.call("GET", place.job_path("talk")).status == 404)
    place.until("its child is gone", lambda: not place.children())


def test_all_namespaces_are_served_unless_told_otherwise(place):
    replica = place.start(namespaces="")
    place.apply()
    place.publish(place.run_pod("talk-1"))
    place.wait("Complete")
    assert replica.metric("steno_reconcile_errors_total") == 0
