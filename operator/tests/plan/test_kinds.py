"""What differs between the kinds of jobs: the task, and the figures of the result. All else is `test_job`'s."""

from __future__ import annotations

import json

from steno_api.worker.task import OCRTask
from steno_operator.plan.common.plan import StartAttempt

from .builders import (
    OCR_RESULT,
    OCR_SUMMARY,
    SUCCESS,
    SUCCESSES,
    JobHarness,
    actions_of,
    make_child,
    make_ended_pod,
    make_ocr_job,
)


def test_an_ocr_job_from_start_to_end():
    harness = JobHarness(
        make_ocr_job(
            languages=["ko", "en"], pages="1-3", mode="Redo", output={"uri": "s3://transcripts", "formats": ["pdf"]}
        )
    )
    [start] = actions_of(harness.reconcile())
    assert isinstance(start, StartAttempt)
    assert start.manifest["metadata"]["labels"]["steno.dev/kind"] == "OCRJob"
    assert start.manifest["metadata"]["ownerReferences"][0]["kind"] == "OCRJob"
    [container] = start.manifest["spec"]["template"]["spec"]["containers"]
    task = OCRTask.model_validate_json(container["args"][1])
    assert (task.kind, task.document_id, task.languages, task.pages, task.mode) == (
        "OCRTask", "standup", ["ko", "en"], "1-3", "Redo",
    )  # fmt: skip
    harness.reconcile(make_child(make_ended_pod(0, SUCCESSES["OCRJob"]), succeeded=True), at=60)
    assert harness.status.phase == "Succeeded"
    assert harness.status.summary == OCR_SUMMARY
    assert harness.status.results.artifacts[0].uri.endswith(OCR_RESULT.artifacts[0].name)


def test_the_summary_of_another_kind_is_left_out_and_the_results_stay():
    harness = JobHarness(make_ocr_job())
    harness.reconcile()
    harness.reconcile(make_child(make_ended_pod(0, SUCCESS), succeeded=True), at=60)
    assert harness.status.phase == "Succeeded"
    assert harness.status.results is not None
    assert harness.status.summary is None


def test_each_attempt_out_of_memory_halves_the_pages_read_at_a_time():
    harness = JobHarness(make_ocr_job())
    harness.job = harness.job.model_copy(
        update={"status": harness.status.model_copy(update={"attempt": 0, "out_of_memory": 2, "failures": 0})}
    )
    [start] = actions_of(harness.reconcile())
    [container] = start.manifest["spec"]["template"]["spec"]["containers"]
    assert json.loads(container["args"][1])["batchDivisor"] == 4
