"""TenantQuota: a Tenant's quota reservations and the day's usage, apart from the Tenant that people read."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, Field

from steno_api.model import Model
from steno_api.usage import Work
from steno_api.v1alpha1.meta import PrinterColumn, Resource, ResourceDefinition
from steno_api.v1alpha1.tenant import MAX_RESERVATIONS

MAP_BY_UID: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"]}


class QuotaReservation(Model):
    """Share of the limits that an admitted job, stream or pool holds until nothing of it is running any more."""

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
    servers: int | None = Field(default=None, ge=0)
    """Servers a pool may have."""
    since: AwareDatetime
    """When it was admitted."""
    charged: Work | None = None
    """What the resource was charged for under earlier reservations: it is not charged for that again."""
    releasing: bool | None = None
    """True: nothing more may be started under it; it is released once nothing of the resource is running."""


class TenantQuotaStatus(Model):
    """What is reserved, and what was used on the day; written by the operator only, whole or not at all."""

    day: str | None = None
    """The day (UTC) of the usage, such as 2026-11-21."""
    audio_millis: int = Field(default=0, ge=0)
    """Milliseconds of audio of the work that ended on `day`."""
    pages: int = Field(default=0, ge=0)
    """Pages of the work that ended on `day`."""
    reservations: Annotated[
        list[QuotaReservation], Field(max_length=MAX_RESERVATIONS, json_schema_extra=MAP_BY_UID)
    ] = Field(default_factory=list[QuotaReservation])
    """Admitted work: nothing of the tenant starts without an entry, and the entries' sum never exceeds a limit."""


class TenantQuota(Resource):
    """The quota reservations of the Tenant of the same name, which owns it. Made and written by the operator only.

    Apart from the Tenant, so that `kubectl get tenant -o yaml` is for people however much work is admitted.
    """

    definition: ClassVar[ResourceDefinition] = ResourceDefinition(
        kind="TenantQuota",
        plural="tenantquotas",
        short_names=("tnq",),
        scope="Cluster",
        columns=(
            PrinterColumn("Day", ".status.day"),
            PrinterColumn("Audio-Millis", ".status.audioMillis", "integer", "Milliseconds of audio on that day"),
            PrinterColumn("Pages", ".status.pages", "integer", "Pages on that day"),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    kind: Literal["TenantQuota"] = "TenantQuota"  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    status: TenantQuotaStatus = TenantQuotaStatus()
