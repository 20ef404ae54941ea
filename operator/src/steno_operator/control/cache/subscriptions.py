"""Subscriptions: event handlers that say which change has which resources reconciled again. The only place that does.

A resource is enqueued when something changed that its plan reads, and not for anything else: with hundreds of jobs,
what is enqueued for nothing would be most of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from steno_api.model import ObjectRef
from steno_kube.keys import Key
from steno_kube.object_cache import Change, OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState, most_senior
from steno_operator.control.cache.job_records import JobRecord, PodRecord, WarningEvent
from steno_operator.control.cache.resource_records import (
    BY_KIND,
    BY_PROFILE,
    JOBS_BY_POOL,
    PLACES_BY_NAMESPACE,
    POOL_KIND,
    REQUESTS_BY_NAMESPACE,
    SESSION_KIND,
    SESSIONS_BY_POOL,
    TENANT_KIND,
    TENANTS_BY_NAMESPACE,
    QueuedJob,
    QuotaRecord,
    QuotaRequest,
    ResourceRecord,
    TenantRecord,
    pool_of,
)
from steno_operator.control.cache.session_connections import ConnectionsChanged
from steno_operator.control.cache.snapshots.pool import pool_occupies_quota
from steno_operator.plan.common.pods import ended
from steno_operator.plan.job.observed import ObservedChild
from steno_operator.plan.pool.observed import ObservedServer
from steno_operator.plan.pool.places import PlaceRequest


class Subscriptions:
    """Listens to every part of a `ClusterState`."""

    def __init__(self, state: ClusterState, enqueue: Callable[[Key], None]) -> None:
        """Listen from now on; `enqueue` has a resource reconciled."""
        self._state = state
        self._enqueue = enqueue
        self._occupying: set[OwnerKey] = set()  # pools that occupied quota at their last change
        state.resources.add_event_handler(self._resource_changed)
        state.profiles.add_event_handler(self._profile_changed)
        state.quotas.add_event_handler(self._quota_changed)
        state.jobs.add_event_handler(self._job_changed)
        state.pods.add_event_handler(self._pod_changed)
        state.warnings.add_event_handler(self._warning_changed)
        state.deployments.add_event_handler(self._pool_child_changed)
        state.services.add_event_handler(self._pool_child_changed)
        state.servers.add_event_handler(self._server_changed)
        state.progress.add_event_handler(enqueue)
        state.pending.add_event_handler(self._enqueue_uid)
        state.conflicts.add_event_handler(self._enqueue_uid)
        state.connections.add_event_handler(self._connections_changed)
        state.uploads.add_event_handler(self._uploads_changed)
        state.attempts.add_event_handler(self._work_reported)

    # Custom resources

    def _resource_changed(self, change: Change[ResourceRecord]) -> None:
        self._enqueue(change.latest.value.key)
        old = None if change.old is None else change.old.value
        new = None if change.new is None else change.new.value
        if change.latest.value.tenant is not None:
            replaced = change.old is not None and change.new is not None and change.old.uid != change.new.uid
            for before, after in ((old, None), (None, new)) if replaced else ((old, new),):
                self._tenant_changed(before and before.tenant, after and after.tenant)
        self._request_changed(old and old.quota, new and new.quota)
        if change.latest.value.key.kind == POOL_KIND:
            self._enqueue_sessions_of(change.latest.value.key)
            self._pool_changed(old, new, change.latest.value.key)
        self._queued_changed(old and old.queued, new and new.queued)
        self._place_changed(old and old.place, new and new.place)

    def _request_changed(self, old: QuotaRequest | None, new: QuotaRequest | None) -> None:
        """Enqueue the Tenant when it sees another request than before."""
        if old is not None and (new is None or new.uid != old.uid):
            self._enqueue_tenants(old.owner_key, old.key.namespace)
            old = None
        if new is not None and new != old:
            self._enqueue_tenants(new.owner_key, new.key.namespace)

    def _enqueue_tenants(self, owner: OwnerKey, namespace: str) -> None:
        """Enqueue the Tenants that a resource matters to: that which has reserved quota, and that of the namespace."""
        quota, tenant = self._state.reserving_quota(owner), self._state.tenant_of(namespace)
        for name in {*(() if quota is None else (quota.tenant,)), *(() if tenant is None else (tenant.name,))}:
            self._enqueue(Key(TENANT_KIND, "", name))

    def _enqueue_tenants_of(self, owner: OwnerKey | None) -> None:
        """Enqueue the Tenants of a resource whose children began or ceased to occupy quota."""
        if owner is None:
            return
        request = self._state.quota_request(owner)
        reserving = self._state.reserving_quota(owner)
        if request is not None and (not request.deleted or reserving is not None):
            self._enqueue_tenants(owner, owner.namespace)
        elif reserving is not None:
            self._enqueue(Key(TENANT_KIND, "", reserving.tenant))

    def _tenant_changed(self, old: TenantRecord | None, new: TenantRecord | None) -> None:
        if old is None or new is None:  # its reservations count from now on, or no longer
            tenant = old or new
            quota = tenant and self._state.quota_of(tenant.name, tenant.uid)
            for entry in () if quota is None else quota.reservations.values():
                self._enqueue(Key(entry.kind, entry.namespace, entry.name))
        if old is None or new is None or old.namespaces != new.namespaces:
            self._namespaces_changed(old, new)
        if old is not None and new is not None and old.max_active_deadline != new.max_active_deadline:
            for namespace in new.namespaces:
                self._enqueue_requests_in(namespace)

    def _quota_changed(self, change: Change[QuotaRecord]) -> None:
        """Enqueue the Tenant, and the resources for which something else is reserved now."""
        self._enqueue(Key(TENANT_KIND, "", change.latest.value.tenant))
        before = {} if change.old is None else change.old.value.reservations
        after = {} if change.new is None else change.new.value.reservations
        for owner in before.keys() | after.keys():
            entry = after.get(owner) or before[owner]
            if owner not in before or owner not in after or entry.releasing != before[owner].releasing:
                self._enqueue(Key(entry.kind, entry.namespace, entry.name))

    def _namespaces_changed(self, old: TenantRecord | None, new: TenantRecord | None) -> None:
        """Enqueue all Tenants, since another may have what this one asks for, and work whose Tenant is another now."""
        for tenant in self._state.resources.by_index(BY_KIND, TENANT_KIND):
            self._enqueue(tenant.value.key)
        for namespace in {*(old.namespaces if old else ()), *(new.namespaces if new else ())}:
            found = [each.value.tenant for each in self._state.resources.by_index(TENANTS_BY_NAMESPACE, namespace)]
            others = [each for each in found if each is not None and each != new]
            before = most_senior([*others, *([old] if old and namespace in old.namespaces else [])])
            after = most_senior([*others, *([new] if new and namespace in new.namespaces else [])])
            if (before and before.name) != (after and after.name):
                self._enqueue_requests_in(namespace)

    def _enqueue_requests_in(self, namespace: str) -> None:
        for request in self._state.resources.by_index(REQUESTS_BY_NAMESPACE, namespace):
            self._enqueue(request.value.key)

    def _place_changed(self, old: PlaceRequest | None, new: PlaceRequest | None) -> None:
        """Enqueue the pool, and those sessions of it that are nearer to a place now, or may have lost theirs."""
        if old == new:
            return
        for pool in {pool_of(each) for each in (old, new) if each is not None}:
            self._enqueue(pool)
            for session in self._state.resources.by_index(SESSIONS_BY_POOL, pool):
                other = session.value.place
                assert other is not None  # noqa: S101 - the index has sessions only
                was = old is not None and old.precedes(other)
                now = new is not None and new.precedes(other)
                # One less ahead is news to those who wait only: all others would be reconciled for nothing.
                if (now and not was) or (was and not now and not other.has_place):
                    self._enqueue(session.value.key)

    def _queued_changed(self, old: QueuedJob | None, new: QueuedJob | None) -> None:
        """Enqueue the pool that has more or fewer jobs now."""
        if old != new:
            for pool in {each.pool for each in (old, new) if each is not None}:
                self._enqueue(pool)

    def _pool_changed(self, old: ResourceRecord | None, new: ResourceRecord | None, pool: Key) -> None:
        """Enqueue the jobs of a pool of which their plans see something else; how many servers it has, they do not."""
        if old is None or new is None or _seen_by_jobs(old.raw) != _seen_by_jobs(new.raw):
            for job in self._state.resources.by_index(JOBS_BY_POOL, pool):
                self._enqueue(job.value.key)

    def _enqueue_sessions_of(self, pool: Key) -> None:
        for session in self._state.resources.by_index(SESSIONS_BY_POOL, pool):
            self._enqueue(session.value.key)

    def _profile_changed(self, change: Change[dict[str, Any]]) -> None:
        """Enqueue what names the profile, and every Tenant: what their resources ask for may have changed."""
        for tenant in self._state.resources.by_index(BY_KIND, TENANT_KIND):
            self._enqueue(tenant.value.key)
        for entry in self._state.resources.by_index(BY_PROFILE, change.latest.value["metadata"]["name"]):
            self._enqueue(entry.value.key)

    def _enqueue_uid(self, uid: str) -> None:
        entry = self._state.resources.get(uid)
        if entry is not None:
            self._enqueue(entry.value.key)

    # Jobs, worker pods, Events

    def _job_changed(self, change: Change[JobRecord]) -> None:
        job = change.latest
        if job.value.controller is not None:
            self._enqueue(job.value.controller)
        old, new = change.old, change.new
        if old is None or new is None or occupancy_key(old.value.child) != occupancy_key(new.value.child):
            orphan = job.value.orphan_of
            self._enqueue_tenants_of(OwnerKey(job.namespace, orphan) if orphan else job.owner)

    def _pod_changed(self, change: Change[PodRecord]) -> None:
        pod = change.latest
        if pod.owner is not None:
            self._job_news(pod.owner)
        job = None if pod.owner is None else self._state.job(pod.owner)
        if job is None or job.value.orphan_of:  # it outlives its Job, or both outlive their resource
            self._enqueue_tenants_of(pod.value.resource)

    def _job_news(self, owner: OwnerKey) -> None:
        """Enqueue the resource of the Job that a pod or an Event belongs to."""
        job = self._state.job(owner)
        if job is None or job.value.controller is None:
            return
        self._enqueue(job.value.controller)
        child = job.value.child
        if child.suspended or child.deleting or child.done:  # its pods say when it is at rest
            self._enqueue_tenants_of(job.owner)

    def _warning_changed(self, change: Change[WarningEvent]) -> None:
        old, new = change.old, change.new
        if new is None or new.owner is None or (old is not None and old.value == new.value):
            return
        about = new.owner
        self._job_news(about)
        pod = self._state.pods.get(about.uid)
        if pod is not None and pod.namespace == about.namespace and pod.owner is not None:
            self._job_news(pod.owner)
        server = self._state.servers.get(about.uid)
        if server is not None and server.namespace == about.namespace:
            self._pool_news(server.owner)

    # Children and servers of pools

    def _pool_child_changed(self, change: Change[Any]) -> None:
        self._pool_news(change.latest.owner)

    def _server_changed(self, change: Change[ObservedServer]) -> None:
        server = change.latest
        self._pool_news(server.owner)
        if change.new is None or ended(server.value.pod):
            self._enqueue_served_sessions(server.namespace)

    def _pool_news(self, owner: OwnerKey | None) -> None:
        if owner is None:
            return
        occupies = pool_occupies_quota(self._state, owner)
        if occupies != (owner in self._occupying):
            (self._occupying.add if occupies else self._occupying.discard)(owner)
            self._enqueue_tenants_of(owner)
        pool = self._state.owner(owner)
        if pool is not None:
            self._enqueue(pool.key)

    def _connections_changed(self, change: ConnectionsChanged) -> None:
        for session in change.sessions:
            self._enqueue(Key(SESSION_KIND, session.namespace, session.name))
        if change.first_report_in is not None:
            self._enqueue_served_sessions(change.first_report_in)

    def _uploads_changed(self, session: ObjectRef) -> None:
        self._work_reported(OwnerKey(session.namespace, session.uid))

    def _work_reported(self, owner: OwnerKey) -> None:
        """Enqueue a session or job, and the Tenant of one that has ended: its reservation waits for what works."""
        resource, request = self._state.owner(owner), self._state.quota_request(owner)
        if resource is not None:
            self._enqueue(resource.key)
        if request is None or request.finished or request.deleted:
            self._enqueue_tenants_of(owner)

    def _enqueue_served_sessions(self, namespace: str) -> None:
        for session in self._state.resources.by_index(PLACES_BY_NAMESPACE, namespace):
            self._enqueue(session.value.key)


def _seen_by_jobs(pool: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what the plans of a pool's jobs read of it."""
    conditions = (pool.get("status") or {}).get("conditions") or ()
    said = [(each.get("type"), each.get("status"), each.get("reason"), each.get("message")) for each in conditions]
    return pool["metadata"].get("generation"), "deletionTimestamp" in pool["metadata"], said


def occupancy_key(child: ObservedChild) -> tuple[bool, ...]:
    """Return the fields that decide whether an attempt still occupies quota."""
    return child.done, child.deleting, child.suspended, child.halted
