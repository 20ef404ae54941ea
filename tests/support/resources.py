"""The smallest resource of each kind, and how tests create and change them at the apiserver."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from steno_api.v1alpha1 import RESOURCES
from tests.support.apiserver import ApiServer, Response

API = "/apis/steno.dev/v1alpha1"

IMMUTABLE = "spec is immutable except suspend, priority, backoffLimit"
"""How a change of what a job makes is refused."""


STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Running",
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Decoding",
            "message": "chunk 31 of 74",
            "lastTransitionTime": "2026-01-02T03:04:05.123456Z",
            "observedGeneration": 1,
        }
    ],
    "attempt": 2,
    "failures": 1,
    "outOfMemory": 0,
    "startTime": "2026-01-02T03:04:00Z",
    "nodeName": "worker-1",
    "progress": {"stage": "Decoding", "percent": 42, "audioSeconds": 1510.5, "etaSeconds": 38},
    "summary": {
        "duration": 3600.5, "language": "ko", "segments": 812, "speakers": 4, "words": 9000, "confidence": 0.91,
        "processingSeconds": 253.5, "speed": 14.2, "model": "large-v3", "device": "cuda",
    },
    "results": {
        "manifest": "s3://t/manifest.json",
        "artifacts": [{"format": "json", "uri": "s3://t/transcript.json", "sha256": "0" * 64, "bytes": 8_000_000_000}],
    },
    "lastFailure": {"attempt": 1, "reason": "OutOfMemory", "message": "m", "time": "2026-01-02T03:04:05Z"},
}  # fmt: skip
"""The status of a TranscriptionJob with every field that a running one can have."""


def job(name: str = "standup", **spec: Any) -> dict[str, Any]:
    """The smallest TranscriptionJob, with `spec` fields on top; `None` takes one away."""
    base = {"source": {"uri": "s3://meetings/standup.m4a"}, "output": {"uri": "s3://transcripts"}}
    return _resource("TranscriptionJob", name, base, spec)


def ocr(name: str = "contract", **spec: Any) -> dict[str, Any]:
    """The smallest OCRJob, with `spec` fields on top."""
    base = {"source": {"uri": "s3://scans/contract.pdf"}, "output": {"uri": "s3://documents"}}
    return _resource("OCRJob", name, base, spec)


def profile(name: str = "gpu", **spec: Any) -> dict[str, Any]:
    """A RuntimeProfile with only `spec`."""
    return _resource("RuntimeProfile", name, {}, spec)


def tenant(name: str = "acme", **spec: Any) -> dict[str, Any]:
    """The smallest Tenant, with `spec` fields on top."""
    return _resource("Tenant", name, {"namespaces": ["acme"]}, spec)


def session(name: str = "call", **spec: Any) -> dict[str, Any]:
    """A StreamSession with only `spec`."""
    return _resource("StreamSession", name, {}, spec)


def pool(name: str = "default", **spec: Any) -> dict[str, Any]:
    """A RuntimePool with only `spec`."""
    return _resource("RuntimePool", name, {}, spec)


def _resource(kind: str, name: str, base: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    merged = {key: deepcopy(value) for key, value in {**base, **spec}.items() if value is not None}
    return {"apiVersion": "steno.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": merged}


def path(resource: dict[str, Any], namespace: str, *, named: bool = True) -> str:
    """A resource's path at the apiserver, or that of its kind."""
    definition = next(one.definition for one in RESOURCES if one.definition.kind == resource["kind"])
    place = (f"namespaces/{namespace}/" if definition.scope == "Namespaced" else "") + definition.plural
    return f"{API}/{place}" + (f"/{resource['metadata']['name']}" if named else "")


def create(server: ApiServer, namespace: str, resource: dict[str, Any], query: str = "") -> Response:
    """Create a resource; `query` with its `?`."""
    return server.request("POST", path(resource, namespace, named=False) + query, resource)


def patch(server: ApiServer, namespace: str, resource: dict[str, Any], change: Any, *, sub: str = "") -> Response:
    """Changes a resource, or its subresource `sub`, by a merge patch (a dict) or a JSON patch (a list)."""
    kind = "application/json-patch+json" if isinstance(change, list) else "application/merge-patch+json"
    return server.request("PATCH", path(resource, namespace) + sub, change, content_type=kind)
