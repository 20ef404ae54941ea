"""The child Job of an attempt."""

from __future__ import annotations

from typing import Any

from steno_api.failures import EXIT_CODES, FailureClass
from steno_api.v1alpha1.job import JobSpec
from steno_api.v1alpha1.meta import Resource
from steno_operator.build.labels import child_labels, child_name, owner_reference
from steno_operator.build.pod import CONTAINER, Work, build_pod_template
from steno_operator.build.task import Attempt

DEADLINE_SLACK_SECONDS = 60
"""The operator enforces the deadline itself; Kubernetes does so this much later, in case the operator is down."""


def deadline_of(spec: JobSpec) -> int | None:
    """Returns `activeDeadlineSeconds` of a child Job, in seconds; None for none."""
    seconds = spec.active_deadline_seconds
    return None if seconds is None else seconds + DEADLINE_SLACK_SECONDS


def build_job(owner: Resource, spec: JobSpec, work: Work, attempt: Attempt) -> dict[str, Any]:
    """Returns the `batch/v1` Job manifest of an attempt.

    Args:
        owner: the custom resource, which becomes the controller of the Job.
        spec: the owner's spec.
        work: the task, from the owner's kind.
        attempt: which attempt, on which profile.
    """
    metadata = owner.metadata
    labels = child_labels(
        kind=owner.kind,
        name=metadata.name,
        uid=metadata.uid,
        tenant=attempt.tenant,
        attempt=attempt.number,
    )
    job_spec: dict[str, Any] = {
        "completions": 1,
        "parallelism": 1,
        # One pod that fails ends the attempt: the operator decides about the next by the reason. A pod that the
        # cluster took away is replaced by Kubernetes itself, for free.
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": CONTAINER,
                        "operator": "In",
                        "values": [EXIT_CODES[FailureClass.USER]],
                    },
                },
            ]
        },
        "suspend": False,
        "template": build_pod_template(spec, work, attempt, labels=labels),
    }
    if (deadline := deadline_of(spec)) is not None:
        job_spec["activeDeadlineSeconds"] = deadline
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": child_name(metadata.name, attempt.number),
            "namespace": metadata.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": job_spec,
    }
