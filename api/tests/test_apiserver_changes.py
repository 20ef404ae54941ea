"""Which parts of a stored resource can change, and what an apiserver with the committed CRDs keeps of a status."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml

from steno_api.v1alpha1 import TranscriptionJob
from steno_api.v1alpha1.job import MUTABLE_SPEC_FIELDS
from tests.support.apiserver import CRDS, ApiServer
from tests.support.resources import IMMUTABLE, STATUS, create, job, ocr, patch, session

pytestmark = pytest.mark.apiserver


IMMUTABLE_CHANGES: dict[str, Any] = {
    "another source": {"source": {"uri": "s3://meetings/other.m4a"}},
    "another secret": {"source": {"secretRef": {"name": "other"}}},
    "another output": {"output": {"uri": "s3://elsewhere"}},
    "another format": {"output": {"formats": ["json", "srt"]}},
    "another model": {"model": {"name": "base"}},
    "another batch size": {"model": {"batchSize": 4}},
    "another language": {"language": "en"},
    "another profile": {"profileRef": {"name": "cpu"}},
    "another execution": {"execution": "Pool"},
    "tenant added": {"tenantRef": {"name": "acme"}},
    "meeting removed": {"meetingID": None},
    "meeting changed": {"meetingID": "other"},
    "diarization removed": {"diarization": None},
    "speakers removed": {"diarization": {"maxSpeakers": None}},
    "speakers added": {"diarization": {"minSpeakers": 1}},
    "language removed": {"language": None},
}


@pytest.fixture(scope="module")
def standing(apiserver: ApiServer) -> tuple[str, dict[str, Any]]:
    namespace = apiserver.namespace()
    resource = job(meetingID="standup-42", language="ko", diarization={"maxSpeakers": 4}, ttlSecondsAfterFinished=60)
    assert create(apiserver, namespace, resource).status == 201
    return namespace, resource


@pytest.mark.parametrize("change", IMMUTABLE_CHANGES.values(), ids=IMMUTABLE_CHANGES.keys())
def test_what_a_job_makes_cannot_change(
    apiserver: ApiServer, standing: tuple[str, dict[str, Any]], change: Any
) -> None:
    answer = patch(apiserver, *standing, {"spec": change})
    assert answer.status == 422, answer.body
    assert IMMUTABLE in answer.message
    assert "delete the job and create it again" in answer.message
    assert "self." not in answer.message


MUTABLE_CHANGES: dict[str, list[Any]] = {
    "suspend": [True, False],
    "priority": [10],
    "backoffLimit": [5],
    "activeDeadlineSeconds": [3600, 60, None],
    "ttlSecondsAfterFinished": [None, 5],
    "ttlPolicy": ["DeleteResource"],
}


def test_how_a_job_runs_can_change(apiserver: ApiServer, namespace: str) -> None:
    assert set(MUTABLE_CHANGES) == set(MUTABLE_SPEC_FIELDS)
    resource = job(ttlSecondsAfterFinished=60)
    generation = create(apiserver, namespace, resource).body["metadata"]["generation"]
    for name, values in MUTABLE_CHANGES.items():
        for value in values:
            answer = patch(apiserver, namespace, resource, {"spec": {name: value}})
            assert answer.status == 200, answer.message
            assert answer.body["spec"].get(name) == value
            assert answer.body["metadata"]["generation"] > generation
            generation = answer.body["metadata"]["generation"]


def test_status_is_only_written_through_its_subresource(apiserver: ApiServer, namespace: str) -> None:
    resource = job()
    created = create(apiserver, namespace, {**resource, "status": STATUS})
    assert "status" not in created.body
    assert "status" not in patch(apiserver, namespace, resource, {"status": STATUS}).body
    written = patch(apiserver, namespace, resource, {"status": STATUS, "spec": {"suspend": True}}, sub="/status")
    assert written.status == 200, written.message
    assert written.body["status"] == STATUS
    assert written.body["spec"]["suspend"] is False
    assert written.body["metadata"]["generation"] == 1
    # A change of the spec leaves the status alone, and the whole comes through the models as it is.
    after = patch(apiserver, namespace, resource, {"spec": {"suspend": True}})
    assert after.body["status"] == STATUS
    assert TranscriptionJob.from_wire(after.body).to_wire()["status"] == STATUS


BAD_STATUS: dict[str, tuple[Any, str]] = {
    "phase": ({"phase": "Sleeping"}, "status.phase: Unsupported value"),
    "two of a condition's type": (
        {"conditions": [STATUS["conditions"][0], {**STATUS["conditions"][0], "reason": "Other"}]},
        "status.conditions[1]: Duplicate value",
    ),
    "time": ({"startTime": "yesterday"}, "status.startTime"),
    "percent": ({"progress": {"stage": "Decoding", "percent": 101}}, "should be less than or equal to 100"),
}


@pytest.mark.parametrize(("status", "message"), BAD_STATUS.values(), ids=BAD_STATUS.keys())
def test_refuses_a_status(
    apiserver: ApiServer, standing: tuple[str, dict[str, Any]], status: Any, message: str
) -> None:
    answer = patch(apiserver, *standing, {"status": status}, sub="/status")
    assert answer.status == 422, answer.body
    assert message in answer.message


def test_the_pages_of_an_ocr_job_cannot_change(apiserver: ApiServer, namespace: str) -> None:
    resource = ocr(pages="1-3", languages=["ko"])
    assert create(apiserver, namespace, resource).status == 201
    for change in ({"pages": None}, {"pages": "4"}, {"languages": ["en"]}, {"engine": "Tesseract"}, {"mode": "Force"}):
        answer = patch(apiserver, namespace, resource, {"spec": change})
        assert answer.status == 422, answer.body
        assert IMMUTABLE in answer.message
    assert patch(apiserver, namespace, resource, {"spec": {"suspend": True}}).status == 200


def test_a_session_cannot_change(apiserver: ApiServer, namespace: str) -> None:
    resource = session(meetingID="standup")
    assert create(apiserver, namespace, resource).status == 201
    for change in (
        {"poolRef": {"name": "other"}},
        {"meetingID": None},
        {"output": {"uri": "s3://b"}},
        {"maxDurationSeconds": 90},
    ):
        answer = patch(apiserver, namespace, resource, {"spec": change})
        assert answer.status == 422, answer.body
        assert "spec is immutable: delete the session and create another" in answer.message
    assert patch(apiserver, namespace, resource, {"metadata": {"labels": {"a": "b"}}}).status == 200


def test_finished_jobs_of_an_older_schema_stay_writable(apiserver: ApiServer, namespace: str) -> None:
    """A stored object that a newer rule refuses keeps working: its status and its metadata can still be written."""
    crd = yaml.safe_load((CRDS / "transcriptionjobs.yaml").read_text())
    older = deepcopy(crd)
    version = older["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["language"].pop("x-kubernetes-validations")
    where = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
    with_older = apiserver.request("PATCH", where, {"spec": older["spec"]}, content_type="application/merge-patch+json")
    assert with_older.status == 200, with_older.message
    resource = job("old", language="Korean")
    try:
        # The schema takes effect a moment after the answer: the apiserver's own admission says when.
        while create(apiserver, namespace, resource).status == 422:
            pass
    finally:
        apiserver.apply_crds()
    while create(apiserver, namespace, job("probe", language="Korean"), "?dryRun=All").status != 422:
        pass
    assert patch(apiserver, namespace, resource, {"status": {"phase": "Failed"}}, sub="/status").status == 200
    assert patch(apiserver, namespace, resource, {"metadata": {"labels": {"a": "b"}}}).status == 200
    assert patch(apiserver, namespace, resource, {"spec": {"suspend": True}}).status == 200
