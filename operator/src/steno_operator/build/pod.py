"""The pod of an attempt: its task, and the files it reads and writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from steno_api.model import Model
from steno_api.v1alpha1.job import JobSpec
from steno_operator.build import paths
from steno_operator.build.hardened import WORKER, Mount, PodOf, claim_mount, pod_template, secret_mount
from steno_operator.build.task import Attempt

CONTAINER = WORKER
GRACE_SECONDS = 30


@dataclass(frozen=True)
class SecretKey:
    """One key of a Secret in the job's namespace."""

    secret: str
    key: str


@dataclass(frozen=True)
class Work:
    """What a kind gives its worker: the task, and secrets that libraries read from the environment."""

    task: Model
    secret_env: dict[str, SecretKey] = field(default_factory=dict[str, SecretKey])


def build_pod_template(spec: JobSpec, work: Work, attempt: Attempt, *, labels: dict[str, str]) -> dict[str, Any]:
    """Returns the pod template (`metadata`, `spec`) of an attempt; `labels` win over the profile's."""
    worker = PodOf(
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
    if spec.source.secret_ref is not None:
        mounts.append(secret_mount("source-credentials", paths.SOURCE_CREDENTIALS, spec.source.secret_ref.name))
    if spec.output.secret_ref is not None:
        mounts.append(secret_mount("output-credentials", paths.OUTPUT_CREDENTIALS, spec.output.secret_ref.name))
    if (claim := paths.claim_of(spec.source)) is not None:
        mounts.append(claim_mount("source", paths.SOURCE_MOUNT, claim))
    if (claim := paths.claim_of(spec.output)) is not None:
        mounts.append(claim_mount("output", paths.OUTPUT_MOUNT, claim, read_only=False))
    return mounts
