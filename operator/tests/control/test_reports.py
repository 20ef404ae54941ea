"""The report endpoint with real tokens and a real TokenReview."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.apiserver


@pytest.fixture
def running(place):
    """An operator, a running job, and its pod."""
    replica = place.start()
    place.apply()
    pod = place.run_pod("talk-1")
    place.wait("Running")
    return replica, pod


def test_a_report_of_the_attempts_pod_shows_in_the_status(place, running):
    replica, pod = running
    token = place.token(pod)
    assert replica.report(token, place.progress(percent=42, message="chunk 31 of 74")) == 202
    place.until("progress in the status", lambda: place.status().get("progress", {}).get("percent") == 42)
    assert place.condition("Running")["reason"] == "Decoding"
    place.publish(pod)
    place.wait("Complete")
    assert replica.metric("steno_reports_total", code="202") == 1
    assert token not in replica.log.read_text()


def test_many_reports_make_few_writes(place, running):
    replica, pod = running
    token = place.token(pod)
    before = replica.metric("steno_status_writes_total")
    for tenth in range(40):
        body = place.progress(percent=10, audioSeconds=tenth / 10)
        assert replica.report(token, body) == 202
    place.until("the last report in the status", lambda: place.status().get("progress", {}).get("audioSeconds") == 3.9)
    assert replica.metric("steno_status_writes_total") - before <= 20


def test_who_may_not_report(place, running):
    replica, pod = running
    body = place.progress()
    assert replica.report("nonsense", body) == 401
    assert replica.report("", body) == 401
    assert replica.report(place.token(pod, audience="https://kubernetes.default.svc"), body) == 401
    unbound = place.server.service_account_token(place.namespace, "default", audiences=["steno-operator"])
    assert replica.report(unbound, body) == 401
    place.apply("other")
    other = place.run_pod("other-1")
    place.wait("Running", "other")
    assert replica.report(place.token(other), body) == 403
    assert replica.report(place.token(pod), body) == 202


def test_what_is_no_report(place, running):
    replica, pod = running
    token = place.token(pod)
    assert replica.report(token, b"no json") == 400
    assert replica.report(token, {"attempt": 1}) == 400
    assert replica.report(token, b"x" * 20_000) == 400
    unknown = place.progress()
    unknown["job"]["uid"] = "0"
    assert replica.report(token, unknown) == 409
    assert replica.report(token, place.progress(attempt=2)) == 403


def test_a_report_of_an_earlier_attempt(place, running):
    replica, pod = running
    token, body = place.token(pod), place.progress()
    assert replica.report(token, body) == 202
    place.end_pod(pod, 75, {"outcome": "Failed", "reason": "SourceUnavailable", "message": "Try later."})
    place.run_pod("talk-2")
    place.until("the second attempt runs", lambda: place.status().get("attempt") == 2)
    assert replica.report(token, body) == 409
