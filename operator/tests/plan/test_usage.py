"""Metering: what workers did is charged, whatever became of it, once."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.failures import EXIT_CODES, FailureReason
from steno_api.usage import MAX_PROCESSES, Work, WorkRecord
from steno_api.v1alpha1.job import Progress, Stage
from steno_api.worker.termination import Failed, TerminationMessage
from steno_operator.plan.common.admission import ADMISSION_POLICIES, Usage
from steno_operator.plan.common.usage import process_id, read_record, record_work, work_of_pod

from .builders import (
    OCR_RESULT,
    RESULT,
    SUCCESS,
    JobHarness,
    after,
    failure_message,
    make_child,
    make_ended_pod,
    make_job,
    make_ocr_job,
    make_running_pod,
)
from .tenant_harness import TenantHarness, make_request
from .tenant_harness import make_ended_pod as make_ended_request

TEN_MINUTES = Work(audio_millis=600_000)


def message(reason: FailureReason | None, used: Work | None) -> str:
    result = None if reason is None else Failed(reason=reason, message="It broke.")
    return TerminationMessage(result=result, used=used).to_json()


def failed_pod(name: str, reason: FailureReason, used: Work | None, **fields):
    code = EXIT_CODES[reason.failure_class]
    return make_ended_pod(code, message(reason, used), name=name, **fields)


def failed_child(reason: FailureReason, used: Work | None, *, attempt: int = 1, seconds: float = 60):
    worker = failed_pod(f"standup-{attempt}-abcde", reason, used)
    return make_child(
        worker, attempt=attempt, failed=True, failure_reason="BackoffLimitExceeded", finished=after(seconds)
    )


def used(harness: JobHarness) -> tuple[int, int]:
    record = harness.status.usage
    return (0, 0) if record is None else (record.audio_millis, record.pages)


def charged(harness: JobHarness) -> int:
    """Return what a Tenant is charged for the job as its status is."""
    kind = harness.job.kind
    usage = ADMISSION_POLICIES[kind].usage(harness.status.to_wire(), {})
    tenant = TenantHarness(concurrentJobs=1)
    request = make_request("a", kind=kind)
    tenant.reconcile(request)
    tenant.reconcile(make_ended_request(request, audio_seconds=usage.audio_seconds, pages=usage.pages))
    status = tenant.tenant.status.usage
    assert status is not None
    return status.audio_millis_today or status.pages_today


def test_h5_a_job_whose_output_is_refused_is_charged_for_what_it_decoded():
    harness = JobHarness(backoffLimit=0)
    harness.reconcile()
    harness.reconcile(failed_child(FailureReason.OUTPUT_FORBIDDEN, TEN_MINUTES), at=70)
    assert harness.status.phase == "Failed"
    assert used(harness) == (600_000, 0)
    assert charged(harness) == 600_000


def test_h5_pages_are_charged_likewise():
    harness = JobHarness(start=make_ocr_job(backoffLimit=0))
    harness.reconcile()
    harness.reconcile(failed_child(FailureReason.OUTPUT_FORBIDDEN, Work(pages=7)), at=70)
    assert harness.status.phase == "Failed"
    assert charged(harness) == 7


def test_a_retry_is_charged_for_what_it_does_again_and_not_for_what_it_finds():
    harness = JobHarness(backoffLimit=2)
    harness.reconcile()
    first = failed_child(FailureReason.SOURCE_UNAVAILABLE, Work(audio_millis=250_000))
    harness.reconcile(first, at=70)
    assert used(harness) == (250_000, 0)
    second = failed_child(FailureReason.OUTPUT_UNAVAILABLE, TEN_MINUTES, attempt=2, seconds=300)
    harness.reconcile(first, second, at=310)
    assert used(harness) == (850_000, 0)
    found = TerminationMessage(result=RESULT, used=Work()).to_json()  # it adopts the document of the second
    third = make_child(make_ended_pod(0, found, name="standup-3-abcde"), attempt=3, succeeded=True)
    harness.reconcile(first, second, third, at=900)
    assert harness.status.phase == "Succeeded"
    assert used(harness) == (850_000, 0)


def test_the_same_children_seen_again_are_not_charged_again():
    harness = JobHarness(backoffLimit=2)
    harness.reconcile()
    for at in (70, 71, 300):
        harness.reconcile(failed_child(FailureReason.SOURCE_UNAVAILABLE, TEN_MINUTES), at=at)
    assert used(harness) == (600_000, 0)
    harness.reconcile(at=400)  # its pod is deleted meanwhile
    assert used(harness) == (600_000, 0)


def test_every_pod_of_an_attempt_is_charged():
    harness = JobHarness()
    harness.reconcile()
    taken = failed_pod("standup-1-a", FailureReason.PREEMPTED, Work(audio_millis=90_000), disruption="Preempted")
    harness.reconcile(make_child(taken, make_running_pod("standup-1-b")), at=30)
    assert used(harness) == (90_000, 0)
    done = make_ended_pod(0, SUCCESS, name="standup-1-b")
    harness.reconcile(make_child(taken, done, succeeded=True), at=90)
    assert used(harness) == (150_000, 0)


def test_a_worker_that_was_killed_is_charged_for_what_it_noted():
    harness = JobHarness(backoffLimit=0)
    harness.reconcile()
    killed = make_ended_pod(137, message(None, Work(audio_millis=42_000)), oom_killed=True)
    harness.reconcile(make_child(killed, failed=True, finished=after(60)), at=70)
    assert harness.status.last_failure.reason == "OutOfMemory"
    assert used(harness) == (42_000, 0)


def test_a_job_that_is_stopped_is_charged_for_what_its_worker_says_after_that():
    harness = JobHarness(activeDeadlineSeconds=60)
    harness.reconcile()
    running = make_running_pod()
    harness.reconcile(make_child(running), at=61)
    assert (harness.status.phase, used(harness)) == ("Failed", (0, 0))
    stopped = failed_pod("standup-1-abcde", FailureReason.PREEMPTED, TEN_MINUTES)
    harness.reconcile(make_child(stopped, deleting=True), at=66)
    assert used(harness) == (600_000, 0)
    harness.reconcile(at=70)
    assert used(harness) == (600_000, 0)


def test_reports_count_where_a_worker_never_says_how_it_ended():
    progress = Progress(stage=Stage.DECODING, percent=40, audio_seconds=240.0)
    pod = make_running_pod()
    seen = {"progress": progress, "reported": {process_id(pod): Work(audio_millis=240_000)}}
    harness = JobHarness(backoffLimit=0)
    harness.reconcile()
    harness.reconcile(make_child(pod), at=20, **seen)
    assert used(harness) == (240_000, 0)
    seen["reported"] = {process_id(pod): Work(audio_millis=250_000)}
    harness.reconcile(make_child(pod), at=21, **seen)
    assert used(harness) == (240_000, 0)  # not written for itself
    harness.reconcile(make_child(failed=True, finished=after(30)), at=31, **seen)
    assert used(harness) == (250_000, 0)


@pytest.mark.parametrize("said", [-1, 10**13, "NaN", 1.5, True])
def test_what_cannot_be_is_not_believed(said):
    claim = json.dumps({"used": {"audioMillis": said, "pages": 1}, "result": {"outcome": "Failed"}})
    pod = make_ended_pod(1, claim)
    assert work_of_pod(pod) is None or said is True
    assert read_record({"usage": {"audioMillis": -5}}) is None


def test_work_counts_though_the_result_is_not_accepted():
    claim = json.dumps({"used": {"audioMillis": 600_000}, "result": {"outcome": "Succeeded", "manifest": 5}})
    assert work_of_pod(make_ended_pod(0, claim)) == TEN_MINUTES


def test_an_image_that_does_not_say_what_it_did_is_charged_for_what_it_published():
    assert work_of_pod(make_ended_pod(0, SUCCESS)) == Work(audio_millis=60_000)
    assert work_of_pod(make_ended_pod(0, TerminationMessage(result=OCR_RESULT).to_json())) == Work(pages=3)
    assert work_of_pod(make_ended_pod(75, failure_message(FailureReason.INTERNAL))) is None


def test_a_job_that_ended_before_there_were_records_is_charged_for_its_results_only():
    status = {"completionTime": "2026-01-02T03:04:05Z", "summary": {"duration": 60.0}}
    policy = ADMISSION_POLICIES["TranscriptionJob"]
    assert policy.usage(status, {"20260102T000000Z-p": Work(audio_millis=60_000)}) == Usage(60.0)


works = st.builds(Work, audio_millis=st.integers(0, 10**6), pages=st.integers(0, 50))
sayings = st.lists(st.tuples(st.sampled_from([f"{number:02}" for number in range(12)]), works), max_size=30)


@given(sayings, st.randoms(use_true_random=False))
def test_what_is_said_twice_late_or_in_another_order_counts_once(said, random):
    def record(order) -> WorkRecord | None:
        found: WorkRecord | None = None
        for process, work in order:
            grown = record_work(found, {process: work})
            assert found is None or (grown is not None and grown.audio_millis >= found.audio_millis)
            found = grown
        return found

    shuffled = [*said, *said]
    random.shuffle(shuffled)
    assert record(said) == record(shuffled)
    most = {name: max((work.audio_millis for other, work in said if other == name)) for name, _ in said}
    found = record(said)
    assert (0 if found is None else found.audio_millis) == sum(most.values())


def test_a_record_is_bounded_and_forgets_no_sum():
    said = {f"{number:03}": Work(audio_millis=10, pages=1) for number in range(100)}
    record: WorkRecord | None = None
    for process, work in said.items():
        record = record_work(record, {process: work})
    assert record is not None
    assert (record.audio_millis, record.pages, len(record.processes)) == (1000, 100, MAX_PROCESSES)
    assert record_work(record, said) is record  # those that are not listed any more are not added again


def test_a_suspended_job_is_charged_when_its_reservation_is_released_and_only_for_the_rest_later():
    tenant = TenantHarness(concurrentJobs=1)
    job = make_request("a")
    tenant.reconcile(job)
    held = replace(job, active=False, usage=Usage(30.0))
    tenant.reconcile(held)
    tenant.reconcile(replace(held, usage_pending=True))
    assert tenant.reserved == "a"  # its status does not say so yet
    tenant.reconcile(held)
    assert (tenant.reserved, tenant.quota.status.audio_millis) == ("", 30_000)
    tenant.reconcile(replace(job, usage=Usage(30.0)))
    assert tenant.reserved == "a"
    tenant.reconcile(make_ended_request(job, audio_seconds=100.0))
    assert (tenant.reserved, tenant.quota.status.audio_millis) == ("", 100_000)


def test_work_under_way_leaves_no_room_for_more():
    tenant = TenantHarness(concurrentJobs=9, audioMinutesPerDay=10)
    running = make_request("a", running=True)
    tenant.reconcile(running)
    tenant.reconcile(replace(running, usage=Usage(599.0)), make_request("b"))
    assert tenant.reserved == "ab"
    tenant.reconcile(replace(running, usage=Usage(600.0)), make_request("b"), make_request("c"))
    assert tenant.reserved == "ab"
    assert tenant.reason("c")[0] == "AudioMinutesExhausted"
    tenant.reconcile(make_ended_request(running, audio_seconds=600.0), make_request("b"), make_request("c"))
    assert tenant.reason("c")[0] == "AudioMinutesExhausted"  # charged by now, and not twice
    assert tenant.quota.status.audio_millis == 600_000
    tomorrow = after(0) + timedelta(days=1)
    tenant.reconcile(make_request("b"), make_request("c"), at=tomorrow)
    assert tenant.reserved == "bc"


def test_cpu_jobs_are_charged_as_those_on_gpus_are():
    for gpus in (0, 2):
        tenant = TenantHarness(concurrentJobs=1, audioMinutesPerDay=10)
        job = make_request("a", gpus=gpus)
        tenant.reconcile(job, make_request("b", gpus=gpus))
        tenant.reconcile(make_ended_request(job, audio_seconds=600.0), make_request("b", gpus=gpus))
        assert tenant.quota.status.audio_millis == 600_000
        assert tenant.reason("b")[0] == "AudioMinutesExhausted"


def test_a_fresh_job_has_no_record():
    harness = JobHarness(start=make_job())
    harness.reconcile()
    assert harness.status.usage is None
