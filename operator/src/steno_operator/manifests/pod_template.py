"""Pod template: the restricted Pod Security Standard, what the profile asks for, and the role of the container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from steno_api.credentials import SecretKeys
from steno_api.server.task import CERTIFICATE_FILE, KEY_FILE
from steno_api.v1alpha1.runtimeprofile import ModelStore, RuntimeProfileSpec
from steno_api.worker.report import REPORT_AUDIENCE
from steno_operator.manifests import paths

WORKER = "worker"
"""Name of the container of a job's pod."""
SERVER = "server"
"""Name of the container of a pool's pod."""

HF_TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable and of a Secret's key
UID = 65532
TOKEN_SECONDS = 3600
_SECRET_MODE = 0o440
_TMP_SIZE = "1Gi"
_ROLES = frozenset({WORKER, SERVER})

_HOME_ENV = {
    "HOME": paths.SCRATCH,
    "XDG_CACHE_HOME": f"{paths.SCRATCH}/cache",
    "HF_HOME": f"{paths.SCRATCH}/huggingface",
    "NUMBA_CACHE_DIR": f"{paths.SCRATCH}/numba",
    "MPLCONFIGDIR": f"{paths.SCRATCH}/matplotlib",
}
"""The root file system is read-only: whatever libraries cache goes to the scratch volume."""


@dataclass(frozen=True)
class Mount:
    """A volume and where it is mounted."""

    name: str
    path: str
    volume: dict[str, Any]
    read_only: bool = True

    def mount(self) -> dict[str, Any]:
        """Return the container's `volumeMounts` entry."""
        return {"name": self.name, "mountPath": self.path, **({"readOnly": True} if self.read_only else {})}


@dataclass(frozen=True)
class PodRole:
    """What differs between workers and servers."""

    container: Mapping[str, Any]
    """The container's own fields: `name`, `args`, ports and probes."""
    mounts: Sequence[Mount]
    """Beyond those that every pod has."""
    restart_policy: str
    grace_seconds: int
    env: Sequence[Mapping[str, Any]] = ()
    """Variables that win over the profile's of the same name: the job's own secrets."""
    extra_labels: Mapping[str, str] | None = None
    """The operator's own additions, below `labels`."""


def pod_template(
    role: PodRole, profile: RuntimeProfileSpec, runtime_image: str, *, labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return a pod template (`metadata`, `spec`); `labels` win over the profile's.

    Args:
        role: what the role needs.
        profile: what the pod asks for.
        runtime_image: image of profiles that name none.
        labels: how the operator finds the pod.
    """
    mounts = [*_own_mounts(profile), *role.mounts, *_models(profile.model_store)]
    pod: dict[str, Any] = {
        "restartPolicy": role.restart_policy,
        "terminationGracePeriodSeconds": role.grace_seconds,
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
        "containers": [_container(role, profile, runtime_image, mounts)],
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
    metadata: dict[str, Any] = {"labels": {**profile.pod_labels, **(role.extra_labels or {}), **labels}}
    if profile.pod_annotations:
        metadata["annotations"] = dict(profile.pod_annotations)
    return {"metadata": metadata, "spec": merge(pod, _overrides(profile, role.container["name"]))}


def secret_mount(name: str, path: str, secret: str, keys: SecretKeys) -> Mount:
    """Return the mount of a Secret's credentials, key by key: what else it holds is not in the pod.

    Args:
        name: of the volume.
        path: where it is mounted.
        secret: its name.
        keys: the credentials; while a required one is missing, the kubelet says so and the pod waits.
    """
    required, optional = ([{"key": key, "path": key} for key in names] for names in (keys.required, keys.optional))
    sources: list[dict[str, Any]] = []  # without items, one would have all keys
    if required:
        sources.append({"secret": {"name": secret, "items": required}})
    if optional:
        sources.append({"secret": {"name": secret, "items": optional, "optional": True}})
    return Mount(name, path, {"projected": {"defaultMode": _SECRET_MODE, "sources": sources}})


def certificate_mount(name: str, path: str, secret: str) -> Mount:
    """Return the mount of a Secret of type `kubernetes.io/tls`; without both of its keys, no pod starts."""
    items = [{"key": key, "path": key} for key in (CERTIFICATE_FILE, KEY_FILE)]
    return Mount(name, path, {"secret": {"secretName": secret, "defaultMode": _SECRET_MODE, "items": items}})


def claim_mount(name: str, path: str, claim: str, *, read_only: bool = True, shared: bool = False) -> Mount:
    """Return the mount of a PersistentVolumeClaim.

    A volume that is read-only as such is left alone by the kubelet, which otherwise gives all of its files to the pod's
    `fsGroup`: a database on the claim would not start any more.

    Args:
        name: of the volume.
        path: where it is mounted.
        claim: in the pod's namespace.
        read_only: whether the container may only read it.
        shared: whether another volume of the pod writes to the claim, which only the mount can then rule out here.
    """
    source: dict[str, Any] = {"claimName": claim, **({"readOnly": True} if read_only and not shared else {})}
    return Mount(name, path, {"persistentVolumeClaim": source}, read_only)


def _overrides(profile: RuntimeProfileSpec, role: str) -> Mapping[str, Any]:
    """Return the profile's overrides without those of the other role's container, which they would add."""
    overrides = profile.pod_overrides or {}
    containers = overrides.get("containers")
    if not isinstance(containers, list):
        return overrides
    others = _ROLES - {role}
    kept = [item for item in cast("list[Any]", containers) if item.get("name") not in others]
    return {**overrides, "containers": kept}


def _container(
    role: PodRole, profile: RuntimeProfileSpec, runtime_image: str, mounts: Sequence[Mount]
) -> dict[str, Any]:
    env: list[dict[str, Any]] = [{"name": key, "value": value} for key, value in {**_HOME_ENV, **profile.env}.items()]
    if profile.hub.token_secret_ref is not None:
        reference = {"name": profile.hub.token_secret_ref.name, "key": HF_TOKEN}
        env.append({"name": HF_TOKEN, "valueFrom": {"secretKeyRef": reference}})
    own = {entry["name"] for entry in role.env}
    env = [entry for entry in env if entry["name"] not in own]
    return {
        "image": profile.image or runtime_image,
        "imagePullPolicy": profile.image_pull_policy,
        "env": [*env, *role.env],
        "resources": _resources(profile),
        "volumeMounts": [item.mount() for item in mounts],
        "terminationMessagePath": paths.TERMINATION_LOG,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **role.container,
    }


def _resources(profile: RuntimeProfileSpec) -> dict[str, dict[str, str]]:
    """Return requests and limits; Kubernetes takes the request of an extended resource from its limit."""
    limits = dict(profile.resources.limits)
    if profile.accelerator is not None:
        limits[profile.accelerator.resource] = str(profile.accelerator.count)
    lists = {"requests": dict(profile.resources.requests), "limits": limits}
    return {key: value for key, value in lists.items() if value}


def _own_mounts(profile: RuntimeProfileSpec) -> list[Mount]:
    token = {"audience": REPORT_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": paths.TOKEN_NAME}
    projected = {"projected": {"defaultMode": _SECRET_MODE, "sources": [{"serviceAccountToken": token}]}}
    return [
        Mount("scratch", paths.SCRATCH, {"emptyDir": {"sizeLimit": profile.scratch_size}}, read_only=False),
        Mount("tmp", "/tmp", {"emptyDir": {"sizeLimit": _TMP_SIZE}}, read_only=False),  # noqa: S108 - the pod's own
        Mount("report-token", paths.TOKEN_DIR, projected),
    ]


def _models(store: ModelStore | None) -> list[Mount]:
    if store is None:
        return []
    if store.persistent_volume_claim is not None:
        return [claim_mount("models", paths.MODELS, store.persistent_volume_claim)]
    if store.host_path is not None:
        return [Mount("models", paths.MODELS, {"hostPath": {"path": store.host_path, "type": "Directory"}})]
    return []


_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
}
"""Lists that Kubernetes' strategic merge joins by a key of their items; every other list is replaced."""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` merged in: objects by key, keyed lists by item, others replaced; null removes."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
            continue
        old = merged.get(key)
        if isinstance(value, Mapping):
            inner = cast("Mapping[str, Any]", old if isinstance(old, Mapping) else {})
            merged[key] = merge(inner, cast("Mapping[str, Any]", value))
        elif key in _MERGE_KEYS and isinstance(value, list) and isinstance(old, list):
            merged[key] = _merge_list(cast("list[Any]", old), cast("list[Any]", value), _MERGE_KEYS[key])
        else:
            merged[key] = value
    return merged


def _merge_list(base: Sequence[Any], over: Sequence[Any], key: str) -> list[Any]:
    """Return the items of both, those with the same `key` merged, in the order they first appear."""
    items: dict[Any, Any] = {item.get(key): item for item in base}
    for item in over:
        items[item.get(key)] = merge(items.get(item.get(key), {}), item)
    return list(items.values())
