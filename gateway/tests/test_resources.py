"""What the gateway knows of its resources, whatever order lists and watches arrive in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from steno_api.gateway.session_tokens import GATEWAY_LABEL
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_gateway.cluster.resources import Resources
from steno_kube.client import Cluster
from steno_kube.keys import Key

KEY = Key("TranscriptionJob", "team-a", "stt-a")


class Unreachable(Cluster):
    """No API server: what is read live fails."""

    def __init__(self) -> None:
        pass


def job(version: int, **status: Any) -> dict[str, Any]:
    metadata = {"name": "stt-a", "namespace": "team-a", "uid": "u-1", "resourceVersion": str(version)}
    spec = {"source": {"uri": "s3://a/b"}, "output": {"uri": "s3://a"}}
    labels = {"labels": {GATEWAY_LABEL: "steno"}}
    return {"kind": "TranscriptionJob", "metadata": metadata | labels, "spec": spec, "status": status}


@pytest.fixture
def resources() -> Resources:
    return Resources(Unreachable(), "steno", [TranscriptionJob, OCRJob])


async def test_a_list_of_one_kind_takes_nothing_from_another(resources: Resources):
    resources.cache("TranscriptionJob").upsert(job(5))
    resources.cache("OCRJob").replace([], "9")
    assert (await resources.get(KEY)).metadata.uid == "u-1"


async def test_whoever_waits_is_woken_by_the_watch(resources: Resources):
    cache = resources.cache("TranscriptionJob")
    cache.upsert(job(5))
    waiting = [
        asyncio.create_task(resources.wait(KEY, lambda each: each.to_wire()["status"].get("phase") == "Succeeded", 60))
        for _ in range(2)
    ]
    for version, phase in ((6, "Running"), (7, "Succeeded")):
        await asyncio.sleep(0)
        cache.upsert(job(version, phase=phase))
    found = await asyncio.gather(*waiting)
    assert {each.metadata.resource_version for each in found} == {"7"}


async def test_whoever_waits_too_long_has_it_as_it_is(resources: Resources):
    resources.cache("TranscriptionJob").upsert(job(5))
    found = await resources.wait(KEY, lambda _: False, 0.01)
    assert found.metadata.resource_version == "5"
