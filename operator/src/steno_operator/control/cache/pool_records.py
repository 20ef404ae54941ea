"""Read Deployments, Services and servers' pods from their raw JSON into what the planner of pools sees. Pure.

Apart from `job_records` because the two kinds of work share nothing but how a pod is read.

Separate because `job_records` does the same for jobs: one file for the children of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from steno_api.server.task import PoolTask
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_kube.keys import controller_of
from steno_kube.object_cache import Entry
from steno_operator.control.cache.job_records import find_condition, owned_entry, read_pod, text_of
from steno_operator.manifests import labels
from steno_operator.manifests.deployment import digest_of
from steno_operator.manifests.pod_template import SERVER
from steno_operator.plan.common.pods import START_ERRORS
from steno_operator.plan.pool.observed import ObservedDeployment, ObservedServer

_MAX_DIGEST = 128
_MAX_KEYS_CHARS = 2048
_LOG_TAIL = 400
"""Characters of a container's log that go into a status."""


def read_deployment(raw: Mapping[str, Any]) -> Entry[ObservedDeployment]:
    """Read a pool's Deployment."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    replicas, total = spec.get("replicas", 1), status.get("replicas", 0)
    current = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    deployment = ObservedDeployment(
        digest=_digest(raw),
        replicas=replicas,
        total=total,
        ready=status.get("readyReplicas", 0),
        rolled_out=current and status.get("updatedReplicas", 0) == total == replicas,
        failure=text_of(find_condition(status, "ReplicaFailure"), "message"),
        token_keys=_token_keys(spec),
    )
    return owned_entry(raw, _pool_uid(raw), deployment)


def _token_keys(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys in the task of a Deployment's servers; none if it is not as we made it."""
    try:
        [server] = (each for each in spec["template"]["spec"]["containers"] if each["name"] == SERVER)
        keys = PoolTask.model_validate_json(server["args"][1]).token_keys
    except (LookupError, TypeError, ValueError):
        return ()
    return () if sum(map(len, keys)) > _MAX_KEYS_CHARS else tuple(keys)


def read_service(raw: Mapping[str, Any]) -> Entry[str]:
    """Read a pool's Service: its digest."""
    return owned_entry(raw, _pool_uid(raw), _digest(raw))


def _digest(raw: Mapping[str, Any]) -> str:
    """Return the digest in an annotation; one that others wrote is kept only as far as it shows to be another."""
    return digest_of(raw)[:_MAX_DIGEST]


def _pool_uid(raw: Mapping[str, Any]) -> str:
    """Return the UID of the pool whose child an object is by its name, too; empty: anyone may name a controller."""
    controller, name = controller_of(raw), raw["metadata"]["name"]
    is_pool = controller.get("kind") == RuntimePool.definition.kind
    return controller["uid"] if is_pool and name == labels.pool_child_name(controller.get("name", "")) else ""


def read_server(raw: Mapping[str, Any]) -> Entry[ObservedServer]:
    """Read a server's pod; a ReplicaSet of the pool's Deployment controls it, so its labels say whose it is.

    One that only bears the labels belongs to no pool: the ReplicaSet's controller deletes what it did not ask for, and
    the garbage collector what names a ReplicaSet that does not exist.
    """
    status, marks, controller = raw.get("status") or {}, raw["metadata"].get("labels") or {}, controller_of(raw)
    pool = marks.get(labels.POOL, "")
    replica_set = controller.get("name", "") if controller.get("kind") == "ReplicaSet" else ""
    is_own = replica_set.rpartition("-")[0] == labels.pool_child_name(pool)
    ready = bool(find_condition(status, "Ready"))
    server = ObservedServer(read_pod(raw, SERVER), ready, _last_exit(status))
    return replace(owned_entry(raw, marks.get(labels.POOL_UID, "") if is_own else "", server), owner_name=pool)


def _last_exit(status: Mapping[str, Any]) -> str:
    containers = status.get("containerStatuses") or ()
    server = next((each for each in containers if each.get("name") == SERVER), dict[str, Any]())
    now, before = server.get("state") or {}, server.get("lastState") or {}
    ended = now.get("terminated") or before.get("terminated")
    if not ended:
        return ""
    if ended.get("reason") == "OOMKilled":
        return "it exceeded its memory limit (OOMKilled)"
    what = f"exit code {ended.get('exitCode')}"
    if ended.get("reason") in START_ERRORS:  # the words are the container runtime's, not the server's
        what = f"it could not be started, {what}"
    log_tail = " ".join((ended.get("message") or "").split())[-_LOG_TAIL:]
    return what + (f": {log_tail}" if log_tail else "")
