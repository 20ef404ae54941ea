"""Worker pods: by their Job, and by the resource that they work for, which may be all that is left to know them by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from steno_api.worker.termination import Succeeded
from steno_operator.control.cache.object_cache import Recent, remove
from steno_operator.control.cache.records import PodRecord, pod_of
from steno_operator.control.kube.keys import is_newer
from steno_operator.plan.common.pods import ObservedPod, last_word, read_word


class Pods:
    """What the watch of worker pods tells. A pod outlives its Job when that is deleted in the background."""

    def __init__(self) -> None:
        self.records: dict[str, PodRecord] = {}
        """By UID; not to be changed."""
        self._of_job: defaultdict[str, set[str]] = defaultdict(set)  # Job UID → pod UIDs
        self._of: defaultdict[str, set[str]] = defaultdict(set)  # resource → pod UIDs
        self._words = Recent()  # resource → last word of a worker that published and whose pod is gone
        self._deleted = Recent()

    def put(self, raw: Mapping[str, Any]) -> PodRecord | None:
        """Takes in a pod; returns it if it brought anything."""
        record = pod_of(raw)
        uid = record.pod.uid
        known = self.records.get(uid)
        if uid in self._deleted or (known is not None and not is_newer(record.version, known.version)):
            return None
        self.records[uid] = record
        self._of_job[record.pod.child_uid].add(uid)
        self._of[_name(record.namespace, record.resource_uid)].add(uid)
        return record

    def drop(self, uid: str) -> PodRecord | None:
        """Forgets a pod that is gone, but not that it published; returns it."""
        self._deleted.put(uid)
        record = self.records.pop(uid, None)
        if record is None:
            return None
        name = _name(record.namespace, record.resource_uid)
        remove(self._of_job, record.pod.child_uid, uid)
        remove(self._of, name, uid)
        if isinstance(last_word(record.pod), Succeeded):
            self._words.put(name, record.pod.termination_message)
        return record

    def get(self, uid: str) -> ObservedPod | None:
        """Returns the pod of that UID."""
        record = self.records.get(uid)
        return None if record is None else record.pod

    def of_job(self, uid: str) -> list[ObservedPod]:
        """Returns the pods that a Job owns, oldest first."""
        pods = [self.records[pod].pod for pod in self._of_job.get(uid, ())]
        return sorted(pods, key=lambda pod: ((pod.created is not None and pod.created.isoformat()) or "", pod.name))

    def of(self, namespace: str, uid: str) -> list[ObservedPod]:
        """Returns the pods that work for a resource, or did, whatever became of their Jobs."""
        return [self.records[pod].pod for pod in self._of.get(_name(namespace, uid), ())]

    def published(self, namespace: str, uid: str) -> Succeeded | None:
        """Returns the last word of a worker that published for a resource, be its pod gone by now."""
        words = [last_word(pod) for pod in self.of(namespace, uid)]
        words.append(read_word(self._words.get(_name(namespace, uid), "")))
        return next((word for word in words if isinstance(word, Succeeded)), None)


def _name(namespace: str, uid: str) -> str:
    """Returns a resource's name here. A label is only believed within its own namespace: anyone may write one."""
    return f"{namespace}/{uid}"
