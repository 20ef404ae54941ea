"""Snapshots of Tenants: what asks for admission in their namespaces, and whatever holds a reservation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from steno_api.v1alpha1.tenant import Tenant, TenantLimits
from steno_api.v1alpha1.tenantquota import QuotaReservation, TenantQuotaStatus
from steno_api.worker.termination import Succeeded
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.cluster_state import PODS_BY_RESOURCE, ClusterState
from steno_operator.control.cache.resource_records import REQUESTS_BY_NAMESPACE, SESSION_KIND, TENANT_KIND, QuotaRequest
from steno_operator.control.cache.snapshots.job import observe_child, pods_of_job
from steno_operator.control.cache.snapshots.pool import pool_occupies_quota
from steno_operator.plan.common.admission import ADMISSION_POLICIES, AdmissionRequest, Meter, Usage
from steno_operator.plan.common.pods import worker_result
from steno_operator.plan.common.usage import join
from steno_operator.plan.tenant.planner import ObservedTenant
from steno_operator.plan.tenant.quota import exhausted_meters, total, uncharged

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def observe_tenant(state: ClusterState, tenant: Tenant) -> ObservedTenant:
    """Return everything that is observed about a Tenant."""
    name, namespaces = tenant.metadata.name, tenant.spec.namespaces
    quota = state.quota_of(name, tenant.metadata.uid)
    reservations: Mapping[OwnerKey, QuotaReservation] = {} if quota is None else quota.reservations
    holders = {namespace: state.tenant_of(namespace) for namespace in namespaces}
    owned = [space for space, holder in holders.items() if holder is not None and holder.name == name]
    asking = [
        OwnerKey(request.namespace, request.uid)
        for space in owned
        for request in state.resources.by_index(REQUESTS_BY_NAMESPACE, space)
    ]
    others = {owner for owner in asking if (other := state.reserving_quota(owner)) and other.tenant != name}
    owners = dict.fromkeys([*reservations, *(owner for owner in asking if owner not in others)])
    served = [space in state.served_namespaces or not state.served_namespaces for space in namespaces]
    return ObservedTenant(
        tenant=tenant,
        quota=None if quota is None else quota.quota,
        requests=tuple(_observe_request(state, owner, reservations.get(owner), name) for owner in owners),
        taken={space: holder.name for space, holder in holders.items() if holder is not None and holder.name != name},
        served="all" if all(served) else "some" if any(served) else "none",
    )


def occupies_quota(state: ClusterState, owner: OwnerKey) -> bool:
    """Tell whether a child or a pod of a resource works, or may.

    Pods outlive a Job that is deleted in the background, as it is with its resource; and a Job that has ended may be
    seen before its pods, which say what they did. Deletion may also leave both behind, to end by themselves.
    """
    children = [observe_child(state, job) for job in state.remains(owner)]
    if pool_occupies_quota(state, owner) or any(child.occupies_quota for child in children):
        return True
    if any(pod.works for child in children if child.done for pod in child.pods):
        return True
    pods = state.pods.by_index(PODS_BY_RESOURCE, owner)
    return any(pod.value.pod.works and (pod.owner is None or state.job(pod.owner) is None) for pod in pods)


def _observe_request(
    state: ClusterState, owner: OwnerKey, entry: QuotaReservation | None, tenant: str
) -> AdmissionRequest:
    request = state.quota_request(owner) or _forgotten(owner, entry)
    key, policy = request.key, ADMISSION_POLICIES[request.key.kind]
    finished = request.finished or request.deleted
    holder = state.tenant_of(key.namespace)
    per_pod = state.accelerators(owner, request.profile)
    said = state.work(owner)  # even if it was deleted before its status said so
    reported = state.progress.work(owner.uid)
    written = policy.usage(request.status, {})
    pending = (bool(said) and policy.usage(request.status, said) != written) or _has_result(state, owner)
    return AdmissionRequest(
        uid=owner.uid,
        kind=key.kind,
        namespace=key.namespace,
        name=key.name,
        created=request.created,
        policy=policy,
        demand=policy.demand(None if per_pod is None else per_pod * request.max_pods, request.max_pods),
        priority=request.priority,
        finished=finished,
        active=not finished
        and request.active
        and holder is not None
        and holder.name == tenant
        and request.tenant in ("", tenant),
        running=occupies_quota(state, owner) or state.uploads.is_active(owner),
        reconciling=(not request.finished and key in state.busy)
        or (finished and key.kind == SESSION_KIND and state.awaits_reports(key.namespace)),
        usage=policy.usage(request.status, join(reported, said)) if reported or said else written,
        usage_pending=not request.finished and pending,
    )


def exhausted_limits(state: ClusterState, namespace: str, now: datetime) -> frozenset[Meter]:
    """Return the daily limits that the Tenant of a namespace has reached, with what is under way.

    Args:
        state: what is observed.
        namespace: of the Tenant.
        now: the present.
    """
    tenant = state.tenant_of(namespace)
    raw = None if tenant is None else state.resource(Key(TENANT_KIND, "", tenant.name))
    if tenant is None or raw is None:
        return frozenset()
    limits = TenantLimits.from_wire(raw["spec"].get("limits") or {})
    if limits.audio_minutes_per_day is None and limits.pages_per_day is None:
        return frozenset()

    def compute() -> frozenset[Meter]:
        record = state.quota_of(tenant.name, tenant.uid)
        if record is None:
            return frozenset()
        today = record.quota.status.day == f"{now.astimezone(UTC):%Y-%m-%d}"
        used = record.quota.status if today else TenantQuotaStatus()
        usages: list[Usage] = []
        for owner, entry in record.reservations.items():
            request = state.quota_request(owner)
            if request is not None:
                said = join(state.progress.work(owner.uid), state.work(owner))
                usages.append(uncharged(entry, ADMISSION_POLICIES[request.key.kind].usage(request.status, said)))
        return exhausted_meters(limits, used, total(usages))

    return state.reached_limits.get(tenant.name, compute)


def _forgotten(owner: OwnerKey, entry: QuotaReservation | None) -> QuotaRequest:
    """Return the request of a resource that only a reservation still names."""
    assert entry is not None  # noqa: S101 - what asks is observed
    return QuotaRequest(
        key=Key(entry.kind, entry.namespace, entry.name),
        uid=owner.uid,
        created=_LONG_AGO,
        priority=0,
        tenant="",
        profile="",
        active=False,
        max_pods=0,
        finished=False,
        deleted=True,
    )


def _has_result(state: ClusterState, owner: OwnerKey) -> bool:
    """Tell whether a result can still be read: the resource's plan will write down what was used."""
    pods = (pod for job in state.children(owner) for pod in pods_of_job(state, job))
    return any(isinstance(worker_result(pod), Succeeded) for pod in pods)
