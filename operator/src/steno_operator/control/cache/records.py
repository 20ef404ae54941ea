"""From Kubernetes objects to what the planner sees. Pure; takes the raw JSON of objects, whoever watched them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from steno_operator.control.kube.keys import Key
from steno_operator.manifests import labels
from steno_operator.manifests.job import CONTAINER
from steno_operator.plan.common.pods import ObservedPod
from steno_operator.plan.job.observed import ObservedChild

FAILED_MOUNT = "FailedMount"
FAILED_CREATE = "FailedCreate"

_NOISE = ("managedFields", "selfLink")


@dataclass(frozen=True, slots=True)
class ChildRecord:
    """A labelled Job, and whose it is."""

    key: Key | None
    """The custom resource its controller owner names; absent when no such owner is there."""
    owner_uid: str
    namespace: str
    version: str
    child: ObservedChild


@dataclass(frozen=True, slots=True)
class PodRecord:
    """A labelled pod, and the Job that owns it."""

    resource_uid: str
    """Of the custom resource that it works for, by its label; empty for a pool's server."""
    namespace: str
    version: str
    pod: ObservedPod


def trimmed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a custom resource without the metadata nobody reads, which is most of its bytes."""
    metadata = {name: value for name, value in raw["metadata"].items() if name not in _NOISE}
    metadata["annotations"] = {
        name: value
        for name, value in (metadata.get("annotations") or {}).items()
        if name != "kubectl.kubernetes.io/last-applied-configuration"
    }
    return {**raw, "metadata": metadata}


def moment(text: str | None) -> datetime | None:
    """Reads an RFC 3339 timestamp."""
    return datetime.fromisoformat(text) if text else None


def owner(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the reference to an object's controller, else an empty mapping."""
    owners = metadata.get("ownerReferences") or ()
    return next((each for each in owners if each.get("controller")), {})


def condition(status: Mapping[str, Any], kind: str, value: str = "True") -> Mapping[str, Any]:
    """Returns the condition of that type if it has that value, else an empty mapping."""
    conditions = status.get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind and c.get("status") == value), {})


def _attempt(metadata: Mapping[str, Any]) -> int:
    text = (metadata.get("labels") or {}).get(labels.ATTEMPT) or metadata["name"].rpartition("-")[2]
    return int(text) if text.isdigit() else 0


def child_of(raw: Mapping[str, Any]) -> ChildRecord:
    """Reads a child Job."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    controller = owner(metadata)
    complete, failed = condition(status, "Complete"), condition(status, "Failed")
    key = Key(controller["kind"], metadata["namespace"], controller["name"]) if controller else None
    return ChildRecord(
        key=key,
        owner_uid=controller.get("uid", ""),
        namespace=metadata["namespace"],
        version=metadata["resourceVersion"],
        child=ObservedChild(
            name=metadata["name"],
            uid=metadata["uid"],
            attempt=_attempt(metadata),
            created=datetime.fromisoformat(metadata["creationTimestamp"]),
            suspended=bool(spec.get("suspend")),
            halted=bool(condition(status, "Suspended")),
            accelerators=_accelerators(spec),
            deadline=spec.get("activeDeadlineSeconds"),
            deleting="deletionTimestamp" in metadata,
            succeeded=bool(complete),
            failed=bool(failed),
            failure_reason=failed.get("reason", ""),
            failure_message=failed.get("message", ""),
            finished=moment((complete or failed).get("lastTransitionTime")),
        ),
    )


def _accelerators(spec: Mapping[str, Any]) -> int:
    pod = (spec.get("template") or {}).get("spec") or {}
    limits = [(container.get("resources") or {}).get("limits") or {} for container in pod.get("containers") or ()]
    counts = [str(count) for limit in limits for name, count in limit.items() if "/" in name]
    return sum(int(count) for count in counts if count.isdigit())


def pod_of(raw: Mapping[str, Any], name: str = CONTAINER) -> PodRecord:
    """Reads a pod of ours; `name` is that of the container which does its work."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    container = next((c for c in status.get("containerStatuses") or () if c.get("name") == name), dict[str, Any]())
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    blocked = condition(status, "PodScheduled", value="False")
    return PodRecord(
        resource_uid=(metadata.get("labels") or {}).get(labels.JOB_UID, ""),
        namespace=metadata["namespace"],
        version=metadata["resourceVersion"],
        pod=ObservedPod(
            name=metadata["name"],
            uid=metadata["uid"],
            child_uid=owner(metadata).get("uid", ""),
            phase=status.get("phase") or "Pending",
            node=spec.get("nodeName"),
            created=moment(metadata.get("creationTimestamp")),
            started="running" in state or "terminated" in state,
            scheduled=moment(condition(status, "PodScheduled").get("lastTransitionTime")),
            deleting="deletionTimestamp" in metadata,
            gone_by=moment(metadata.get("deletionTimestamp")),
            disruption=condition(status, "DisruptionTarget").get("reason"),
            unschedulable=blocked.get("message") or blocked.get("reason"),
            waiting_reason=waiting.get("reason"),
            waiting_message=waiting.get("message", ""),
            exit_code=ended.get("exitCode"),
            oom_killed=ended.get("reason") == "OOMKilled",
            termination_message=ended.get("message", ""),
            finished=moment(ended.get("finishedAt")),
        ),
    )


def warning_of(raw: Mapping[str, Any]) -> tuple[str, str]:
    """Reads an Event: the UID of the object it is about, and its message."""
    return (raw.get("involvedObject") or {}).get("uid", ""), (raw.get("message") or "").strip()
