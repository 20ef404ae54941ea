"""A job's way from acceptance to its results, one behaviour a test."""

from datetime import timedelta

import pytest

from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import Progress, Stage
from steno_operator.plan.common.plan import StartAttempt, StopAttempt

from .builders import (
    DIRECTORY,
    PROFILE,
    RESULT,
    SUCCESS,
    T0,
    JobHarness,
    actions_of,
    after,
    event_reasons,
    make_child,
    make_ended_pod,
    make_failed_child,
    make_running_pod,
)

ALL_CONDITIONS = [
    "Ready", "Reconciling", "Stalled", "Accepted", "Admitted", "Running", "Complete", "Failed", "Suspended",
]  # fmt: skip


def progress(stage: Stage, percent: int, message: str | None = None) -> Progress:
    return Progress(stage=stage, percent=percent, message=message)


def test_a_new_job_is_accepted_and_its_first_attempt_started():
    harness = JobHarness()
    plan = harness.reconcile()
    [start] = actions_of(plan)
    assert isinstance(start, StartAttempt)
    assert (start.attempt, start.manifest["metadata"]["name"]) == (1, "standup-1")
    assert event_reasons(plan) == ["Accepted", "AttemptStarted"]
    assert plan.requires_live_read
    assert harness.status.phase == "Waiting"
    assert harness.status.start_time == T0
    assert [item.type for item in harness.status.conditions] == ALL_CONDITIONS
    assert harness.truths() == {"Accepted", "Admitted", "Reconciling"}


def test_a_started_attempt_is_not_started_again():
    harness = JobHarness()
    harness.reconcile()
    before = harness.status
    plan = harness.reconcile(make_child())
    assert plan.actions == ()
    assert harness.status == before


def test_without_its_profile_a_job_waits_and_says_so():
    harness = JobHarness()
    plan = harness.reconcile(profile=None)
    assert actions_of(plan) == []
    assert event_reasons(plan) == ["ProfileNotFound"]
    assert harness.condition("Accepted").status == "False"
    assert harness.status.phase == "Pending"
    assert harness.status.queue is not None
    assert 'RuntimeProfile "gpu" does not exist' in harness.status.queue.message
    assert plan.requeue_after == timedelta(seconds=30)
    plan = harness.reconcile(profile=PROFILE, at=10)
    assert isinstance(actions_of(plan)[0], StartAttempt)
    assert harness.condition("Accepted").status == "True"


def test_a_live_attempt_outlives_its_profile():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_running_pod()), profile=None)
    assert harness.condition("Accepted").status == "True"
    assert harness.status.phase == "Running"


def test_a_running_worker_without_reports_is_working():
    harness = JobHarness()
    harness.reconcile()
    plan = harness.reconcile(make_child(make_running_pod()), at=5)
    assert harness.condition("Running").reason == "Working"
    assert (harness.status.pod_name, harness.status.node_name) == ("standup-1-abcde", "node-1")
    assert harness.status.queue is None
    assert event_reasons(plan) == ["Running"]
    assert event_reasons(harness.reconcile(make_child(make_running_pod()), at=6)) == []


def test_progress_is_the_running_conditions_reason_and_message():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_running_pod()), progress=progress(Stage.DECODING, 42, "chunk 31 of 74"))
    condition = harness.condition("Running")
    assert (condition.reason, condition.message) == ("Decoding", "42 %, chunk 31 of 74")
    assert harness.status.progress == progress(Stage.DECODING, 42, "chunk 31 of 74")


@pytest.mark.parametrize(
    ("latest", "due", "shown"),
    [
        (progress(Stage.DECODING, 44), False, 42),
        (progress(Stage.DECODING, 47), False, 47),
        (progress(Stage.DECODING, 43), True, 43),
        (progress(Stage.ALIGNING, 43), False, 43),
        (progress(Stage.DECODING, 10), False, 10),
        (None, True, 42),
    ],
)
def test_progress_moves_by_steps_stages_or_the_callers_clock(latest, due, shown):
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_running_pod()), progress=progress(Stage.DECODING, 42))
    plan = harness.reconcile(make_child(make_running_pod()), progress=latest, progress_due=due)
    assert harness.status.progress is not None
    assert harness.status.progress.percent == shown
    held_back = latest is not None and latest.percent != shown
    assert plan.requeue_after == (timedelta(seconds=10) if held_back else None)


def test_a_replaced_pod_starts_without_the_old_pods_progress():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_running_pod()), progress=progress(Stage.DECODING, 42))
    harness.reconcile(
        make_child(make_running_pod(disruption="PreemptionByScheduler"), make_running_pod("standup-1-fghij"))
    )
    assert harness.status.progress is None


def test_a_published_result_completes_the_job():
    harness = JobHarness()
    harness.reconcile()
    plan = harness.reconcile(make_child(make_ended_pod(0, SUCCESS), succeeded=True, finished=after(61)), at=70)
    assert event_reasons(plan) == ["Published"]
    assert harness.truths() == {"Ready", "Complete", "Accepted", "Admitted"}
    assert harness.status.phase == "Succeeded"
    assert harness.status.results is not None
    assert harness.status.results.manifest == f"{DIRECTORY}/manifest.json"
    assert harness.status.results.artifacts[0].uri == f"{DIRECTORY}/transcript.json"
    assert harness.status.summary == RESULT.summary
    assert harness.status.completion_time == after(60)
    assert harness.status.progress is not None
    assert harness.status.progress.percent == 100
    assert plan.requeue_after is None


def test_a_result_counts_before_kubernetes_calls_the_child_complete():
    harness = JobHarness()
    harness.reconcile()
    plan = harness.reconcile(make_child(make_ended_pod(0, SUCCESS)))
    assert harness.status.phase == "Succeeded"
    assert actions_of(plan) == []


def test_a_worker_killed_after_it_published_has_published():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_ended_pod(137, SUCCESS), failed=True, finished=after(61)))
    assert harness.status.phase == "Succeeded"


def test_a_result_found_with_an_older_attempt_ends_the_newer():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_failed_child(FailureReason.INTERNAL), at=60)
    harness.reconcile(make_failed_child(FailureReason.INTERNAL), at=80)
    assert harness.status.attempt == 2
    plan = harness.reconcile(
        make_child(make_ended_pod(0, SUCCESS), failed=True),
        make_child(make_running_pod("standup-2-x"), attempt=2),
        at=81,
    )
    assert actions_of(plan) == [StopAttempt("standup-2", "child-2")]
    assert harness.status.phase == "Succeeded"


def test_a_result_is_taken_even_when_no_status_was_ever_written():
    harness = JobHarness()
    harness.reconcile(make_child(make_ended_pod(0, SUCCESS), succeeded=True), at=100)
    assert (harness.status.phase, harness.status.attempt) == ("Succeeded", 1)
