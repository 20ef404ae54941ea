"""What people see of the resources: `kubectl get`, `scale` and `explain`."""

from __future__ import annotations

from typing import Any

import pytest

from steno_api.v1alpha1 import RESOURCES, OCRJob, StreamSession
from tests.support.apiserver import ApiServer
from tests.support.resources import STATUS, create, job, ocr, patch, path, pool, profile, session

pytestmark = pytest.mark.apiserver


def test_what_kubectl_get_shows(apiserver: ApiServer, namespace: str) -> None:
    resource = job()
    create(apiserver, namespace, resource)
    patch(apiserver, namespace, resource, {"status": STATUS}, sub="/status")

    def rows(*words: str) -> list[list[str]]:
        lines = apiserver.kubectl("get", *words, namespace=namespace).stdout.splitlines()
        return [line.split() for line in lines]

    header, row = rows("tj")
    assert header == ["NAME", "PHASE", "PROGRESS", "DURATION", "SPEED", "MODEL", "AGE"]
    assert row[:-1] == ["standup", "Running", "42", "3600.5", "14.2", "large-v3"]
    header, row = rows("tj", "-o", "wide")
    assert header == [
        "NAME", "PHASE", "PROGRESS", "DURATION", "SPEED", "MODEL",
        "LANGUAGE", "SPEAKERS", "ATTEMPT", "WARNING", "REASON", "NODE", "AGE",
    ]  # fmt: skip
    assert row[6:-1] == ["ko", "4", "2", "Decoding", "worker-1"]
    assert any("transcriptionjob.steno.dev/standup" in line for line in rows("steno", "-o", "name"))
    assert rows("tj", "--field-selector=status.phase=Running", "-o", "name") == [["transcriptionjob.steno.dev/standup"]]
    assert rows("tj", "--field-selector=status.phase=Failed", "-o", "name") == []


OCR_STATUS: dict[str, Any] = {
    "phase": "Succeeded",
    "attempt": 1,
    "nodeName": "worker-1",
    "progress": {"stage": "Recognizing", "percent": 99, "pages": 3},
    "summary": {
        "pages": 3, "failedPages": 1, "characters": 4120, "confidence": 0.94,
        "engines": {"tesseract": 1, "embedded": 1}, "processingSeconds": 12.5, "pagesPerSecond": 0.24,
    },
}  # fmt: skip


def test_what_kubectl_get_shows_of_ocr_jobs(apiserver: ApiServer, namespace: str) -> None:
    resource = ocr()
    create(apiserver, namespace, resource)
    written = patch(apiserver, namespace, resource, {"status": OCR_STATUS}, sub="/status")
    assert written.body["status"] == OCR_STATUS
    assert OCRJob.from_wire(written.body).status.summary.engines == {"tesseract": 1, "embedded": 1}
    lines = apiserver.kubectl("get", "oj", "-o", "wide", namespace=namespace).stdout.splitlines()
    header, row = (line.split()[:-1] for line in lines)
    assert header == [
        "NAME",
        "PHASE",
        "PROGRESS",
        "PAGES",
        "ENGINE",
        "FAILED",
        "CONFIDENCE",
        "ATTEMPT",
        "WARNING",
        "REASON",
        "NODE",
    ]
    assert row == ["contract", "Succeeded", "99", "3", "Auto", "1", "0.94", "1", "worker-1"]
    assert any("ocrjob.steno.dev/contract" in line for line in apiserver.kubectl(
        "get", "steno", "-o", "name", namespace=namespace
    ).stdout.splitlines())  # fmt: skip


def test_what_kubectl_get_shows_of_sessions(apiserver: ApiServer, namespace: str) -> None:
    resource = session()
    stored = create(apiserver, namespace, resource).body["spec"]
    assert stored == {
        "poolRef": {"name": "default"},
        "language": "auto",
        "interimResults": True,
        "endpointingMillis": 300,
        "maxDurationSeconds": 7200,
        "idleTimeoutSeconds": 60,
    }
    status = {
        "phase": "Active",
        "endpoints": [{"protocol": "WebSocket", "url": "ws://h/stt/realtime?session=a/call"}],
        "tokenSecretName": "call-token-01234567",
        "tokenExpirationTime": "2026-01-02T03:04:05Z",
        "tokenKeyID": "0123456789abcdef",
        "stats": {"audioSeconds": 12.5, "segments": 3, "finalLatencyMillis": 410},
    }
    written = patch(apiserver, namespace, resource, {"status": status}, sub="/status")
    assert written.body["status"] == status, "nothing of it is dropped"
    read = StreamSession.from_wire(written.body).status
    assert read.stats is not None
    assert read.stats.final_latency_millis == 410
    lines = apiserver.kubectl("get", "ss", "-o", "wide", namespace=namespace).stdout.splitlines()
    header, row = (line.split() for line in lines)
    assert header == ["NAME", "PHASE", "AUDIO", "FINAL-LATENCY", "POOL", "URL", "REASON", "WARNING", "AGE"]
    assert row[:6] == ["call", "Active", "12.5", "410", "default", "ws://h/stt/realtime?session=a/call"]


def test_a_pool_can_be_scaled(apiserver: ApiServer, namespace: str) -> None:
    resource = pool(maxReplicas=3)
    create(apiserver, namespace, resource)
    status = {"replicas": 1, "readyReplicas": 1, "sessions": 2, "phase": "Ready", "selector": "steno.dev/pool-uid=1"}
    assert patch(apiserver, namespace, resource, {"status": status}, sub="/status").status == 200
    apiserver.kubectl("scale", "rp/default", "--replicas=2", namespace=namespace)
    assert apiserver.request("GET", path(resource, namespace)).body["spec"]["replicas"] == 2
    scale = apiserver.request("GET", path(resource, namespace) + "/scale").body
    assert scale["status"] == {"replicas": 1, "selector": "steno.dev/pool-uid=1"}
    refused = apiserver.kubectl("scale", "rp/default", "--replicas=4", namespace=namespace, check=False)
    assert "replicas must not be greater than maxReplicas: raise maxReplicas first" in refused.stderr
    header, row = (line.split() for line in apiserver.kubectl("get", "rp", namespace=namespace).stdout.splitlines())
    assert header == ["NAME", "PHASE", "READY", "REPLICAS", "SESSIONS", "MODEL", "AGE"]
    assert row[:-1] == ["default", "Ready", "1", "1", "2", "large-v3"]


def test_what_kubectl_get_shows_of_profiles(apiserver: ApiServer, namespace: str) -> None:
    resource = profile("shown", accelerator={"count": 2}, image="steno/runtime:1")
    create(apiserver, namespace, resource)
    lines = apiserver.kubectl("get", "rprof", "shown").stdout.splitlines()
    assert [line.split()[:-1] for line in lines] == [["NAME", "ACCELERATOR", "COUNT"], ["shown", "nvidia.com/gpu", "2"]]
    apiserver.request("DELETE", path(resource, namespace))


def test_kubectl_explains_every_field(apiserver: ApiServer) -> None:
    for resource in RESOURCES:
        for part in {"spec", "status"} & resource.model_fields.keys():
            text = apiserver.kubectl("explain", f"{resource.definition.plural}.{part}").stdout
            assert "<no description>" not in text, text
