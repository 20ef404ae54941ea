"""What is observed: fed by watches, by kopf, by reports, and by the answers to our own writes; read by snapshots.

Every object carries its `resourceVersion`, and an older one never replaces a newer one: because the answers to our own
writes are put in as well, a plan is never made from observations older than what this process last wrote.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal

import pydantic

from steno_api.v1alpha1.job import Progress
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.worker.termination import Succeeded
from steno_operator.control.cache.object_cache import Recent, remove
from steno_operator.control.cache.pods import Pods
from steno_operator.control.cache.pool_store import PoolStore
from steno_operator.control.cache.records import ChildRecord, PodRecord, child_of, trimmed, warning_of
from steno_operator.control.cache.tenancy import Tenancy
from steno_operator.control.kube.keys import Key, is_newer
from steno_operator.plan.common.pods import ObservedPod, last_word
from steno_operator.plan.job.observed import Job, ObservedChild, ObservedJob


def _stem(name: str) -> str:
    """Returns the resource's name if `name` is like a child's, `<resource>-<attempt>`; else an empty string."""
    stem, _, attempt = name.rpartition("-")
    return stem if attempt.isdigit() else ""


def _bearing(child: ObservedChild) -> tuple[bool, ...]:
    """Returns what of a child decides whether it holds what it asks for."""
    return child.done, child.deleting, child.suspended, child.halted


class Store:
    """Everything known, by resource. Not thread-safe: the event loop's only."""

    def __init__(
        self,
        changed: Callable[[Key], None],
        progress_interval: float = 10.0,
        *,
        without_tenant: Literal["allow", "refuse"] = "allow",
        served: Iterable[str] = (),
    ) -> None:
        """Makes an empty store.

        Args:
            changed: told of every resource to look at.
            progress_interval: least seconds between writes of mere progress.
            without_tenant: whether work in namespaces of no Tenant may start.
            served: the namespaces served; empty: all.
        """
        self._changed = changed
        self._progress_interval = progress_interval
        self._resources: dict[Key, dict[str, Any]] = {}
        self._keys: dict[str, Key] = {}  # resource UID → key
        self._profiles: dict[str, dict[str, Any]] = {}
        self._children: dict[str, ChildRecord] = {}  # Job UID → record
        self._children_of: defaultdict[str, set[str]] = defaultdict(set)  # resource UID → Job UIDs
        self._jobs_named: defaultdict[tuple[str, str], set[str]] = defaultdict(set)  # (namespace, stem) → Job UIDs
        self._pods = Pods()
        self._warnings = Recent()  # UID of a Job or pod → message; also of those not (yet) known
        self._deleted = Recent()
        self._foreign: defaultdict[str, set[str]] = defaultdict(set)  # resource UID → names of Jobs in the way
        self._reports: dict[str, tuple[int, Progress]] = {}  # resource UID → attempt, latest report
        self._written: dict[str, float] = {}  # resource UID → when we last wrote its status
        self._busy: set[Key] = set()
        self.tenancy = Tenancy(self, changed, without_tenant=without_tenant, served=served)
        """What is known of Tenants."""
        self.pools = PoolStore(changed, self.tenancy.touched)

    # Custom resources

    def put_resource(self, kind: str, raw: dict[str, Any]) -> None:
        """Takes in a custom resource."""
        key, uid = Key.of(kind, raw), raw["metadata"]["uid"]
        known = self._resources.get(key)
        if uid in self._deleted:
            return
        if known is not None:
            same = known["metadata"]["uid"] == uid
            if not is_newer(raw["metadata"]["resourceVersion"], known["metadata"]["resourceVersion"]):
                return
            if not same:
                self._forget(key, known["metadata"]["uid"])
        self._resources[key] = trimmed(raw)
        self._keys[uid] = key
        self.tenancy.put(key, self._resources[key])
        self.pools.resource_changed(key, raw)
        self._changed(key)

    def drop_resource(self, key: Key, uid: str) -> None:
        """Forgets a deleted custom resource."""
        self._deleted.put(uid)
        known = self._resources.get(key)
        if known is not None and known["metadata"]["uid"] == uid:
            del self._resources[key]
            self.pools.resource_changed(key, None)
            self._changed(key)
        self._forget(key, uid)

    def _forget(self, key: Key, uid: str) -> None:
        self.tenancy.drop(key, uid)
        self._keys.pop(uid, None)
        self._foreign.pop(uid, None)
        self._reports.pop(uid, None)
        self._written.pop(uid, None)
        self.pools.forget_pool(uid)

    def resource(self, key: Key) -> dict[str, Any] | None:
        """Returns the custom resource as last seen, trimmed; not to be changed."""
        return self._resources.get(key)

    def resources(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        """Iterates over a copy of all custom resources."""
        return iter(list(self._resources.items()))

    def key_of(self, uid: str) -> Key | None:
        """Returns the key of the custom resource of that UID."""
        return self._keys.get(uid)

    # Profiles

    def put_profile(self, raw: dict[str, Any]) -> None:
        """Takes in a RuntimeProfile and looks again at the unfinished resources that name it."""
        name = raw["metadata"]["name"]
        known = self._profiles.get(name)
        if known is None or is_newer(raw["metadata"]["resourceVersion"], known["metadata"]["resourceVersion"]):
            self._profiles[name] = trimmed(raw)
            self._profile_changed(name)

    def drop_profile(self, name: str) -> None:
        """Forgets a deleted RuntimeProfile."""
        if self._profiles.pop(name, None) is not None:
            self._profile_changed(name)

    def _profile_changed(self, name: str) -> None:
        self.tenancy.profile_changed()
        for key, raw in self.resources():
            if (raw.get("spec", {}).get("profileRef") or {}).get("name") == name and not (raw.get("status") or {}).get(
                "completionTime"
            ):
                self._changed(key)

    def profiles(self) -> Iterable[dict[str, Any]]:
        """Returns a copy of all RuntimeProfiles, raw."""
        return list(self._profiles.values())

    def profile(self, name: str) -> RuntimeProfile | None:
        """Returns a profile; one that cannot be read (stored under an older schema) counts as absent."""
        raw = self._profiles.get(name)
        try:
            return RuntimeProfile.from_wire(raw) if raw is not None else None
        except pydantic.ValidationError:
            return None

    def accelerators(self, profile: str, uid: str) -> int | None:
        """See `tenancy.World`."""
        children = (self._children[child].child for child in self._children_of.get(uid, ()))
        counts = [child.accelerators for child in children if not child.done]
        if (raw := self._profiles.get(profile)) is not None:
            accelerator = (raw.get("spec") or {}).get("accelerator")
            counts.append(0 if accelerator is None else int(accelerator.get("count", 1)))
        return max(counts, default=None)

    # Child Jobs, pods, Events

    def put_job(self, raw: dict[str, Any]) -> None:
        """Takes in a labelled Job."""
        record = child_of(raw)
        uid = record.child.uid
        known = self._children.get(uid)
        if uid in self._deleted or (known is not None and not is_newer(record.version, known.version)):
            return
        self._children[uid] = record
        self._children_of[record.owner_uid].add(uid)
        self._jobs_named[record.namespace, _stem(record.child.name)].add(uid)
        if record.key is not None:
            self._changed(record.key)
        before = known.child if known is not None else None
        if before is None or _bearing(before) != _bearing(record.child):
            self.tenancy.touched(record.owner_uid)

    def drop_job(self, uid: str) -> None:
        """Forgets a Job that is gone."""
        self._deleted.put(uid)
        self._warnings.pop(uid, None)
        record = self._children.pop(uid, None)
        if record is None:
            return
        remove(self._children_of, record.owner_uid, uid)
        remove(self._jobs_named, (record.namespace, _stem(record.child.name)), uid)
        if record.key is not None:
            self._changed(record.key)
        self.tenancy.touched(record.owner_uid)

    def put_pod(self, raw: dict[str, Any]) -> None:
        """Takes in a labelled pod."""
        record = self._pods.put(raw)
        if record is not None:
            self._pod_changed(record)

    def drop_pod(self, uid: str) -> None:
        """Forgets a pod that is gone."""
        self._warnings.pop(uid, None)
        record = self._pods.drop(uid)
        if record is not None:
            self._pod_changed(record)

    def _pod_changed(self, record: PodRecord) -> None:
        self._job_changed(record.pod.child_uid)
        if record.pod.child_uid not in self._children:  # it outlives its Job
            self.tenancy.touched(record.resource_uid)

    def put_warning(self, raw: dict[str, Any]) -> None:
        """Takes in a warning Event about a Job or pod; whose it is may only become known later."""
        uid, message = warning_of(raw)
        if self._warnings.get(uid) != message:
            self._warnings.put(uid, message)
            self._job_changed(uid)
            if (pod := self._pods.get(uid)) is not None:
                self._job_changed(pod.child_uid)

    def _job_changed(self, job_uid: str) -> None:
        record = self._children.get(job_uid)
        if record is not None and record.key is not None:
            self._changed(record.key)
            if record.child.suspended or record.child.deleting:  # its pods say when it is at rest
                self.tenancy.touched(record.owner_uid)

    def retain_jobs(self, namespace: str | None, uids: set[str], version: str) -> None:
        """Forgets the Jobs of the namespace (None: of all) that a full list as of `version` did not have."""
        self._retain(self._children, self.drop_job, namespace, uids, version)

    def retain_pods(self, namespace: str | None, uids: set[str], version: str) -> None:
        """Forgets the pods of the namespace (None: of all) that a full list as of `version` did not have."""
        self._retain(self._pods.records, self.drop_pod, namespace, uids, version)

    def retain_jobs_of(self, owner_uid: str, uids: set[str], version: str) -> None:
        """Forgets the Jobs of a resource that a live list as of `version` did not have."""
        mine = {uid: self._children[uid] for uid in self._children_of.get(owner_uid, ())}
        self._retain(mine, self.drop_job, None, uids, version)

    def retain_pods_of(self, owner_uid: str, uids: set[str], version: str) -> None:
        """Forgets the pods of a resource that a live list as of `version` did not have."""
        pods = (pod for job in self._children_of.get(owner_uid, ()) for pod in self._pods.of_job(job))
        mine = {pod.uid: self._pods.records[pod.uid] for pod in pods}
        self._retain(mine, self.drop_pod, None, uids, version)

    def foreign(self, uid: str) -> frozenset[str]:
        """Returns the names of Jobs that were found in the way."""
        return frozenset(self._foreign.get(uid, ()))

    @staticmethod
    def _retain(
        records: dict[str, Any], drop: Callable[[str], None], namespace: str | None, uids: Iterable[str], version: str
    ) -> None:
        gone = [
            uid
            for uid, record in records.items()
            if uid not in uids
            and namespace in (None, record.namespace)
            and not is_newer(record.version, version)  # created by us after the list was made
        ]
        for uid in gone:
            drop(uid)

    # What no watch tells

    def put_foreign(self, key: Key, uid: str, name: str) -> None:
        """Remembers a Job that is in the way of a child and is not ours."""
        if name not in self._foreign[uid]:
            self._foreign[uid].add(name)
            self._changed(key)

    def drop_foreign(self, uid: str, name: str) -> None:
        """Forgets a Job that is no longer in the way."""
        self._foreign[uid].discard(name)
        if not self._foreign[uid]:
            del self._foreign[uid]

    def put_report(self, key: Key, uid: str, attempt: int, progress: Progress) -> None:
        """Takes in a worker's report; a late one of an earlier attempt is dropped."""
        known = self._reports.get(uid)
        if known is None or attempt > known[0] or (attempt == known[0] and progress != known[1]):
            self._reports[uid] = (attempt, progress)
            self._changed(key)

    def wrote_status(self, uid: str) -> None:
        """Remembers that this resource's status was written just now."""
        self._written[uid] = time.monotonic()

    def write_due(self, uid: str) -> bool:
        """Whether this resource's status was not written for a while: what changes all the time may go in."""
        return time.monotonic() - self._written.get(uid, -self._progress_interval) >= self._progress_interval

    def latest_attempt(self, uid: str) -> int:
        """Returns the number of the latest child Job of the resource, 0 for none."""
        return max((self._children[child].child.attempt for child in self._children_of.get(uid, ())), default=0)

    def began(self, key: Key, uid: str) -> bool:
        """Whether anything says that an attempt of the resource was started, or could not be for a Job in the way."""
        status = self._resources.get(key, {}).get("status") or {}
        return bool(status.get("attempt") or self._children_of.get(uid) or self._foreign.get(uid))

    def finished_jobs_of(self, uid: str) -> list[str]:
        """Returns the UIDs of the resource's child Jobs that ended."""
        return [child for child in self._children_of.get(uid, ()) if self._children[child].child.done]

    def attempt_of_pod(self, owner_uid: str, pod_uid: str) -> int | None:
        """Returns the attempt that the pod works on if it is a pod of that resource."""
        pod = self._pods.get(pod_uid)
        child = self._children.get(pod.child_uid) if pod is not None else None
        return child.child.attempt if child is not None and child.owner_uid == owner_uid else None

    # What Tenants ask

    def holds(self, namespace: str, uid: str) -> bool:
        """See `tenancy.World`. Pods outlive a Job that is deleted in the background, as with its resource."""
        children = (self._children[child] for child in self._children_of.get(uid, ()))
        if self.pools.holds(uid) or any(self._with_pods(record).holds for record in children):
            return True
        pods = self._pods.of(namespace, uid)
        return any(pod.works and pod.child_uid not in self._children for pod in pods)

    def published(self, namespace: str, uid: str) -> Succeeded | None:
        """See `tenancy.World`."""
        return self._pods.published(namespace, uid)

    def spoken(self, uid: str) -> bool:
        """See `tenancy.World`."""
        pods = (pod for child in self._children_of.get(uid, ()) for pod in self._pods.of_job(child))
        return any(isinstance(last_word(pod), Succeeded) for pod in pods)

    @contextlib.contextmanager
    def working_on(self, key: Key) -> Iterator[None]:
        """Marks a resource as being worked on."""
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)

    def is_busy(self, key: Key) -> bool:
        """See `tenancy.World`."""
        return key in self._busy

    # Snapshots

    def snapshot(self, key: Key, job: Job) -> ObservedJob:
        """Returns all that is observed about `job`, the parsed resource of `key`."""
        uid = job.metadata.uid
        records = [self._children[child] for child in self._children_of.get(uid, ())]
        children = sorted((self._with_pods(record) for record in records), key=lambda child: child.attempt)
        latest = children[-1].attempt if children else 0
        report = self._reports.get(uid)
        return ObservedJob(
            job=job,
            profile=self.profile(job.spec.profile_ref.name),
            children=tuple(children),
            admission=self.tenancy.admission(
                key, uid, claimed=job.spec.tenant_name, gpus=self.accelerators(job.spec.profile_ref.name, uid) or 0
            ),
            foreign=self._in_the_way(key, uid),
            progress=report[1] if report is not None and report[0] == latest else None,
            progress_due=self.write_due(uid),
        )

    def _in_the_way(self, key: Key, uid: str) -> frozenset[str]:
        """Jobs found in the way when one was to be created, and those that the watch shows to be another owner's."""
        named = (self._children[job] for job in self._jobs_named.get((key.namespace, key.name), ()))
        return frozenset(self._foreign.get(uid, ())) | {
            record.child.name for record in named if record.owner_uid != uid
        }

    def _with_pods(self, record: ChildRecord) -> ObservedChild:
        uid = record.child.uid
        pods = tuple(map(self._with_warning, self._pods.of_job(uid)))
        return replace(record.child, warning=self._warnings.get(uid, ""), pods=pods)

    def _with_warning(self, pod: ObservedPod) -> ObservedPod:
        message = self._warnings.get(pod.uid)
        return replace(pod, warning=message) if message and not pod.started else pod
