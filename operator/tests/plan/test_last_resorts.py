"""What no retry mends, and jobs of very many attempts."""

from __future__ import annotations

from dataclasses import replace

from steno_api.failures import FailureReason
from steno_operator.plan.common.plan import StopAttempt

from .builders import (
    JobHarness,
    actions_of,
    after,
    failure_message,
    make_child,
    make_ended_pod,
    make_failed_child,
    make_pod,
)


def test_k16_an_image_that_never_comes_is_tried_again_and_then_given_up():
    harness = JobHarness(backoffLimit=2)
    harness.reconcile()
    children, now = [], 0.0
    for attempt in (1, 2, 3):
        pod = make_pod(
            f"standup-{attempt}-a",
            node="node-1",
            scheduled=after(now),
            waiting_reason="ImagePullBackOff",
            waiting_message='Back-off pulling image "registry.example.com/steno:typo"',
        )
        children.append(make_child(pod, attempt=attempt))
        harness.reconcile(*children, at=now + 1)
        assert harness.status.queue.reason == "ImagePullBackOff"
        assert "steno:typo" in harness.status.queue.message
        assert actions_of(harness.reconcile(*children, at=now + 599)) == []
        now += 600
        plan = harness.reconcile(*children, at=now)
        assert actions_of(plan) == [StopAttempt(f"standup-{attempt}", f"child-{attempt}")]
        assert (harness.status.last_failure.reason, harness.status.failures) == ("ImagePull", attempt)
        children[-1] = replace(children[-1], deleting=True)
        now += plan.requeue_after.total_seconds() if attempt < 3 else 0
        started = [action.attempt for action in actions_of(harness.reconcile(*children, at=now))]
        assert started == ([attempt + 1] if attempt < 3 else [])
    assert (harness.status.phase, harness.condition("Failed").reason) == ("Failed", "ImagePull")
    assert "steno:typo" in harness.condition("Failed").message


def test_k18_an_output_that_cannot_be_reached_fails_after_its_retries_with_the_workers_words():
    harness = JobHarness(backoffLimit=2)
    harness.reconcile()
    words = "s3://transcripts could not be written: the store did not answer."
    ended = [
        make_child(
            make_ended_pod(75, failure_message(FailureReason.OUTPUT_UNAVAILABLE, words), name=f"standup-{attempt}-a"),
            attempt=attempt,
            failed=True,
            failure_reason="BackoffLimitExceeded",
            finished=after(100 * attempt),
        )
        for attempt in (1, 2, 3)
    ]
    for attempt in (1, 2):
        harness.reconcile(*ended[:attempt], at=100 * attempt)
        assert (harness.status.phase, harness.status.last_failure.message) == ("Retrying", words)
        [start] = actions_of(harness.reconcile(*ended[:attempt], at=100 * attempt + 20))
        assert start.attempt == attempt + 1
    harness.reconcile(*ended, at=300)
    assert (harness.status.phase, harness.status.failures) == ("Failed", 3)
    failed = harness.condition("Failed")
    assert (failed.reason, failed.message) == ("OutputUnavailable", f"{words} (attempt 3)")


def test_k17_attempts_go_on_beyond_a_hundred():
    """Preemptions that cost nothing leave no retry used, however many attempts they took."""
    harness = JobHarness(backoffLimit=20)
    harness.reconcile()
    status = harness.status.model_copy(update={"attempt": 99})
    harness.job = harness.job.model_copy(update={"status": status})
    for attempt in (99, 100, 101):
        ended = make_failed_child(FailureReason.KILLED, attempt=attempt, seconds=1000 * attempt)
        harness.reconcile(ended, at=1000 * attempt)
        [start] = actions_of(harness.reconcile(ended, at=1000 * attempt + 900))
        assert (start.attempt, start.manifest["metadata"]["name"]) == (attempt + 1, f"standup-{attempt + 1}")
