"""All that is observed of the cluster: one ObjectCache for each type of object, and what no watch says.

Every object carries its `resourceVersion`, and an older one never replaces a newer one: because the answers to our own
writes are put in as well, a plan is never made from observations older than what this process last wrote. Snapshots
read from here; `subscriptions` has who is reconciled again when something changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import pydantic

from steno_api.usage import MAX_PROCESSES, Work
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_kube.keys import Key
from steno_kube.object_cache import BY_OWNER, BoundedDict, Change, Entry, Index, ObjectCache, OwnerKey
from steno_operator.control.cache.attempt_reports import AttemptReports
from steno_operator.control.cache.job_records import (
    JobRecord,
    PodRecord,
    WarningEvent,
    read_job,
    read_warning,
    read_worker,
    warning_id,
)
from steno_operator.control.cache.local_records import (
    BusyKeys,
    ConflictingNames,
    PendingReasons,
    PlaceQueues,
    ProgressReports,
    ReachedLimits,
    StatusWrites,
)
from steno_operator.control.cache.open_sessions import OpenSessions
from steno_operator.control.cache.pool_records import read_deployment, read_server, read_service
from steno_operator.control.cache.resource_records import (
    BY_KEY,
    BY_NAME,
    BY_RESERVATION,
    BY_TENANT,
    RESOURCE_INDEXES,
    TENANT_KIND,
    TENANTS_BY_NAMESPACE,
    QuotaRecord,
    QuotaRequest,
    ResourceRecord,
    TenantRecord,
    pool_of,
    read_profile,
    read_quota,
    read_resource,
)
from steno_operator.control.cache.session_connections import SessionConnections
from steno_operator.control.cache.upload_reports import UploadReports
from steno_operator.control.kube.signing import KeyStore
from steno_operator.manifests import labels
from steno_operator.plan.common.admission import Admission
from steno_operator.plan.common.pods import ended
from steno_operator.plan.common.usage import join, process_id, work_of_pod, work_of_pods
from steno_operator.plan.pool.observed import ObservedDeployment, ObservedServer
from steno_operator.plan.tenant.admission import ObservedQuota, Reservation, check_admission

T = TypeVar("T")

_WARNINGS = 10_000
_GONE_WORKERS = 10_000
_LIMITS_SECONDS = 2.0
_SETTLING_SECONDS = 15.0
"""After its beginning, in which servers report for the first time."""


def _resource_name(job: Entry[JobRecord]) -> Iterable[tuple[str, str]]:
    """Yield the namespace and name of the resource whose child a Job is, going by its name `<resource>-<attempt>`."""
    name, _, attempt = job.value.child.name.rpartition("-")
    if attempt.isdigit():
        yield job.namespace, name


JOBS_BY_RESOURCE_NAME: Index[JobRecord, tuple[str, str]] = Index(_resource_name)
"""Jobs that are named like a child of a resource, whatever owns them."""
PODS_BY_RESOURCE: Index[PodRecord, OwnerKey] = Index(
    lambda pod: () if pod.value.resource is None else (pod.value.resource,)
)
"""Worker pods by the resource that they work for, or did, whatever became of their Jobs."""
SERVERS_BY_NAME: Index[ObservedServer, tuple[str, str]] = Index(
    lambda pod: () if pod.owner is None else ((pod.namespace, pod.value.pod.name),)
)


class WarningCache(ObjectCache[WarningEvent]):
    """The latest warning Event about each object. Events expire; what they say is kept until the object is gone."""

    def __init__(self) -> None:
        super().__init__(read_warning, capacity=_WARNINGS)

    def replace(self, uids: Collection[str], version: str, /, namespace: str | None = None) -> None:
        """Keep everything: that an Event is not listed any more says nothing of its object."""


class ClusterState:
    """See the module. Not thread-safe: for the event loop only."""

    def __init__(
        self,
        progress_interval: float = 10.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        tenant_required: bool = False,
        served_namespaces: Iterable[str] = (),
    ) -> None:
        """Observe nothing yet.

        Args:
            progress_interval: least seconds between writes of mere progress.
            clock: what they are counted with.
            tenant_required: whether work in a namespace of no Tenant is refused.
            served_namespaces: what is watched; empty: all.
        """
        self.tenant_required = tenant_required
        self.served_namespaces = frozenset(served_namespaces)
        self._clock, self._began = clock, clock()
        self.resources: ObjectCache[ResourceRecord] = ObjectCache(read_resource, *RESOURCE_INDEXES, unique=BY_KEY)
        self.profiles: ObjectCache[dict[str, Any]] = ObjectCache(read_profile, unique=BY_NAME)
        self.quotas: ObjectCache[QuotaRecord] = ObjectCache(read_quota, BY_RESERVATION, unique=BY_TENANT)
        self.jobs: ObjectCache[JobRecord] = ObjectCache(read_job, BY_OWNER, JOBS_BY_RESOURCE_NAME)
        self.pods: ObjectCache[PodRecord] = ObjectCache(read_worker, BY_OWNER, PODS_BY_RESOURCE)
        self.warnings = WarningCache()
        self.deployments: ObjectCache[ObservedDeployment] = ObjectCache(read_deployment, BY_OWNER)
        self.services: ObjectCache[str] = ObjectCache(read_service, BY_OWNER)
        self.servers: ObjectCache[ObservedServer] = ObjectCache(read_server, BY_OWNER, SERVERS_BY_NAME)
        self.progress = ProgressReports()
        self.conflicts = ConflictingNames()
        self.status_writes = StatusWrites(progress_interval, clock)
        self.pending = PendingReasons()
        self.reached_limits = ReachedLimits(_LIMITS_SECONDS, clock)
        self.place_queues = PlaceQueues()
        self.connections = SessionConnections()
        self.uploads = UploadReports()
        self.attempts = AttemptReports()
        self.open_sessions = OpenSessions(self.resources)
        self.busy = BusyKeys()
        self.token_keys: KeyStore | None = None
        self._deleted_requests: dict[OwnerKey, QuotaRequest] = {}  # of what still holds a reservation
        self._gone_work: BoundedDict[OwnerKey, dict[str, Work]] = BoundedDict(_GONE_WORKERS)
        self.resources.add_event_handler(self._keep_up_with_resource)
        self.quotas.add_event_handler(self._keep_up_with_quota)
        self.jobs.add_event_handler(self._forget_warning)
        self.pods.add_event_handler(self._forget_warning)
        self.pods.add_event_handler(self._keep_work)
        self.servers.add_event_handler(self._forget_warning)
        self.servers.add_event_handler(self._disconnect_server)

    # Lookups over more than one cache

    def resource(self, key: Key) -> dict[str, Any] | None:
        """Return a custom resource as last observed, stripped; not to be changed."""
        found = self.resources.by_index(BY_KEY, key)
        return found[0].value.raw if found else None

    def owner(self, owner: OwnerKey) -> ResourceRecord | None:
        """Return the custom resource that an object in its namespace names as its owner."""
        entry = self.resources.get(owner.uid)
        return entry.value if entry is not None and entry.namespace == owner.namespace else None

    def job(self, owner: OwnerKey) -> Entry[JobRecord] | None:
        """Return the Job that a pod or an Event in its namespace belongs to."""
        entry = self.jobs.get(owner.uid)
        return entry if entry is not None and entry.namespace == owner.namespace else None

    def children(self, owner: OwnerKey) -> list[Entry[JobRecord]]:
        """Return the child Jobs of a resource, by attempt.

        A Job is believed when its controller reference names the resource whole, and its name is that of an attempt
        which may exist: the next after the status's latest, or after a child's whose status was not written yet.
        """
        found = sorted(self.jobs.by_index(BY_OWNER, owner), key=lambda job: job.value.child.attempt)
        resource = self.owner(owner)
        if resource is None:  # deleted: what is left of it may still work
            return found
        latest: int = (resource.raw.get("status") or {}).get("attempt", 0)
        believed: list[Entry[JobRecord]] = []
        for job in found:
            attempt = job.value.child.attempt
            if job.value.controller == resource.key and attempt <= latest + 1:
                latest = max(latest, attempt)
                believed.append(job)
        return believed

    def remains(self, owner: OwnerKey) -> list[Entry[JobRecord]]:
        """Return the child Jobs of a resource and, if it is deleted, those that its deletion left without an owner."""
        found, name = self.children(owner), self._name_of(owner)
        resource = self.resources.get(owner.uid)
        if name is None or (resource is not None and "deletionTimestamp" not in resource.value.raw["metadata"]):
            return found
        named = self.jobs.by_index(JOBS_BY_RESOURCE_NAME, (owner.namespace, name))
        return [*found, *(job for job in named if job.value.orphan_of == owner.uid)]

    def owned(self, cache: ObjectCache[T], owner: OwnerKey) -> list[Entry[T]]:
        """Return the objects of a cache whose controller reference names a resource whole, by UID and name."""
        resource, found = self.owner(owner), cache.by_index(BY_OWNER, owner)
        return [each for each in found if resource is None or each.owner_name == resource.key.name]

    def profile(self, name: str) -> RuntimeProfile | None:
        """Return a profile; one that cannot be read (stored under an older schema) counts as absent."""
        found = self.profiles.by_index(BY_NAME, name)
        try:
            return RuntimeProfile.from_wire(found[0].value) if found else None
        except pydantic.ValidationError:
            return None

    def quota_request(self, owner: OwnerKey) -> QuotaRequest | None:
        """Return what a resource asks its Tenant; of a deleted one, while something is still reserved for it."""
        record = self.owner(owner)
        return record.quota if record is not None else self._deleted_requests.get(owner)

    def tenant_of(self, namespace: str) -> TenantRecord | None:
        """Return the Tenant that has a namespace."""
        found = (entry.value.tenant for entry in self.resources.by_index(TENANTS_BY_NAMESPACE, namespace))
        return most_senior(tenant for tenant in found if tenant is not None)

    def quota_of(self, tenant: str, uid: str) -> QuotaRecord | None:
        """Return the quota of a Tenant, given by name and UID, unless there is none or an earlier Tenant's."""
        found = self.quotas.by_index(BY_TENANT, tenant)
        return found[0].value if found and found[0].value.tenant_uid == uid else None

    def reserving_quota(self, owner: OwnerKey) -> QuotaRecord | None:
        """Return the quota in which something is reserved for a resource; of two the one that changed last."""
        found = [entry.value for entry in self.quotas.by_index(BY_RESERVATION, owner)]
        return next((quota for quota in reversed(found) if self._is_in_force(quota)), None)

    def _is_in_force(self, quota: QuotaRecord) -> bool:
        """Tell whether the Tenant that owns a quota exists."""
        tenants = self.resources.by_index(BY_KEY, Key(TENANT_KIND, "", quota.tenant))
        return any(tenant.uid == quota.tenant_uid for tenant in tenants)

    def admission(self, owner: OwnerKey, *, requested_tenant: str | None = None, gpus: int = 0) -> Admission:
        """Return whether something may be started for a resource: a job, a pool or a session.

        Args:
            owner: the resource.
            requested_tenant: the tenant that its spec names.
            gpus: accelerators that would be started now.
        """
        tenant, reserving = self.tenant_of(owner.namespace), self.reserving_quota(owner)
        reservation = None
        if reserving is not None:
            entry = reserving.reservations[owner]
            reservation = Reservation(reserving.tenant, entry.gpus, entry.servers, bool(entry.releasing))
        requested = Key(TENANT_KIND, "", requested_tenant or "")
        quota = ObservedQuota(
            namespace=owner.namespace,
            reservation=reservation,
            tenant=None if tenant is None else tenant.name,
            requested_tenant=requested.name,
            requested_tenant_exists=bool(self.resources.by_index(BY_KEY, requested)),
            namesake=bool(self.resources.by_index(BY_KEY, Key(TENANT_KIND, "", owner.namespace))),
            pending=None if tenant is None else self.pending.of_tenant(tenant.name).get(owner.uid),
            gpus=gpus,
        )
        return check_admission(quota, tenant_required=self.tenant_required)

    def accelerators(self, owner: OwnerKey, profile: str) -> int | None:
        """Return how many accelerators a resource occupies once its work is started or resumed.

        A child keeps what its profile gave it, whatever the profile gives by now.

        Args:
            owner: the resource.
            profile: name of its RuntimeProfile.

        Returns:
            None when there is neither a child at work nor a profile of that name that the Tenant may use.
        """
        children = (job.value.child for job in self.children(owner))
        counts = [child.accelerators for child in children if not child.done]
        for found in self.profiles.by_index(BY_NAME, profile):
            spec: dict[str, Any] = found.value.get("spec") or {}
            accelerator, allowed = spec.get("accelerator"), spec.get("allowedTenants")
            tenant = self.tenant_of(owner.namespace)
            if allowed is not None and (tenant is None or tenant.name not in allowed):
                continue
            counts.append(0 if accelerator is None else int(accelerator.get("count", 1)))
        return max(counts, default=None)

    def work(self, owner: OwnerKey) -> dict[str, Work]:
        """Return what the workers of a job said when they ended, by process; also of pods that are gone by now.

        Of a session: what servers say that they did for its uploads.
        """
        found = self.pods.by_index(PODS_BY_RESOURCE, owner)
        pods = [one.value.pod for one in found if one.value.pod.termination_message and self._is_worker(one, owner)]
        said = (self.uploads.work(owner), self.attempts.work(owner))
        return join(self._gone_work.get(owner, {}), work_of_pods(pods), *said)

    def awaits_reports(self, namespace: str) -> bool:
        """Tell whether servers of a namespace may have something to say that they told another operator, not this one.

        A server that has not spoken after some seconds is not waited for.
        """
        return self._clock() - self._began < _SETTLING_SECONDS and any(
            server.namespace == namespace
            and server.value.pod.started
            and not ended(server.value.pod)
            and not self.connections.has_reported(server.uid)
            for server in self.servers
        )

    def _is_worker(self, pod: Entry[PodRecord], owner: OwnerKey) -> bool:
        """Tell whether a pod works for the resource in its label: the child Job that controls it says so, or said."""
        if pod.owner is not None and (job := self.job(pod.owner)) is not None:
            return job in self.remains(owner)
        name = self._name_of(owner)
        return name is not None and labels.attempt_of(pod.value.job, name) is not None

    def _name_of(self, owner: OwnerKey) -> str | None:
        """Return a resource's name; of one that was deleted before this process began, that in its reservation."""
        request, reserving = self.quota_request(owner), self.reserving_quota(owner)
        if request is not None:
            return request.key.name
        return None if reserving is None else reserving.reservations[owner].name

    # Upkeep

    def _keep_up_with_resource(self, change: Change[ResourceRecord]) -> None:
        old, new = change.old, change.new
        self._keep_up_with_places(old, new)
        if old is None:
            return
        if new is None or new.uid != old.uid:
            for each in (self.conflicts, self.progress, self.status_writes):
                each.forget(old.uid)
            self._keep_request(old)
        tenant = old.value.tenant
        if tenant is not None:
            renewed = None if new is None else new.value.tenant
            if renewed is None or (renewed.uid, renewed.namespaces) != (tenant.uid, tenant.namespaces):
                self.pending.forget(tenant.name)
            quota = self.quota_of(tenant.name, tenant.uid)
            self._forget_requests(() if quota is None else quota.reservations)

    def _keep_up_with_quota(self, change: Change[QuotaRecord]) -> None:
        self._forget_requests(() if change.old is None else change.old.value.reservations)

    def _forget_requests(self, owners: Iterable[OwnerKey]) -> None:
        """Forget the requests of deleted resources for which nothing is reserved any more."""
        for owner in owners:
            if owner in self._deleted_requests and self.reserving_quota(owner) is None:
                del self._deleted_requests[owner]

    def _keep_up_with_places(self, old: Entry[ResourceRecord] | None, new: Entry[ResourceRecord] | None) -> None:
        before, after = old and old.value.place, new and new.value.place
        if before is not None:
            self.place_queues.update(pool_of(before), before, None)
            if after is None or after.uid != before.uid or not after.open:
                self.connections.forget(before.uid)  # its status says how it ended
        if after is not None:
            self.place_queues.update(pool_of(after), None, after)

    def _keep_request(self, deleted: Entry[ResourceRecord]) -> None:
        request = deleted.value.quota
        if request is not None and self.reserving_quota(request.owner_key) is not None:
            self._deleted_requests[request.owner_key] = replace(request, deleted=True)

    def _forget_warning(self, change: Change[Any]) -> None:
        if change.new is None:
            self.warnings.delete(warning_id(OwnerKey(change.latest.namespace, change.latest.uid)))

    def _disconnect_server(self, change: Change[ObservedServer]) -> None:
        """Forget what a server does that is gone, or begins anew; what it reported of ended sessions is kept."""
        old, new = change.old, change.new
        if new is None or not new.value.pod.started or (old and old.value.last_exit != new.value.last_exit):
            self.attempts.disconnect(change.latest.uid)
        if change.new is None or ended(change.new.value.pod):
            self.connections.disconnect(change.latest.uid)
            self.uploads.disconnect(change.latest.uid)

    def _keep_work(self, change: Change[PodRecord]) -> None:
        """Keep what a worker did whose pod is gone, until the resource's status or its Tenant has it."""
        pod = change.latest
        resource, work = pod.value.resource, work_of_pod(pod.value.pod)
        if change.new is None and resource is not None and work is not None and self._is_worker(pod, resource):
            kept = self._gone_work.get(resource, {}) | {process_id(pod.value.pod): work}
            self._gone_work[resource] = dict(sorted(kept.items())[-MAX_PROCESSES:])


def most_senior(tenants: Iterable[TenantRecord]) -> TenantRecord | None:
    """Return the Tenant that has a namespace which the specs of all of these name."""
    return min(tenants, key=lambda tenant: tenant.seniority, default=None)
