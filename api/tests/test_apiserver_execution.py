"""Jobs in a pool at a real kube-apiserver: what needs a pod of its own is refused, and pools say what they do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.apiserver import ApiServer
from tests.support.resources import create, job, ocr, pool

pytestmark = pytest.mark.apiserver

VOLUME = {"uri": "pvc://claim/folder/a"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a pool without execution: Pool": (job(poolRef={"name": "fast"}), "poolRef is for execution: Pool and Auto only"),
    "a pool with execution: Job": (ocr(execution="Job", poolRef={}), "poolRef is for execution: Pool and Auto only"),
    "a source on a volume": (
        job(execution="Pool", source=VOLUME),
        "source.uri: the servers of a pool mount no volumes",
    ),
    "an output on a volume": (
        ocr(execution="Pool", output=VOLUME),
        "output.uri: the servers of a pool mount no volumes",
    ),
    "a token for speakers": (
        job(execution="Pool", diarization={"tokenSecretRef": {"name": "hf"}}),
        "diarization.tokenSecretRef needs a pod of its own",
    ),
    "a URL in a Secret": (
        job(execution="Pool", source={"uriSecretRef": {"name": "url"}}),
        "source.uriSecretRef needs a pod of its own",
    ),
    "another execution": (job(execution="Fast"), "Unsupported value"),
    "a pool of another name": (job(execution="Pool", poolRef={"name": "Fast"}), "must be a RuntimePool's name"),
    "a pool that does nothing": (pool(workloads=[]), "should have at least 1 items"),
    "a workload twice": (pool(workloads=["Queue", "Queue"]), "Duplicate value"),
    "a workload that is none": (pool(workloads=["Batch"]), "Unsupported value"),
    "Secrets of jobs without a queue": (pool(queue={}), "queue is for pools whose workloads include Queue"),
    "Secrets of jobs with streams alone": (
        pool(workloads=["Streams"], queue={"secretRefs": [{"name": "s3"}]}),
        "queue is for pools whose workloads include Queue",
    ),
    "a Secret twice": (pool(workloads=["Queue"], queue={"secretRefs": [{"name": "a"}] * 2}), "Duplicate value"),
}
TAKEN: dict[str, dict[str, Any]] = {
    "a job in the default pool": job(execution="Pool"),
    "an OCRJob in a pool": ocr(execution="Pool", poolRef={"name": "fast"}),
    "speakers without a token": job(execution="Pool", diarization={"maxSpeakers": 2}),
    "a URL in a Secret in a pod": job(source={"uriSecretRef": {"name": "url"}}),
    "a job that goes where it is short": job(execution="Auto"),
    "a job that may go to one pool": ocr(execution="Auto", poolRef={"name": "fast"}),
    "a volume that may be mounted": job(execution="Auto", source=VOLUME, output=VOLUME),
    "a token that may be mounted": job(execution="Auto", diarization={"tokenSecretRef": {"name": "hf"}}),
    "a volume in a pod": job(execution="Job", source=VOLUME, output=VOLUME),
    "a token in a pod": job(diarization={"tokenSecretRef": {"name": "hf"}}),
    "a pool of jobs": pool(workloads=["Queue"]),
    "a pool of both": pool(workloads=["Streams", "Queue"], queue={"secretRefs": [{"name": "a"}, {"name": "b"}]}),
}


@pytest.mark.parametrize(("resource", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_work_is_refused_with_a_reason(
    apiserver: ApiServer, namespace: str, resource: dict[str, Any], why: str
) -> None:
    answer = create(apiserver, namespace, resource, "?dryRun=All")
    assert answer.status == 422, answer.body
    assert why in answer.message


@pytest.mark.parametrize("resource", TAKEN.values(), ids=TAKEN.keys())
def test_what_works_is_taken(apiserver: ApiServer, namespace: str, resource: dict[str, Any]) -> None:
    answer = create(apiserver, namespace, resource, "?dryRun=All&fieldValidation=Strict")
    assert answer.status == 201, answer.message


def test_defaults_of_jobs_and_pools(apiserver: ApiServer, namespace: str) -> None:
    in_pool = create(apiserver, namespace, job(execution="Pool", poolRef={}), "?dryRun=All").body["spec"]
    assert (in_pool["execution"], in_pool["poolRef"]) == ("Pool", {"name": "default"})
    assert "poolRef" not in create(apiserver, namespace, job(), "?dryRun=All").body["spec"]
    assert create(apiserver, namespace, pool(), "?dryRun=All").body["spec"]["workloads"] == ["Streams"]
