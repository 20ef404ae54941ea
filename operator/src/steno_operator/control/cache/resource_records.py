"""Read custom resources from their raw JSON, with what others are enqueued for and found by. Pure.

Kept as the raw objects say it, and cheap: equal records mean that nothing changed that matters to others, so that a
resource whose progress changed does not wake its Tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from steno_api.gateway.session_tokens import GATEWAY_LABEL
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.v1alpha1.streamsession import StreamSession
from steno_api.v1alpha1.tenant import Tenant
from steno_api.v1alpha1.tenantquota import QuotaReservation, TenantQuota
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_kube.decoding import own_metadata
from steno_kube.keys import Key, controller_uid
from steno_kube.object_cache import Entry, Index, OwnerKey
from steno_operator.manifests import labels
from steno_operator.plan.common.admission import ADMISSION_POLICIES
from steno_operator.plan.common.carriers import carrier_of
from steno_operator.plan.pool.places import PlaceRequest, place_request

POOL_KIND = RuntimePool.definition.kind
PROFILE_KIND = RuntimeProfile.definition.kind
SESSION_KIND = StreamSession.definition.kind
TENANT_KIND = Tenant.definition.kind
_JOB_KINDS = frozenset({TranscriptionJob.definition.kind, OCRJob.definition.kind})


@dataclass(frozen=True, slots=True)
class QuotaRequest:
    """The parts of a resource that matter to its Tenant."""

    key: Key
    uid: str
    created: datetime
    priority: int
    tenant: str
    """The tenant that its spec names."""
    profile: str
    active: bool
    """It is to be started at all."""
    max_pods: int
    finished: bool
    deleted: bool
    """It is deleted, or being deleted."""
    status: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)
    """As it is, for what it says of usage: not compared, so that progress does not wake the Tenant."""

    @property
    def owner_key(self) -> OwnerKey:
        """The resource as the owner of its children."""
        return OwnerKey(self.key.namespace, self.uid)


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that has not ended and whose attempts a pool carries out."""

    pool: Key
    needs_server: bool
    """An attempt was published: the pool is to have servers."""


@dataclass(frozen=True, slots=True)
class TenantRecord:
    """The parts of a Tenant that matter to others."""

    name: str
    uid: str
    created: str
    namespaces: tuple[str, ...]
    max_active_deadline: int | None = None
    """Seconds; None: it does not limit how long jobs take."""

    @property
    def seniority(self) -> tuple[str, str]:
        """Sort key: of several Tenants whose specs name a namespace, the first has it."""
        return self.created, self.uid


@dataclass(frozen=True, slots=True)
class QuotaRecord:
    """A TenantQuota."""

    quota: TenantQuota
    tenant_uid: str
    """The Tenant that owns it: it counts for no other of that name."""
    reservations: Mapping[OwnerKey, QuotaReservation]

    @property
    def tenant(self) -> str:
        """The Tenant's name."""
        return self.quota.metadata.name


@dataclass(frozen=True, slots=True)
class ResourceRecord:
    """A custom resource, with what matters to others read from it."""

    key: Key
    raw: dict[str, Any]
    """Stripped; not to be changed."""
    quota: QuotaRequest | None = None
    """Of a kind that asks for admission."""
    place: PlaceRequest | None = None
    """Of a session."""
    queued: QueuedJob | None = None
    """Of a job whose attempts a pool carries out."""
    tenant: TenantRecord | None = None
    """Of a Tenant."""
    gateway: str = ""
    """Of a session: the gateway that says, by its label, to have created it."""

    @property
    def finished(self) -> bool:
        """It ended."""
        return bool((self.raw.get("status") or {}).get("completionTime"))

    @property
    def pool(self) -> Key | None:
        """The pool that carries out a job's attempts; None: none does."""
        return _pool_of_job(self.key.namespace, self.raw.get("spec") or {}, self.raw.get("status") or {})

    @property
    def profile(self) -> str:
        """The RuntimeProfile that its spec names."""
        return _name((self.raw.get("spec") or {}).get("profileRef"))


def read_resource(raw: Mapping[str, Any]) -> Entry[ResourceRecord]:
    """Read a custom resource of any kind but RuntimeProfile."""
    key, metadata = Key.of(raw["kind"], raw), raw["metadata"]
    record = ResourceRecord(
        key=key,
        raw=_cached(key.kind, raw),
        quota=_quota_request(key, raw) if key.kind in ADMISSION_POLICIES else None,
        place=place_request(raw) if key.kind == SESSION_KIND else None,
        queued=_queued_job(key, raw) if key.kind in _JOB_KINDS else None,
        tenant=_tenant(raw) if key.kind == TENANT_KIND else None,
        gateway=(metadata.get("labels") or {}).get(GATEWAY_LABEL, "") if key.kind == SESSION_KIND else "",
    )
    return Entry(metadata["uid"], key.namespace, metadata["resourceVersion"], record)


def read_profile(raw: Mapping[str, Any]) -> Entry[dict[str, Any]]:
    """Read a RuntimeProfile, which is kept raw."""
    return Entry(raw["metadata"]["uid"], "", raw["metadata"]["resourceVersion"], strip(raw))


def read_quota(raw: Mapping[str, Any]) -> Entry[QuotaRecord]:
    """Read a TenantQuota."""
    quota = TenantQuota.from_wire(strip(raw))
    reservations = {OwnerKey(each.namespace, each.uid): each for each in quota.status.reservations}
    record = QuotaRecord(quota, controller_uid(raw), reservations)
    return Entry(quota.metadata.uid, "", quota.metadata.resource_version, record)


def strip(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a custom resource with nothing but what is read: a user's labels and annotations are not."""
    kept = {name: raw[name] for name in ("apiVersion", "kind", "spec", "status") if name in raw}
    return {**kept, "metadata": own_metadata(raw["metadata"])}


def _cached(kind: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a custom resource. A job's free text is not: an attempt is made from a live read."""
    kept = strip(raw)
    if kind in _JOB_KINDS and "metadata" in (kept.get("spec") or {}):
        kept["spec"] = {name: value for name, value in kept["spec"].items() if name != "metadata"}
    made_by = (raw["metadata"].get("labels") or {}).get(labels.MANAGED_BY)
    if kind == POOL_KIND and made_by == labels.MANAGED_BY_VALUE:  # on demand, for a session
        kept["metadata"]["labels"] = {labels.MANAGED_BY: made_by}
    return kept


def _name(reference: Mapping[str, Any] | None) -> str:
    return (reference or {}).get("name", "")


def _quota_request(key: Key, raw: Mapping[str, Any]) -> QuotaRequest:
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    policy = ADMISSION_POLICIES[key.kind]
    return QuotaRequest(
        key=key,
        uid=metadata["uid"],
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        priority=spec.get("priority", 0),
        tenant=_name(spec.get("tenantRef")),
        profile=_name(spec.get("profileRef")),
        active=policy.is_active(spec, status),
        max_pods=policy.max_pods(spec, status),
        finished=bool(status.get("completionTime")),
        deleted="deletionTimestamp" in metadata,
        status=status,
    )


def _queued_job(key: Key, raw: Mapping[str, Any]) -> QueuedJob | None:
    spec, status = raw.get("spec") or {}, raw.get("status") or {}
    pool = _pool_of_job(key.namespace, spec, status)
    if pool is None or status.get("completionTime") or "deletionTimestamp" in raw["metadata"]:
        return None
    return QueuedJob(pool, bool(status.get("startTime")) and not spec.get("suspend"))


def _pool_of_job(namespace: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Key | None:
    carrier = carrier_of(spec, status)
    return None if carrier is None or carrier.pool is None else Key(POOL_KIND, namespace, carrier.pool)


def _tenant(raw: Mapping[str, Any]) -> TenantRecord:
    metadata = raw["metadata"]
    return TenantRecord(
        name=metadata["name"],
        uid=metadata["uid"],
        created=metadata.get("creationTimestamp", ""),
        namespaces=tuple(raw["spec"].get("namespaces") or ()),
        max_active_deadline=(raw["spec"].get("limits") or {}).get("maxActiveDeadlineSeconds"),
    )


def _keys_of_pools(entry: Entry[ResourceRecord]) -> Iterable[Key]:
    place = entry.value.place
    return (pool_of(place),) if place is not None and place.open else ()


def _pools_of_queued(entry: Entry[ResourceRecord]) -> Iterable[Key]:
    queued = entry.value.queued
    return () if queued is None else (queued.pool,)


def pool_of(place: PlaceRequest) -> Key:
    """Return the key of the pool that a session names."""
    return Key(POOL_KIND, place.namespace, place.pool)


def _namespaces_of_places(entry: Entry[ResourceRecord]) -> Iterable[str]:
    place = entry.value.place
    return (entry.namespace,) if place is not None and place.has_place else ()


def _namespaces_of_requests(entry: Entry[ResourceRecord]) -> Iterable[str]:
    quota = entry.value.quota
    return (entry.namespace,) if quota is not None and not quota.finished and not quota.deleted else ()


def _namespaces_of_tenants(entry: Entry[ResourceRecord]) -> Iterable[str]:
    return () if entry.value.tenant is None else entry.value.tenant.namespaces


BY_KEY: Index[ResourceRecord, Key] = Index(lambda entry: (entry.value.key,))
BY_KIND: Index[ResourceRecord, str] = Index(lambda entry: (entry.value.key.kind,))
BY_PROFILE: Index[ResourceRecord, str] = Index(
    lambda entry: () if entry.value.finished or not entry.value.profile else (entry.value.profile,)
)
"""Resources that have not ended, by the RuntimeProfile that they name."""
SESSIONS_BY_POOL: Index[ResourceRecord, Key] = Index(_keys_of_pools)
"""Open sessions, by pool."""
JOBS_BY_POOL: Index[ResourceRecord, Key] = Index(_pools_of_queued)
"""Jobs that have not ended, by the pool that carries out their attempts."""
PLACES_BY_NAMESPACE: Index[ResourceRecord, str] = Index(_namespaces_of_places)
"""Sessions that have a place, by namespace."""
REQUESTS_BY_NAMESPACE: Index[ResourceRecord, str] = Index(_namespaces_of_requests)
"""Resources that ask for admission and have neither ended nor are being deleted, by namespace."""
TENANTS_BY_NAMESPACE: Index[ResourceRecord, str] = Index(_namespaces_of_tenants)
"""Tenants whose specs name a namespace; the most senior of them has it."""
BY_TENANT: Index[QuotaRecord, str] = Index(lambda entry: (entry.value.tenant,))
"""TenantQuotas by the name of their Tenant."""
BY_RESERVATION: Index[QuotaRecord, OwnerKey] = Index(lambda entry: entry.value.reservations)
"""TenantQuotas that hold a reservation for a resource."""
BY_NAME: Index[dict[str, Any], str] = Index(lambda entry: (entry.value["metadata"]["name"],))
"""RuntimeProfiles by name."""

RESOURCE_INDEXES: tuple[Index[ResourceRecord, Any], ...] = (
    BY_KIND,
    BY_PROFILE,
    SESSIONS_BY_POOL,
    JOBS_BY_POOL,
    PLACES_BY_NAMESPACE,
    REQUESTS_BY_NAMESPACE,
    TENANTS_BY_NAMESPACE,
)
