"""A kopf operator written as in kopf's tutorial, which `bench.operator_load` compares with Steno's.

One handler creates the child with the official, blocking client; another patches the status of the owner when a field
of the child changes. Start it with `kopf run -m bench.tutorial_operator`; `JOB_TEMPLATES` names a JSON file that maps a
kind to its Job.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import kopf
import kubernetes

GROUP, VERSION, PLURAL = "tutorial.steno.dev", "v1", "transcripts"

CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{PLURAL}.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "Transcript", "plural": PLURAL, "singular": "transcript"},
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


@kopf.on.create(GROUP, VERSION, PLURAL)
def create(spec: kopf.Spec, name: str, namespace: str, **_: Any) -> dict[str, str]:
    job = json.loads(Path(os.environ["JOB_TEMPLATES"]).read_text())[spec["kind"]]
    job["metadata"] |= {"name": f"{name}-1", "namespace": namespace}
    job["metadata"]["labels"]["owner"] = name
    kopf.adopt(job)
    created = kubernetes.client.BatchV1Api().create_namespaced_job(namespace, job)
    return {"job": created.metadata.name}


@kopf.on.field("batch", "v1", "jobs", field="status.succeeded", labels={"owner": kopf.PRESENT})
def succeeded(new: int | None, labels: kopf.Labels, namespace: str, **_: Any) -> None:
    if new:
        kubernetes.client.CustomObjectsApi().patch_namespaced_custom_object_status(
            GROUP, VERSION, namespace, PLURAL, labels["owner"], {"status": {"phase": "Complete"}}
        )
