"""Tenant: namespaces that belong together, with limits on what their work uses at a time and in a day."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from steno_api.model import Model
from steno_api.rules import Pattern, Rule
from steno_api.v1alpha1.meta import ConditionedStatus, PrinterColumn, Resource, ResourceDefinition

MAX_RESERVATIONS = 1000
"""Maximum number of a Tenant's reservations, whatever its limits: they must fit into one object."""

NamespaceName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Pattern(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "must be a namespace's name: lower-case letters, digits and '-'"),
]


class TenantLimits(Model):
    """Limits of a Tenant. An absent limit means no limit; 0 allows nothing."""

    gpus: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Accelerators that its jobs and the servers of its RuntimePools may hold at a time, as their RuntimeProfiles count
    them. A pool holds those of its maximum number of servers, from its first session to the end of its last server."""
    concurrent_jobs: Annotated[int, Field(ge=0, le=MAX_RESERVATIONS)] | None = None
    """Jobs that may run at a time."""
    streams: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Stream sessions that may be open at a time; further ones are refused."""
    servers: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Servers that its RuntimePools may have at a time, with accelerators or without. A pool holds as many as it may
    have, from its first session to the end of its last server."""
    audio_minutes_per_day: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    """Minutes of audio a day (UTC): all that is decoded, whatever becomes of it, charged when the work ends. Once they
    and the work under way reach the limit, no TranscriptionJob or stream is admitted until the day is over. Work that
    was admitted before is finished and charged, so that a day's total can exceed the limit by the rest of it."""
    pages_per_day: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    """Pages a day (UTC), for OCRJobs; charged like minutes of audio."""
    max_active_deadline_seconds: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    """Longest `activeDeadlineSeconds` of its jobs: one that has a longer deadline, or none, ends as `DeadlineExceeded`
    this long after the start of its first attempt, as its condition `Admitted` says. It holds for running jobs, too."""


class TenantSpec(Model):
    """The tenant's namespaces and limits."""

    namespaces: Annotated[
        list[NamespaceName],
        Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Its namespaces. A namespace that an older Tenant has stays with that one. One operator must serve all of them."""
    limits: TenantLimits = TenantLimits()
    """What its jobs, streams and pools may use in total."""


class TenantUsage(Model):
    """What the tenant uses now, and has used today."""

    gpus: int = Field(default=0, ge=0)
    """Accelerators that admitted jobs and pools hold."""
    running_jobs: int = Field(default=0, ge=0)
    """Jobs that are admitted and have not ended."""
    queued_jobs: int = Field(default=0, ge=0)
    """Jobs that wait in the queue."""
    streams: int = Field(default=0, ge=0)
    """Stream sessions that are admitted and have not ended."""
    servers: int = Field(default=0, ge=0)
    """Servers that are reserved for admitted pools."""
    audio_millis_today: int = Field(default=0, ge=0)
    """Milliseconds of audio of the work that ended on `day`."""
    audio_minutes_today: int = Field(default=0, ge=0)
    """The same in whole minutes, rounded down, for people."""
    pages_today: int = Field(default=0, ge=0)
    """Pages of the work that ended on `day`."""


class TenantStatus(ConditionedStatus):
    """Observed state; written by the operator only. The reservations are in the TenantQuota of the same name."""

    phase: Literal["Ready", "Stalled"] | None = None  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    """Derived from the conditions, for people; programs read the conditions."""
    day: str | None = None
    """The day (UTC) of today's usage, such as 2026-11-21."""
    usage: TenantUsage | None = None
    """What the tenant uses now, and has used today."""


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
            PrinterColumn("Running", ".status.usage.runningJobs", "integer", "Jobs that are admitted"),
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
