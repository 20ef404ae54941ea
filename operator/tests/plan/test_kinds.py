"""What differs between the kinds of jobs: the task, and the figures of the result. All else is `test_job`'s."""

from __future__ import annotations

import json

from steno_api.worker.task import OCRTask
from steno_operator.plan.common.plan import StartAttempt

from .scene import OCR_RESULT, OCR_SUMMARY, SUCCESS, SUCCESSES, Life, child, deeds, ended, ocr_job


def test_an_ocr_job_from_start_to_end():
    life = Life(ocr_job(languages=["ko", "en"], pages="1-3", mode="Redo", output={"uri": "s3://t", "formats": ["pdf"]}))
    [start] = deeds(life.see())
    assert isinstance(start, StartAttempt)
    assert start.manifest["metadata"]["labels"]["steno.dev/kind"] == "OCRJob"
    assert start.manifest["metadata"]["ownerReferences"][0]["kind"] == "OCRJob"
    [container] = start.manifest["spec"]["template"]["spec"]["containers"]
    task = OCRTask.model_validate_json(container["args"][1])
    assert (task.kind, task.document_id, task.languages, task.pages, task.mode) == (
        "OCRTask", "standup", ["ko", "en"], "1-3", "Redo",
    )  # fmt: skip
    life.see(child(ended(0, SUCCESSES["OCRJob"]), succeeded=True), at=60)
    assert life.status.phase == "Succeeded"
    assert life.status.summary == OCR_SUMMARY
    assert life.status.results.artifacts[0].uri.endswith(OCR_RESULT.artifacts[0].name)


def test_figures_of_another_kind_are_left_out_and_the_results_stand():
    life = Life(ocr_job())
    life.see()
    life.see(child(ended(0, SUCCESS), succeeded=True), at=60)
    assert life.status.phase == "Succeeded"
    assert life.status.results is not None
    assert life.status.summary is None


def test_each_attempt_out_of_memory_halves_the_pages_read_at_a_time():
    life = Life(ocr_job())
    life.job = life.job.model_copy(
        update={"status": life.status.model_copy(update={"attempt": 0, "out_of_memory": 2, "failures": 0})}
    )
    [start] = deeds(life.see())
    [container] = start.manifest["spec"]["template"]["spec"]["containers"]
    assert json.loads(container["args"][1])["batchDivisor"] == 4
