"""Workers of which nothing ran: containers that cannot be started, and pods that the kubelet rejects."""

from dataclasses import replace

import pytest

from steno_api.failures import FailureReason
from steno_operator.plan.job.observed import ObservedChild

from .builders import (
    JobHarness,
    actions_of,
    after,
    make_child,
    make_ended_pod,
    make_failed_child,
    make_pod,
)

CUDA = "failed to create containerd task: OCI runtime create failed: unsatisfied condition: cuda>=12.8"


def make_unstartable_child(attempt: int = 1, seconds: float = 60) -> ObservedChild:
    worker = make_ended_pod(128, CUDA, exit_reason="StartError", name=f"standup-{attempt}-abcde")
    return make_child(
        worker, attempt=attempt, failed=True, failure_reason="BackoffLimitExceeded", finished=after(seconds)
    )


def test_k3_a_container_that_cannot_be_started_says_so_and_is_not_tried_for_ever():
    harness = JobHarness(backoffLimit=5)
    harness.reconcile()
    harness.reconcile(make_unstartable_child(), at=60)
    assert (harness.status.last_failure.reason, harness.status.phase) == ("StartFailed", "Retrying")
    assert CUDA in harness.status.last_failure.message
    assert "node-1" in harness.status.last_failure.message
    assert [a.attempt for a in actions_of(harness.reconcile(make_unstartable_child(), at=70))] == [2]
    harness.reconcile(make_unstartable_child(), make_unstartable_child(2, 90), at=90)
    assert (harness.status.phase, harness.condition("Failed").reason) == ("Failed", "StartFailed")
    assert CUDA in harness.condition("Failed").message


def test_k3_a_container_that_could_not_be_started_once_between_other_failures_is_retried():
    harness = JobHarness(backoffLimit=5)
    harness.reconcile()
    children = [make_unstartable_child(), make_failed_child(FailureReason.INTERNAL, attempt=2, seconds=90)]
    children.append(make_unstartable_child(3, 120))
    harness.reconcile(*children, at=120)
    assert (harness.status.phase, harness.status.failures) == ("Retrying", 3)


REJECTION = (
    "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. Requested: 1, Available: 0"
)


def make_rejected_child(attempt: int, created: float) -> ObservedChild:
    worker = make_pod(
        f"standup-{attempt}-a", phase="Failed", node="node-1", status_reason="UnexpectedAdmissionError",
        status_message=REJECTION,
    )  # fmt: skip
    child = make_child(worker, attempt=attempt, failed=True, finished=after(created + 1))
    return replace(child, created=after(created))


def reject_until_the_end(harness: JobHarness) -> float:
    """Let nodes reject every attempt; return when the job failed."""
    harness.reconcile()
    children, now = [], 0.0
    for attempt in range(1, 50):
        children.append(make_rejected_child(attempt, now))
        plan = harness.reconcile(*children, at=now + 1)
        if harness.status.phase == "Failed":
            return now
        now += 1 + plan.requeue_after.total_seconds()
        [start] = actions_of(harness.reconcile(*children, at=now))
        assert start.attempt == attempt + 1
    raise AssertionError("it never ends")


def test_k7_a_rejection_by_the_kubelet_has_its_words_and_its_own_patience():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_rejected_child(1, 0), at=1)
    failure = harness.status.last_failure
    assert (failure.reason, harness.status.failures) == ("PodRejected", 0)
    assert REJECTION in failure.message
    assert "UnexpectedAdmissionError" in failure.message


@pytest.mark.parametrize("limit", [0, 2])
def test_k7_a_node_that_rejects_every_pod_ends_the_job_after_a_while(limit):
    harness = JobHarness(backoffLimit=limit)
    assert reject_until_the_end(harness) >= 600
    assert harness.condition("Failed").reason == "PodRejected"
    assert harness.status.failures == limit + 1
    assert harness.status.attempt < 12, "the wait doubles"


def test_k7_what_ran_and_failed_is_not_a_rejection():
    harness = JobHarness()
    harness.reconcile()
    worker = make_ended_pod(70, status_reason="UnexpectedAdmissionError")
    harness.reconcile(make_child(worker, failed=True, finished=after(60)), at=60)
    assert harness.status.last_failure.reason == "Internal"
