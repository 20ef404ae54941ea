"""The pod of an attempt: what the profile asks for and what every worker pod must be (the restricted standard)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from steno_api.model import Model
from steno_api.report import REPORT_AUDIENCE
from steno_api.v1alpha1.job import JobSpec
from steno_api.v1alpha1.runtimeprofile import ModelStore, RuntimeProfileSpec
from steno_operator.build import paths
from steno_operator.build.overrides import merge
from steno_operator.build.task import Attempt

CONTAINER = "worker"
GRACE_SECONDS = 30
UID = 65532
TOKEN_SECONDS = 3600
_SECRET_MODE = 0o440
_TMP_SIZE = "1Gi"

_HOME_ENV = {
    "HOME": paths.SCRATCH,
    "XDG_CACHE_HOME": f"{paths.SCRATCH}/cache",
    "HF_HOME": f"{paths.SCRATCH}/huggingface",
    "NUMBA_CACHE_DIR": f"{paths.SCRATCH}/numba",
    "MPLCONFIGDIR": f"{paths.SCRATCH}/matplotlib",
}
"""The root file system is read-only: whatever libraries cache goes to the scratch volume."""


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


@dataclass(frozen=True)
class _Mount:
    """A volume and where it is mounted."""

    name: str
    path: str
    volume: dict[str, Any]
    read_only: bool = True

    def mount(self) -> dict[str, Any]:
        """Returns the container's `volumeMounts` entry."""
        return {"name": self.name, "mountPath": self.path, **({"readOnly": True} if self.read_only else {})}


def build_pod_template(spec: JobSpec, work: Work, attempt: Attempt, *, labels: dict[str, str]) -> dict[str, Any]:
    """Returns the pod template (`metadata`, `spec`) of an attempt; `labels` win over the profile's."""
    profile = attempt.profile.spec
    mounts = _mounts(spec, profile)
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(work, attempt, mounts)],
        "volumes": [{"name": item.name, **item.volume} for item in mounts],
    }
    optional: dict[str, Any] = {
        "nodeSelector": profile.node_selector,
        "tolerations": [item.to_wire() for item in profile.tolerations],
        "runtimeClassName": profile.runtime_class_name,
        "priorityClassName": profile.priority_class_name,
        "serviceAccountName": profile.service_account_name,
        "imagePullSecrets": [{"name": name} for name in profile.image_pull_secrets],
    }
    pod.update({key: value for key, value in optional.items() if value})
    metadata: dict[str, Any] = {"labels": {**profile.pod_labels, **attempt.pod_labels, **labels}}
    if profile.pod_annotations:
        metadata["annotations"] = dict(profile.pod_annotations)
    return {"metadata": metadata, "spec": merge(pod, profile.pod_overrides or {})}


def _container(work: Work, attempt: Attempt, mounts: list[_Mount]) -> dict[str, Any]:
    profile = attempt.profile.spec
    env: list[dict[str, Any]] = [{"name": key, "value": value} for key, value in {**_HOME_ENV, **profile.env}.items()]
    env += [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.secret, "key": ref.key}}}
        for name, ref in work.secret_env.items()
        if name not in profile.env
    ]
    return {
        "name": CONTAINER,
        "image": profile.image or attempt.runtime_image,
        "imagePullPolicy": profile.image_pull_policy,
        "args": ["--task", work.task.to_json()],
        "env": env,
        "resources": _resources(profile),
        "volumeMounts": [item.mount() for item in mounts],
        "terminationMessagePolicy": "File",
        "terminationMessagePath": paths.TERMINATION_LOG,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _resources(profile: RuntimeProfileSpec) -> dict[str, dict[str, str]]:
    """Returns requests and limits; Kubernetes takes the request of an extended resource from its limit."""
    limits = dict(profile.resources.limits)
    if profile.accelerator is not None:
        limits[profile.accelerator.resource] = str(profile.accelerator.count)
    lists = {"requests": dict(profile.resources.requests), "limits": limits}
    return {key: value for key, value in lists.items() if value}


def _mounts(spec: JobSpec, profile: RuntimeProfileSpec) -> list[_Mount]:
    mounts = [
        _Mount("scratch", paths.SCRATCH, {"emptyDir": {"sizeLimit": profile.scratch_size}}, read_only=False),
        _Mount("tmp", "/tmp", {"emptyDir": {"sizeLimit": _TMP_SIZE}}, read_only=False),  # noqa: S108 - the pod's own
        _Mount("report-token", paths.TOKEN_DIR, _token_volume()),
    ]
    if spec.source.secret_ref is not None:
        mounts.append(
            _Mount("source-credentials", paths.SOURCE_CREDENTIALS, _secret_volume(spec.source.secret_ref.name))
        )
    if spec.output.secret_ref is not None:
        mounts.append(
            _Mount("output-credentials", paths.OUTPUT_CREDENTIALS, _secret_volume(spec.output.secret_ref.name))
        )
    if (claim := paths.claim_of(spec.source)) is not None:
        mounts.append(_Mount("source", paths.SOURCE_MOUNT, _claim_volume(claim)))
    if (claim := paths.claim_of(spec.output)) is not None:
        mounts.append(_Mount("output", paths.OUTPUT_MOUNT, _claim_volume(claim), read_only=False))
    if (models := _model_volume(profile.model_store)) is not None:
        mounts.append(_Mount("models", paths.MODELS, models))
    return mounts


def _model_volume(store: ModelStore | None) -> dict[str, Any] | None:
    if store is None:
        return None
    if store.persistent_volume_claim is not None:
        return _claim_volume(store.persistent_volume_claim)
    if store.host_path is not None:
        return {"hostPath": {"path": store.host_path, "type": "Directory"}}
    return None


def _claim_volume(claim: str) -> dict[str, Any]:
    # Read-only is said at the mount, not here: source and output may be one claim.
    return {"persistentVolumeClaim": {"claimName": claim}}


def _secret_volume(name: str) -> dict[str, Any]:
    return {"secret": {"secretName": name, "defaultMode": _SECRET_MODE}}


def _token_volume() -> dict[str, Any]:
    token = {"audience": REPORT_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": paths.TOKEN_NAME}
    return {"projected": {"defaultMode": _SECRET_MODE, "sources": [{"serviceAccountToken": token}]}}
