"""A job's way from acceptance to its results, one behaviour a test."""

from datetime import timedelta

import pytest

from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import Progress, Stage
from steno_operator.plan.common.plan import StartAttempt, StopAttempt

from .scene import (
    DIRECTORY,
    PROFILE,
    RESULT,
    SUCCESS,
    T0,
    Life,
    after,
    child,
    deeds,
    ended,
    failed_child,
    running,
    stories,
)

ALL_CONDITIONS = [
    "Ready", "Reconciling", "Stalled", "Accepted", "Admitted", "Running", "Complete", "Failed", "Suspended",
]  # fmt: skip


def progress(stage: Stage, percent: int, message: str | None = None) -> Progress:
    return Progress(stage=stage, percent=percent, message=message)


def test_a_new_job_is_accepted_and_its_first_attempt_started():
    life = Life()
    plan = life.see()
    [start] = deeds(plan)
    assert isinstance(start, StartAttempt)
    assert (start.attempt, start.manifest["metadata"]["name"]) == (1, "standup-1")
    assert stories(plan) == ["Accepted", "AttemptStarted"]
    assert plan.requires_live_read
    assert life.status.phase == "Waiting"
    assert life.status.start_time == T0
    assert [item.type for item in life.status.conditions] == ALL_CONDITIONS
    assert life.truths() == {"Accepted", "Admitted", "Reconciling"}


def test_a_started_attempt_is_not_started_again():
    life = Life()
    life.see()
    before = life.status
    plan = life.see(child())
    assert plan.actions == ()
    assert life.status == before


def test_without_its_profile_a_job_waits_and_says_so():
    life = Life()
    plan = life.see(profile=None)
    assert deeds(plan) == []
    assert stories(plan) == ["ProfileNotFound"]
    assert life.condition("Accepted").status == "False"
    assert life.status.phase == "Pending"
    assert life.status.queue is not None
    assert 'RuntimeProfile "gpu" does not exist' in life.status.queue.message
    assert plan.requeue_after == timedelta(seconds=30)
    plan = life.see(profile=PROFILE, at=10)
    assert isinstance(deeds(plan)[0], StartAttempt)
    assert life.condition("Accepted").status == "True"


def test_a_live_attempt_outlives_its_profile():
    life = Life()
    life.see()
    life.see(child(running()), profile=None)
    assert life.condition("Accepted").status == "True"
    assert life.status.phase == "Running"


def test_a_running_worker_without_reports_is_working():
    life = Life()
    life.see()
    plan = life.see(child(running()), at=5)
    assert life.condition("Running").reason == "Working"
    assert (life.status.pod_name, life.status.node_name) == ("standup-1-abcde", "node-1")
    assert life.status.queue is None
    assert stories(plan) == ["Running"]
    assert stories(life.see(child(running()), at=6)) == []


def test_progress_is_the_running_conditions_reason_and_message():
    life = Life()
    life.see()
    life.see(child(running()), progress=progress(Stage.DECODING, 42, "chunk 31 of 74"))
    condition = life.condition("Running")
    assert (condition.reason, condition.message) == ("Decoding", "42 %, chunk 31 of 74")
    assert life.status.progress == progress(Stage.DECODING, 42, "chunk 31 of 74")


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
    life = Life()
    life.see()
    life.see(child(running()), progress=progress(Stage.DECODING, 42))
    plan = life.see(child(running()), progress=latest, progress_due=due)
    assert life.status.progress is not None
    assert life.status.progress.percent == shown
    held_back = latest is not None and latest.percent != shown
    assert plan.requeue_after == (timedelta(seconds=10) if held_back else None)


def test_a_replaced_pod_starts_without_the_old_pods_progress():
    life = Life()
    life.see()
    life.see(child(running()), progress=progress(Stage.DECODING, 42))
    life.see(child(running(disruption="PreemptionByScheduler"), running("standup-1-fghij")))
    assert life.status.progress is None


def test_a_published_result_completes_the_job():
    life = Life()
    life.see()
    plan = life.see(child(ended(0, SUCCESS), succeeded=True, finished=after(61)), at=70)
    assert stories(plan) == ["Published"]
    assert life.truths() == {"Ready", "Complete", "Accepted", "Admitted"}
    assert life.status.phase == "Succeeded"
    assert life.status.results is not None
    assert life.status.results.manifest == f"{DIRECTORY}/manifest.json"
    assert life.status.results.artifacts[0].uri == f"{DIRECTORY}/transcript.json"
    assert life.status.summary == RESULT.summary
    assert life.status.completion_time == after(60)
    assert life.status.progress is not None
    assert life.status.progress.percent == 100
    assert plan.requeue_after is None


def test_a_result_counts_before_kubernetes_calls_the_child_complete():
    life = Life()
    life.see()
    plan = life.see(child(ended(0, SUCCESS)))
    assert life.status.phase == "Succeeded"
    assert deeds(plan) == []


def test_a_worker_killed_after_it_published_has_published():
    life = Life()
    life.see()
    life.see(child(ended(137, SUCCESS), failed=True, finished=after(61)))
    assert life.status.phase == "Succeeded"


def test_a_result_found_with_an_older_attempt_ends_the_newer():
    life = Life()
    life.see()
    life.see(failed_child(FailureReason.INTERNAL), at=60)
    life.see(failed_child(FailureReason.INTERNAL), at=80)
    assert life.status.attempt == 2
    plan = life.see(child(ended(0, SUCCESS), failed=True), child(running("standup-2-x"), attempt=2), at=81)
    assert deeds(plan) == [StopAttempt("standup-2", "child-2")]
    assert life.status.phase == "Succeeded"


def test_a_result_is_taken_even_when_no_status_was_ever_written():
    life = Life()
    life.see(child(ended(0, SUCCESS), succeeded=True), at=100)
    assert (life.status.phase, life.status.attempt) == ("Succeeded", 1)
