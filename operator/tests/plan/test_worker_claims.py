"""What a worker's pod says of its result is checked before it is believed, and before it is billed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.failures import FailureReason
from steno_api.server.reports import SessionReport
from steno_api.v1alpha1.tenant import Tenant
from steno_api.v1alpha1.tenantquota import TenantQuota
from steno_api.worker.report import Report
from steno_api.worker.termination import Succeeded
from steno_operator.plan.common.admission import ADMISSION_POLICIES, Usage
from steno_operator.plan.common.pods import parse_result

from .builders import DIRECTORY, SUCCESS, JobHarness, failure_message, make_child, make_ended_pod

from .tenant_harness import TenantHarness, make_ended_pod as end_request, make_request  # isort: skip

PROGRESS = {"stage": "Decoding", "percent": 40}
BAD_NUMBERS = [-5, -0.1, math.inf, -math.inf, math.nan, 1e300, 10**30, "x", None]
ANY_NUMBER = st.one_of(st.floats(), st.integers(), st.sampled_from(BAD_NUMBERS))


def claim(**changes: Any) -> str:
    """Return a termination message of success that claims something else in its result or summary."""
    result = json.loads(SUCCESS)["result"]
    summary = {name: value for name, value in changes.items() if name in result["summary"]}
    rest = {name: value for name, value in changes.items() if name not in summary}
    return json.dumps({"result": {**result, **rest, "summary": {**result["summary"], **summary}}})


def reconcile(message: str, **spec: Any) -> JobHarness:
    harness = JobHarness(**{"backoffLimit": 0, **spec})
    harness.reconcile()
    harness.reconcile(make_child(make_ended_pod(0, message), succeeded=True), at=90)
    return harness


@pytest.mark.parametrize("number", BAD_NUMBERS)
@pytest.mark.parametrize("figure", ["duration", "segments", "speed", "confidence"])
def test_m9_a_figure_that_cannot_be_is_a_failure_that_names_it(figure, number):
    harness = reconcile(claim(**{figure: number}))
    assert harness.truths() >= {"Failed"}
    assert harness.status.last_failure.reason is FailureReason.INTERNAL
    assert f"summary.TranscriptionSummary.{figure}" in harness.status.last_failure.message
    assert "pods/exec" in harness.status.last_failure.message
    assert harness.status.results is None
    assert harness.status.summary is None


@pytest.mark.parametrize(
    "artifact",
    [
        {"name": "../../../../tmp/x"}, {"name": "a/b"}, {"name": "\x1b]0;x"}, {"name": ""}, {"name": "a" * 300},
        {"sha256": "?"}, {"bytes": -1}, {"bytes": 10**30}, {"format": "f" * 99},
    ],
)  # fmt: skip
def test_m9_an_artifact_is_a_plain_name_with_a_digest_and_a_size(artifact):
    good = {"format": "json", "name": "transcript.json", "sha256": "0" * 64, "bytes": 1}
    assert isinstance(parse_result(claim(artifacts=[good])), Succeeded)
    assert reconcile(claim(artifacts=[{**good, **artifact}])).status.results is None


@pytest.mark.parametrize(
    "manifest",
    [
        "s3://attacker/fake/manifest.json", f"{DIRECTORY}/../other/manifest.json", f"{DIRECTORY}/other.json",
        f"{DIRECTORY}-2/manifest.json", "", "s3://transcripts/team-b/standup/uid-1/manifest.json",
    ],
)  # fmt: skip
def test_m9_a_manifest_elsewhere_is_a_failure_that_says_where_it_belongs(manifest):
    harness = reconcile(claim(manifest=manifest), backoffLimit=3)
    assert harness.truths() >= {"Failed"}
    assert harness.status.results is None
    assert f"{DIRECTORY}/" in harness.condition("Failed").message


def test_a_retry_follows_a_result_that_was_not_accepted():
    harness = reconcile(claim(duration=math.nan), backoffLimit=1)
    assert "Failed" not in harness.truths()
    assert harness.status.failures == 1


def test_what_is_no_result_is_judged_by_the_exit_code():
    assert parse_result("Traceback") is None
    assert parse_result("{}") is None
    assert parse_result('{"result": {"outcome": "Failed", "reason": "?", "message": ""}}') is None
    assert parse_result(claim(model="m" * 5000)) is None


@pytest.mark.parametrize("seconds", BAD_NUMBERS)
def test_m9_progress_is_bounded(seconds):
    job = {"namespace": "ns", "name": "talk", "uid": "u"}
    for field in ("audioSeconds", "pages", "etaSeconds"):
        if seconds is not None:
            body = json.dumps({"job": job, "attempt": 1, "progress": {**PROGRESS, field: seconds}})
            with pytest.raises(pydantic.ValidationError):
                Report.model_validate_json(body)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1970-01-01T00:00:00Z"])
def test_m9_a_server_reports_times_that_can_be_reckoned_with(time):
    session = {"namespace": "ns", "name": "call", "uid": "u"}
    with pytest.raises(pydantic.ValidationError):
        SessionReport.from_wire({"session": session, "started": time, "stats": {}})


@given(st.dictionaries(st.sampled_from(["duration", "segments", "words", "speed", "language"]), ANY_NUMBER), ANY_NUMBER)
def test_m9_whatever_workers_and_old_statuses_say_the_usage_can_be_written(changes, old):
    result = parse_result(claim(**changes))
    usages = [Usage(audio_seconds=old if isinstance(old, float) else 1.0)]
    if isinstance(result, Succeeded):
        status = {"summary": result.summary.to_wire(), "completionTime": "2026-01-02T03:04:05Z"}
        usages.append(ADMISSION_POLICIES["TranscriptionJob"].usage(status, {}))
    harness = TenantHarness(audioMinutesPerDay=10)
    request = make_request("a")
    harness.reconcile(request)
    for usage in usages:
        harness.reconcile(replace(end_request(request), usage=usage))
    assert isinstance(harness.tenant, Tenant)
    assert isinstance(harness.quota, TenantQuota)
    assert 0 <= harness.quota.status.audio_millis <= 2**53


def test_a_worker_does_not_say_that_its_failure_is_free():
    harness = JobHarness(backoffLimit=0)
    harness.reconcile()
    said = make_ended_pod(75, failure_message(FailureReason.PREEMPTED))
    harness.reconcile(make_child(said, failed=True), at=90)
    assert harness.truths() >= {"Failed"}


def test_what_ends_a_job_was_read_live():
    harness = JobHarness()
    assert harness.reconcile().requires_live_read
    done = make_child(make_ended_pod(0, SUCCESS), succeeded=True)
    plan = harness.reconcile(done, at=90)
    assert plan.status.completion_time is not None
    assert plan.requires_live_read
    assert not harness.reconcile(done, at=91).requires_live_read
