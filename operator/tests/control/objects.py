"""Raw objects as the API server sends them."""

from __future__ import annotations

from typing import Any

CREATED = "2026-01-02T03:04:05Z"


def resource(name: str = "talk", uid: str = "u1", version: int = 1, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "steno.dev/v1alpha1",
        "kind": "TranscriptionJob",
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": uid,
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": CREATED,
            "managedFields": [{"manager": "kubectl"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "yes"},
        },
        "spec": {
            "source": {"uri": "s3://meetings/talk.wav"},
            "output": {"uri": "s3://results"},
            "profileRef": {"name": "gpu"},
        },
        "status": status,
    }


def job(name: str = "talk-1", uid: str = "j1", owner: str = "u1", version: int = 10, **more: Any) -> dict[str, Any]:
    reference = {"kind": "TranscriptionJob", "name": name.rpartition("-")[0], "uid": owner, "controller": True}
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": CREATED,
            "labels": {"steno.dev/attempt": name.rpartition("-")[2]},
            "ownerReferences": [reference] if owner else [],
        },
        **more,
    }


def pod(
    name: str = "talk-1-abc", uid: str = "p1", owner: str = "j1", version: int = 20, **status: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": CREATED,
            "labels": {"steno.dev/job-uid": "u1"},
            "ownerReferences": [{"kind": "Job", "name": "talk-1", "uid": owner, "controller": True}],
        },
        "spec": {},
        "status": status,
    }


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "sidecar", "state": {}}, {"name": "worker", "state": state}]}


def event(uid: str, message: str) -> dict[str, Any]:
    metadata = {"name": f"{uid}-warning", "uid": f"e-{uid}", "namespace": "ns", "resourceVersion": "15"}
    return {"metadata": metadata, "involvedObject": {"uid": uid}, "message": message}


def profile_object(name: str = "gpu", version: int = 1, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"profile-{name}", "resourceVersion": str(version)}
    return {"kind": "RuntimeProfile", "metadata": metadata, "spec": spec}


def manifest_of(pod: Any) -> str:
    """Return the URI of the manifest in the result directory of the resource that a worker's pod works for."""
    metadata = pod["metadata"]
    job, uid = metadata["labels"]["steno.dev/job"], metadata["labels"]["steno.dev/job-uid"]
    return f"s3://results/{metadata['namespace']}/{job}/{uid}/manifest.json"
