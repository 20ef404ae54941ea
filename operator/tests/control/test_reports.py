"""The report endpoint with real tokens and a real TokenReview."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.apiserver


@pytest.fixture
def running(harness):
    """An operator, a running job, and its pod."""
    replica = harness.start()
    harness.apply()
    pod = harness.run_pod("talk-1")
    harness.wait("Running")
    return replica, pod


def test_a_report_of_the_attempts_pod_shows_in_the_status(harness, running):
    replica, pod = running
    token = harness.token(pod)
    assert replica.report(token, harness.progress(percent=42, message="chunk 31 of 74")) == 202
    harness.until("progress in the status", lambda: harness.status().get("progress", {}).get("percent") == 42)
    assert harness.condition("Running")["reason"] == "Decoding"
    harness.publish(pod)
    harness.wait("Complete")
    assert replica.metric("steno_reports_total", code="202") == 1
    assert token not in replica.log.read_text()


def test_many_reports_make_few_writes(harness, running):
    replica, pod = running
    token = harness.token(pod)
    before = replica.metric("steno_status_writes_total")
    for tenth in range(40):
        body = harness.progress(percent=10, audioSeconds=tenth / 10)
        assert replica.report(token, body) == 202
    harness.until(
        "the last report in the status", lambda: harness.status().get("progress", {}).get("audioSeconds") == 3.9
    )
    assert replica.metric("steno_status_writes_total") - before <= 20


def test_who_may_not_report(harness, running):
    replica, pod = running
    body = harness.progress()
    assert replica.report("nonsense", body) == 401
    assert replica.report("", body) == 401
    assert replica.report(harness.token(pod, audience="https://kubernetes.default.svc"), body) == 401
    unbound = harness.server.service_account_token(harness.namespace, "default", audiences=["steno-operator"])
    assert replica.report(unbound, body) == 401
    harness.apply("other")
    other = harness.run_pod("other-1")
    harness.wait("Running", "other")
    assert replica.report(harness.token(other), body) == 403
    assert replica.report(harness.token(pod), body) == 202


def test_what_is_no_report(harness, running):
    replica, pod = running
    token = harness.token(pod)
    assert replica.report(token, b"no json") == 400
    assert replica.report(token, {"attempt": 1}) == 400
    assert replica.report(token, b"x" * 20_000) == 400
    unknown = harness.progress()
    unknown["job"]["uid"] = "0"
    assert replica.report(token, unknown) == 409
    assert replica.report(token, harness.progress(attempt=2)) == 403


def test_a_report_of_an_earlier_attempt(harness, running):
    replica, pod = running
    token, body = harness.token(pod), harness.progress()
    assert replica.report(token, body) == 202
    harness.end_pod(pod, 75, {"outcome": "Failed", "reason": "SourceUnavailable", "message": "Try later."})
    harness.run_pod("talk-2")
    harness.until("the second attempt runs", lambda: harness.status().get("attempt") == 2)
    assert replica.report(token, body) == 409
