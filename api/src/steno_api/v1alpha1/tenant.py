"""Tenant: which namespaces belong together, and what their work may use at a time and in a day."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, Field

from steno_api.model import Model
from steno_api.rules import Pattern, Rule
from steno_api.v1alpha1.meta import ConditionedStatus, PrinterColumn, Resource, ResourceDefinition

MAX_RESERVATIONS = 1000
"""Entries of a Tenant's ledger at most, whatever its limits: it must fit into one object."""

MAP_BY_UID: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"]}

NamespaceName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Pattern(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "must be a namespace's name: lower-case letters, digits and '-'"),
]


class TenantLimits(Model):
    """An absent limit does not limit; 0 allows nothing."""

    gpus: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Accelerators that its jobs and the servers of its RuntimePools may hold at a time, as their RuntimeProfiles count
    them. A pool holds those of all the servers it may come to have, from its first session to its last server's end."""
    concurrent_jobs: Annotated[int, Field(ge=0, le=MAX_RESERVATIONS)] | None = None
    """Jobs that may be started and not ended at a time."""
    streams: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Stream sessions that may be open at a time; one more is refused."""
    audio_minutes_per_day: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    """Minutes of audio a day (UTC): a limit on starting. Once what has ended comes to it, no TranscriptionJob and no
    stream is let in until the day is over. Work that was let in before is finished, however long its audio, and
    counted: the day may come to more than this, by what the tenant may have at work at a time."""
    pages_per_day: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    """Pages a day (UTC), for OCRJobs likewise."""


class TenantSpec(Model):
    """Who the tenant is, and what it may use."""

    namespaces: Annotated[
        list[NamespaceName],
        Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Its namespaces. One that an older Tenant has stays with that; all must be served by one operator."""
    limits: TenantLimits = TenantLimits()
    """What its jobs and streams may use together."""


class TenantUsage(Model):
    """What the tenant uses now, and used today."""

    gpus: int = Field(default=0, ge=0)
    """Accelerators that admitted jobs hold."""
    running_jobs: int = Field(default=0, ge=0)
    """Jobs that are admitted and not ended."""
    queued_jobs: int = Field(default=0, ge=0)
    """Jobs that wait for their turn."""
    streams: int = Field(default=0, ge=0)
    """Stream sessions that are admitted and not ended."""
    audio_millis_today: int = Field(default=0, ge=0)
    """Milliseconds of audio of what ended on `day`."""
    audio_minutes_today: int = Field(default=0, ge=0)
    """The same in whole minutes, rounded down, for people."""
    pages_today: int = Field(default=0, ge=0)
    """Pages of what ended on `day`."""


class QuotaReservation(Model):
    """One job, stream or pool that was let in and holds its share until nothing of it works any more."""

    uid: str
    """The resource's UID."""
    kind: str
    """Its kind."""
    namespace: str
    """Its namespace."""
    name: str
    """Its name."""
    gpus: int = Field(default=0, ge=0)
    """Accelerators it holds."""
    jobs: int = Field(default=0, ge=0)
    """Jobs it counts as."""
    streams: int = Field(default=0, ge=0)
    """Streams it counts as."""
    since: AwareDatetime
    """When it was let in."""
    releasing: bool | None = None
    """True: nothing may be started on it any more; it is given up once nothing of it works."""


class TenantStatus(ConditionedStatus):
    """Observed state; written by the operator only."""

    phase: Literal["Ready", "Stalled"] | None = None  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    """Derived from the conditions, for people; programs read the conditions."""
    day: str | None = None
    """The day (UTC) that the usage of today is of, such as 2026-11-21."""
    usage: TenantUsage | None = None
    """What is used."""
    reservations: Annotated[
        list[QuotaReservation], Field(max_length=MAX_RESERVATIONS, json_schema_extra=MAP_BY_UID)
    ] = Field(default_factory=list[QuotaReservation])
    """The ledger: nothing of the tenant starts without an entry, and the sum of the entries never passes a limit."""


class Tenant(Resource):
    """Namespaces that belong together, with limits on what their work uses at a time and in a day."""

    definition: ClassVar[ResourceDefinition] = ResourceDefinition(
        kind="Tenant",
        plural="tenants",
        short_names=("tn",),
        scope="Cluster",
        columns=(
            PrinterColumn("GPUs", ".status.usage.gpus", "integer", "Accelerators in use"),
            PrinterColumn("GPU-Limit", ".spec.limits.gpus", "integer"),
            PrinterColumn("Running", ".status.usage.runningJobs", "integer", "Jobs let in"),
            PrinterColumn("Queued", ".status.usage.queuedJobs", "integer", "Jobs that wait"),
            PrinterColumn("Minutes", ".status.usage.audioMinutesToday", "integer", "Minutes of audio today"),
            PrinterColumn("Pages", ".status.usage.pagesToday", "integer", "Pages today", wide=True),
            PrinterColumn("Streams", ".status.usage.streams", "integer", wide=True),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(Rule("size(self.metadata.name) <= 63", "metadata.name must be at most 63 characters: it is a label"),),
    )
    kind: Literal["Tenant"] = "Tenant"  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    spec: TenantSpec
    status: TenantStatus = TenantStatus()
