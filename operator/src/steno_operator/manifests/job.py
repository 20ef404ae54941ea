"""The child Job of an attempt, with its pod: the task, and the files it reads and writes."""

from __future__ import annotations

from typing import Any

from steno_api.credentials import URI_KEYS, keys_for
from steno_api.failures import EXIT_CODES, FailureClass
from steno_api.v1alpha1.job import JobSpec
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_operator.manifests import paths
from steno_operator.manifests.labels import DEADLINE, child_labels, child_name, owner_reference
from steno_operator.manifests.pod_template import WORKER, Mount, PodRole, claim_mount, pod_template, secret_mount
from steno_operator.manifests.task import Attempt, Work, build_work

CONTAINER = WORKER
GRACE_SECONDS = 30


def build_pod_template(spec: JobSpec, work: Work, attempt: Attempt, *, labels: dict[str, str]) -> dict[str, Any]:
    """Return the pod template (`metadata`, `spec`) of an attempt; `labels` win over the profile's."""
    worker = PodRole(
        container={
            "name": CONTAINER,
            "args": ["--task", work.task.to_json()],
            "terminationMessagePolicy": "File",
        },
        mounts=_mounts(spec),
        restart_policy="Never",
        grace_seconds=GRACE_SECONDS,
        env=[
            {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.secret, "key": ref.key}}}
            for name, ref in work.secret_env.items()
        ],
        extra_labels=attempt.pod_labels,
    )
    return pod_template(worker, attempt.profile.spec, attempt.runtime_image, labels=labels)


def _mounts(spec: JobSpec) -> list[Mount]:
    mounts: list[Mount] = []
    for name, path, place in (
        ("source-credentials", paths.SOURCE_CREDENTIALS, spec.source),
        ("output-credentials", paths.OUTPUT_CREDENTIALS, spec.output),
    ):
        if place.secret_ref is not None:
            mounts.append(secret_mount(name, path, place.secret_ref.name, keys_for(place.uri or "")))
    if spec.source.uri_secret_ref is not None:
        mounts.append(secret_mount("source-uri", paths.SOURCE_URI, spec.source.uri_secret_ref.name, URI_KEYS))
    source, output = paths.claim_of(spec.source), paths.claim_of(spec.output)
    if source is not None:
        mounts.append(claim_mount("source", paths.SOURCE_MOUNT, source, shared=source == output))
    if output is not None:
        mounts.append(claim_mount("output", paths.OUTPUT_MOUNT, output, read_only=False))
    return mounts


DEADLINE_SLACK_SECONDS = 60
"""The operator enforces the deadline itself; Kubernetes does so this much later, in case the operator is down."""


def deadline_of(spec: JobSpec, limit: int | None) -> int | None:
    """Return `activeDeadlineSeconds` of a child Job, in seconds; None for none.

    Args:
        spec: of the resource.
        limit: the longest deadline that its Tenant allows, in seconds; None: any.
    """
    given = [seconds for seconds in (spec.active_deadline_seconds, limit) if seconds is not None]
    return min(given) + DEADLINE_SLACK_SECONDS if given else None


def build_job(owner: TranscriptionJob | OCRJob, attempt: Attempt) -> dict[str, Any]:
    """Return the `batch/v1` Job manifest of an attempt; `owner` becomes its controller."""
    metadata, spec = owner.metadata, owner.spec
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
        # cluster took away is replaced by Kubernetes itself and does not count.
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
        "template": build_pod_template(spec, build_work(owner, attempt), attempt, labels=labels),
    }
    child: dict[str, Any] = {
        "name": child_name(metadata.name, attempt.number),
        "namespace": metadata.namespace,
        "labels": labels,
        "ownerReferences": [owner_reference(owner)],
    }
    if (deadline := deadline_of(spec, attempt.deadline_limit)) is not None:
        job_spec["activeDeadlineSeconds"] = deadline
        child["annotations"] = {DEADLINE: str(deadline)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": child, "spec": job_spec}
