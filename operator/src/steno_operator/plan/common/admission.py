"""Admission: what a resource requests from its Tenant's quota, and the answer. The same for every kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from steno_api.usage import Work
from steno_api.v1alpha1.reasons import Reason
from steno_operator.manifests.labels import default_tenant
from steno_operator.plan.common.carriers import carrier_of
from steno_operator.plan.common.usage import NOTHING, read_record, record_work

State = Literal["NotRequired", "Admitted", "Waiting", "Refused"]
Meter = Literal["audio", "pages"]


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a resource's Tenant lets something be started for it."""

    state: State
    reason: str = ""
    """Of `Waiting` and `Refused`: one of `Reason`."""
    message: str = ""
    """For people; it changes only with the reason, or with an edit of the Tenant."""
    position: int | None = None
    """Place in the tenant's queue, from 1."""
    tenant: str = ""
    """The Tenant that decided, or has to; empty when no Tenant has the namespace."""
    reserved: bool = False
    """A Tenant holds a quota reservation for the resource: what it used is not accounted for yet."""
    gpus: int = 0
    """Of `Admitted`: accelerators that are reserved for it."""
    servers: int | None = None
    """Of `Admitted`: servers that are reserved for it; None: they were not counted."""

    @property
    def open(self) -> bool:
        """Whether something may be started."""
        return self.state in ("NotRequired", "Admitted")

    def billed_tenant(self, requested: str | None, namespace: str | None) -> str:
        """Return who pays: the Tenant that decided, else the tenant that the spec names, else the namespace."""
        return self.tenant or default_tenant(requested, namespace)


NOT_REQUIRED = Admission("NotRequired")


@dataclass(frozen=True, slots=True)
class Demand:
    """What a resource reserves of each limit while it is admitted."""

    gpus: int = 0
    jobs: int = 0
    streams: int = 0
    servers: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a resource has used so far."""

    audio_seconds: float = 0.0
    pages: int = 0

    def beyond(self, other: Usage) -> Usage:
        """Return what it has used beyond something that it had used before."""
        return Usage(max(0.0, self.audio_seconds - other.audio_seconds), max(0, self.pages - other.pages))


class AdmissionPolicy(Protocol):
    """How a kind of resource is admitted; the only thing that admission knows of a kind."""

    @property
    def queues(self) -> bool:
        """Whether it waits in a queue; otherwise it is refused when there is no room."""
        ...

    @property
    def goes_first(self) -> bool:
        """Whether it comes before all kinds that do not, even older ones and those of a higher priority."""
        ...

    @property
    def meter(self) -> Meter | None:
        """The daily limit that applies to it; None: none does."""
        ...

    @property
    def remedy(self) -> str:
        """What a user can do whose single resource exceeds a limit."""
        ...

    def is_active(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
        """Tell from a raw spec and status whether the resource is to be started at all."""
        ...

    def max_pods(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:
        """Return from a raw spec and status how many pods the resource may have at a time."""
        ...

    def demand(self, gpus: int | None, pods: int) -> Demand | None:
        """Return what it reserves, given its pods and their accelerators (None: its RuntimeProfile does not exist)."""
        ...

    def usage(self, status: Mapping[str, Any], said: Mapping[str, Work]) -> Usage:
        """Return what it used, from its raw status and what processes say (see `record_work`)."""
        ...


class _JobPolicy:
    """A job waits in the queue and reserves its profile's accelerators; in a pool, they are the pool's."""

    queues = True
    goes_first = False
    remedy = "name another profile in a new resource"

    def __init__(self, meter: Meter) -> None:
        self.meter: Meter | None = meter

    def is_active(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
        return not spec.get("suspend") and carrier_of(spec, status) is not None

    def max_pods(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:
        carrier = carrier_of(spec, status)
        return 0 if carrier is None else carrier.own_pods

    def demand(self, gpus: int | None, pods: int) -> Demand | None:
        if not pods:
            return Demand(jobs=1)
        return None if gpus is None else Demand(gpus=gpus, jobs=1)

    def usage(self, status: Mapping[str, Any], said: Mapping[str, Work]) -> Usage:
        record = record_work(read_record(status), said) or NOTHING
        return Usage(record.audio_millis / 1000, record.pages)


class _SessionPolicy:
    """A session is refused when there is no room, since a client does not wait; its GPUs are its pool's."""

    queues = False
    goes_first = False
    meter: Meter | None = "audio"
    remedy = ""

    def is_active(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:  # noqa: ARG002 - one shape for all
        return True

    def max_pods(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:  # noqa: ARG002
        return 0

    def demand(self, gpus: int | None, pods: int) -> Demand | None:  # noqa: ARG002
        return Demand(streams=1)

    def usage(self, status: Mapping[str, Any], said: Mapping[str, Work]) -> Usage:
        stats: dict[str, Any] = status.get("stats") or {}
        record = record_work(read_record(status), said) or NOTHING  # of uploads
        return Usage(stats.get("audioSeconds", 0.0) + record.audio_millis / 1000, record.pages)


class _PoolPolicy:
    """A pool goes first in the queue, since a client waits for it.

    From its first session or job to the end of its last server it reserves all servers it may have, and their
    accelerators.
    """

    queues = True
    goes_first = True
    meter: Meter | None = None
    remedy = "lower the pool's maxReplicas"

    def is_active(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
        fixed = spec.get("replicas")
        return bool(
            fixed
            if fixed is not None
            else spec.get("minReplicas") or status.get("sessions") or status.get("queuedJobs")
        )

    def max_pods(self, spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:  # noqa: ARG002
        fixed = spec.get("replicas")
        return int(spec.get("maxReplicas", 1) if fixed is None else fixed)

    def demand(self, gpus: int | None, pods: int) -> Demand | None:
        return None if gpus is None else Demand(gpus=gpus, servers=pods)

    def usage(self, status: Mapping[str, Any], said: Mapping[str, Work]) -> Usage:  # noqa: ARG002
        return Usage()


ADMISSION_POLICIES: dict[str, AdmissionPolicy] = {
    "TranscriptionJob": _JobPolicy("audio"),
    "OCRJob": _JobPolicy("pages"),
    "StreamSession": _SessionPolicy(),
    "RuntimePool": _PoolPolicy(),
}
"""The kinds that request admission."""


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """One resource of a Tenant, as the Tenant's plan sees it."""

    uid: str
    kind: str
    namespace: str
    name: str
    created: datetime
    policy: AdmissionPolicy
    demand: Demand | None
    """None while its RuntimeProfile does not exist: nothing can start."""
    priority: int = 0
    finished: bool = False
    """It ended or is deleted: nothing will be started for it any more."""
    active: bool = True
    """It is in the Tenant's namespaces, not suspended, and names no other tenant. False when it is `finished`."""
    running: bool = False
    """Something of it works, or may."""
    reconciling: bool = False
    """It is being reconciled at this moment: something may be about to start on an admission that was read before."""
    usage: Usage = Usage()
    usage_pending: bool = False
    """Its status does not say yet all that it used, or that it published: it is about to."""


def waiting(
    reason: Reason, message: str, tenant: str, *, position: int | None = None, reserved: bool = False
) -> Admission:
    """Return the answer to a resource that waits.

    Args:
        reason: what it waits for.
        message: the same for people.
        tenant: the Tenant that decided.
        position: its place in the queue, from 1.
        reserved: whether a quota reservation exists for it.
    """
    return Admission("Waiting", str(reason), message, position, tenant, reserved)


def refused(reason: Reason, message: str, tenant: str = "") -> Admission:
    """Return the answer to a resource that cannot be admitted as it is.

    Args:
        reason: why it is refused.
        message: the same for people.
        tenant: the Tenant that decided; empty when there is none.
    """
    return Admission("Refused", str(reason), message, tenant=tenant)
