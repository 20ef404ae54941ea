"""From Deployments, Services and servers' pods to what the planner of pools sees. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steno_operator.control.cache.object_cache import Shelved
from steno_operator.control.cache.records import condition, owner, pod_of
from steno_operator.manifests import labels
from steno_operator.manifests.deployment import digest_of
from steno_operator.manifests.pod_template import SERVER
from steno_operator.plan.pool.observed import ObservedDeployment, ObservedServer

_LAST_WORDS = 400
"""Characters of a container's log that go into a status."""


def _shelved(raw: Mapping[str, Any], of: str, value: Any) -> Shelved[Any]:
    metadata = raw["metadata"]
    return Shelved(metadata["uid"], of, metadata["namespace"], metadata["resourceVersion"], value)


def deployment_of(raw: Mapping[str, Any]) -> Shelved[ObservedDeployment]:
    """Reads a pool's Deployment."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    replicas, total = spec.get("replicas", 1), status.get("replicas", 0)
    seen = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    return _shelved(
        raw,
        owner(metadata).get("uid", ""),
        ObservedDeployment(
            digest=digest_of(raw),
            replicas=replicas,
            total=total,
            ready=status.get("readyReplicas", 0),
            settled=seen and status.get("updatedReplicas", 0) == total == replicas,
            failure=condition(status, "ReplicaFailure").get("message", ""),
        ),
    )


def service_of(raw: Mapping[str, Any]) -> Shelved[str]:
    """Reads a pool's Service: its digest."""
    return _shelved(raw, owner(raw["metadata"]).get("uid", ""), digest_of(raw))


def server_of(raw: Mapping[str, Any]) -> Shelved[ObservedServer]:
    """Reads a server's pod; a ReplicaSet owns it, so its labels say whose it is."""
    status = raw.get("status") or {}
    ready = bool(condition(status, "Ready"))
    server = ObservedServer(pod_of(raw, SERVER).pod, ready, _last_words(status))
    return _shelved(raw, (raw["metadata"].get("labels") or {}).get(labels.POOL_UID, ""), server)


def _last_words(status: Mapping[str, Any]) -> str:
    containers = status.get("containerStatuses") or ()
    server = next((each for each in containers if each.get("name") == SERVER), dict[str, Any]())
    now, before = server.get("state") or {}, server.get("lastState") or {}
    ended = now.get("terminated") or before.get("terminated")
    if not ended:
        return ""
    if ended.get("reason") == "OOMKilled":
        return "it exceeded its memory limit (OOMKilled)"
    words = " ".join((ended.get("message") or "").split())[-_LAST_WORDS:]
    return f"exit code {ended.get('exitCode')}" + (f": {words}" if words else "")
