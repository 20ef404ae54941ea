"""Read child Jobs, worker pods and warning Events from their raw JSON into what the planner of jobs sees. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from steno_api.worker.termination import MAX_TERMINATION_MESSAGE_BYTES
from steno_kube.keys import Key, controller_of, controller_uid
from steno_kube.object_cache import Entry, OwnerKey
from steno_operator.manifests import labels
from steno_operator.manifests.job import CONTAINER
from steno_operator.plan.common.conditions import MAX_MESSAGE
from steno_operator.plan.common.pods import FAILED_ATTACH, FAILED_MOUNT, FAILED_SANDBOX, ObservedPod
from steno_operator.plan.job.observed import ObservedChild

T = TypeVar("T")

FAILED_CREATE = "FailedCreate"
POD_WARNINGS = (FAILED_MOUNT, FAILED_ATTACH, FAILED_SANDBOX)
"""Reasons of the Events that alone say why a container cannot start: the pod's status does not."""

_UNREADY_BY_KUBELET = frozenset({"ContainersNotReady", "ReadinessGatesNotReady", "PodCompleted", "PodFailed"})
"""Reasons of a false condition `Ready` that the kubelet gives; the node controller gives none of them."""

_WAITING_FOR_OTHERS = frozenset({None, "PodInitializing", "ContainerCreating"})
"""`state.waiting.reason`s of a container that nothing of its own keeps from starting."""


_DIGITS = 10
_MAX_UID = 64
_MAX_TEXT = 4 * MAX_MESSAGE
"""Characters that are kept of what others say; a status shows fewer."""
_MAX_ACCELERATORS = 16
"""Accelerators that a RuntimeProfile may give a pod: no child asks for more."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A labelled Job."""

    controller: Key | None
    """The custom resource that its controller reference names, and whose child it is by its name; None when there is
    none: anyone may make a Job with our labels."""
    child: ObservedChild
    orphan_of: str = ""
    """UID of the resource that its labels name, if nothing controls it: what `kubectl delete --cascade=orphan` leaves.
    It is only believed of a resource that is deleted, and only to count what works for it."""


@dataclass(frozen=True, slots=True)
class PodRecord:
    """A labelled worker pod."""

    resource: OwnerKey | None
    """The custom resource that it works for, by its label: all that is left to know it by once its Job is gone."""
    job: str
    """The name of the Job that controls it; empty when none does."""
    pod: ObservedPod


@dataclass(frozen=True, slots=True)
class WarningEvent:
    """What the latest warning Event about an object says."""

    reason: str
    message: str
    time: datetime | None
    """When it was last said: Events are repeated as long as they are true."""


def parse_time(text: str | None) -> datetime | None:
    """Read an RFC 3339 timestamp."""
    return datetime.fromisoformat(text) if text else None


def text_of(found: Mapping[str, Any], field: str, most: int = _MAX_TEXT) -> str:
    """Return a text that others wrote, of bounded length; an empty string when there is none.

    Args:
        found: a part of an object.
        field: the text's name in it.
        most: characters that are kept.
    """
    return (found.get(field) or "")[:most]


def find_condition(status: Mapping[str, Any], kind: str, value: str = "True") -> Mapping[str, Any]:
    """Return a condition if it has a certain value, else an empty mapping.

    Args:
        status: of any object.
        kind: the condition's type.
        value: the status that it must have.
    """
    conditions = status.get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind and c.get("status") == value), {})


def _whole_number(text: str) -> int | None:
    """Read a number that others may have written: at most ten plain digits, else None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def read_job(raw: Mapping[str, Any]) -> Entry[JobRecord]:
    """Read a child Job."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    controller = controller_of(raw)
    attempt = labels.attempt_of(metadata["name"], controller.get("name", "")) if controller else None
    marks: Mapping[str, str] = metadata.get("annotations") or {}
    complete, failed = find_condition(status, "Complete"), find_condition(status, "Failed")
    child = ObservedChild(
        name=metadata["name"],
        uid=metadata["uid"],
        attempt=attempt or 0,
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        suspended=bool(spec.get("suspend")),
        held=bool(spec.get("suspend")) and labels.SUSPENDED not in marks,
        halted=bool(find_condition(status, "Suspended")),
        accelerators=_accelerators(spec),
        deadline=_whole_number(marks.get(labels.DEADLINE, "")),
        deleting="deletionTimestamp" in metadata,
        succeeded=bool(complete),
        failed=bool(failed),
        failure_reason=text_of(failed, "reason"),
        failure_message=text_of(failed, "message"),
        finished=parse_time((complete or failed).get("lastTransitionTime")),
    )
    if attempt is None:  # a look-alike
        label = text_of(metadata.get("labels") or {}, labels.JOB_UID, _MAX_UID) if not controller else ""
        return owned_entry(raw, "", JobRecord(None, child, orphan_of=label))
    key = Key(controller["kind"], metadata["namespace"], controller["name"])
    return owned_entry(raw, controller["uid"], JobRecord(key, child))


def is_child(raw: Mapping[str, Any], key: Key, uid: str) -> bool:
    """Tell whether a Job is an attempt of a resource, by its name and its controller reference.

    Args:
        raw: the Job.
        key: the resource.
        uid: its UID.
    """
    job = read_job(raw)
    return job.owner == OwnerKey(key.namespace, uid) and job.value.controller == key


def _accelerators(spec: Mapping[str, Any]) -> int:
    pod = (spec.get("template") or {}).get("spec") or {}
    limits = [(container.get("resources") or {}).get("limits") or {} for container in pod.get("containers") or ()]
    counts = [_whole_number(str(count)) or 0 for limit in limits for name, count in limit.items() if "/" in name]
    return min(sum(counts), _MAX_ACCELERATORS)


def read_worker(raw: Mapping[str, Any]) -> Entry[PodRecord]:
    """Read a worker's pod."""
    metadata = raw["metadata"]
    resource_uid = (metadata.get("labels") or {}).get(labels.JOB_UID, "")
    resource = OwnerKey(metadata["namespace"], resource_uid) if resource_uid else None
    controller = controller_of(raw)
    job = controller.get("name", "") if controller.get("kind") == "Job" else ""
    return owned_entry(raw, controller_uid(raw), PodRecord(resource, job, read_pod(raw, CONTAINER)))


def read_pod(raw: Mapping[str, Any], name: str) -> ObservedPod:
    """Read a pod; `name` is that of the container that does its work."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    container = next((c for c in status.get("containerStatuses") or () if c.get("name") == name), dict[str, Any]())
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    if waiting.get("reason") in _WAITING_FOR_OTHERS:
        waiting = _init_obstacle(status) or waiting
    blocked = find_condition(status, "PodScheduled", value="False")
    return ObservedPod(
        name=metadata["name"],
        uid=metadata["uid"],
        child_uid=controller_uid(raw),
        phase=text_of(status, "phase") or "Pending",
        status_reason=text_of(status, "reason"),
        status_message=(text_of(status, "message") or _init_failure(status)).strip(),
        node=spec.get("nodeName"),
        created=parse_time(metadata.get("creationTimestamp")),
        started="running" in state or "terminated" in state,
        scheduled=parse_time(find_condition(status, "PodScheduled").get("lastTransitionTime")),
        deleting="deletionTimestamp" in metadata,
        gone_by=parse_time(metadata.get("deletionTimestamp")),
        disruption=text_of(find_condition(status, "DisruptionTarget"), "reason") or None,
        unreachable_since=_unreachable_since(metadata, status),
        unschedulable=text_of(blocked, "message") or text_of(blocked, "reason") or None,
        waiting_reason=text_of(waiting, "reason") or None,
        waiting_message=text_of(waiting, "message"),
        exit_code=ended.get("exitCode"),
        oom_killed=ended.get("reason") == "OOMKilled",
        exit_reason=text_of(ended, "reason"),
        termination_message=text_of(ended, "message", MAX_TERMINATION_MESSAGE_BYTES + 1),  # too long remains too long
        finished=parse_time(ended.get("finishedAt")),
    )


def _init_obstacle(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the `state.waiting` of an init container that does not start: the worker is not tried before it."""
    states = ((each.get("state") or {}).get("waiting") or {} for each in status.get("initContainerStatuses") or ())
    return next((each for each in states if each.get("reason") not in _WAITING_FOR_OTHERS), None)


def _init_failure(status: Mapping[str, Any]) -> str:
    """Return how an init container failed, or an empty string."""
    for each in status.get("initContainerStatuses") or ():
        ended = (each.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            words = " ".join(text_of(ended, "message").split()) or text_of(ended, "reason")
            return f"Init container {each.get('name')} ended with exit code {ended['exitCode']}: {words}"
    return ""


def _unreachable_since(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> datetime | None:
    """Return since when the node controller says that a running pod is not ready, unlike the kubelet."""
    if status.get("phase") != "Running" or find_condition(status, "ContainersReady", value="False"):
        return None
    doubted = find_condition(status, "Ready", value="False") or find_condition(status, "Ready", value="Unknown")
    if not doubted or doubted.get("reason") in _UNREADY_BY_KUBELET:
        return None
    return parse_time(doubted.get("lastTransitionTime") or metadata.get("creationTimestamp"))


def read_warning(raw: Mapping[str, Any]) -> Entry[WarningEvent]:
    """Read a warning Event; the entry is that of the object that the Event is about, in the Event's own namespace."""
    about: Mapping[str, Any] = raw.get("involvedObject") or {}
    metadata, series = raw["metadata"], raw.get("series") or {}
    warning = WarningEvent(
        reason=text_of(raw, "reason"),
        message=text_of(raw, "message").strip(),
        time=parse_time(raw.get("lastTimestamp") or series.get("lastObservedTime") or raw.get("eventTime")),
    )
    owner = OwnerKey(metadata.get("namespace", ""), text_of(about, "uid", _MAX_UID))
    return Entry(warning_id(owner), owner.namespace, metadata["resourceVersion"], warning, owner)


def warning_id(about: OwnerKey) -> str:
    """Return the identity of the latest warning about an object: no other namespace's Event replaces it."""
    return f"{about.namespace}/{about.uid}"


def owned_entry(raw: Mapping[str, Any], owner_uid: str, value: T) -> Entry[T]:
    """Return the cache entry of a namespaced object; an empty `owner_uid` means none.

    Args:
        raw: the object.
        owner_uid: UID of its controller, or of the resource that its labels name.
        value: what is kept of it.
    """
    metadata = raw["metadata"]
    owner = OwnerKey(metadata["namespace"], owner_uid) if owner_uid else None
    name = controller_of(raw).get("name", "")
    return Entry(metadata["uid"], metadata["namespace"], metadata["resourceVersion"], value, owner, name)
