"""Admission checks: whether a Tenant lets a resource start, from a reservation, a namespace and a reason on record.

The Tenant's own plan reserves quota (`planner`); this is what the plans of all other kinds are answered from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from steno_api.v1alpha1.reasons import Reason
from steno_operator.plan.common.admission import NOT_REQUIRED, Admission, refused, waiting


@dataclass(frozen=True, slots=True)
class Reservation:
    """A Tenant's quota reservation for one resource."""

    tenant: str
    gpus: int = 0
    servers: int | None = None
    releasing: bool = False
    """Nothing may be started on it any more: it is about to be released."""


@dataclass(frozen=True, slots=True)
class ObservedQuota:
    """What is known of the quota of one resource: plain values, looked up by the caller."""

    namespace: str
    reservation: Reservation | None = None
    tenant: str | None = None
    """The Tenant that has the namespace; None when no Tenant has it."""
    requested_tenant: str = ""
    """The tenant that the resource's spec names."""
    requested_tenant_exists: bool = False
    """A Tenant of that name exists, whichever namespaces it has."""
    namesake: bool = False
    """A Tenant has the namespace's name: without a Tenant of its own, the namespace would be metered as that one."""
    pending: Admission | None = None
    """Why the Tenant's latest plan did not admit the resource; None when it said nothing of it."""
    gpus: int = 0
    """Accelerators that would be started now."""


def check_admission(quota: ObservedQuota, *, tenant_required: bool) -> Admission:
    """Return whether something may be started for a resource.

    Args:
        quota: what is known of the resource's quota.
        tenant_required: whether work in a namespace of no Tenant is refused.
    """
    reservation = quota.reservation
    if reservation is not None:
        if not reservation.releasing and quota.gpus <= reservation.gpus:
            return Admission(
                "Admitted",
                tenant=reservation.tenant,
                reserved=True,
                gpus=reservation.gpus,
                servers=reservation.servers,
            )
        message = (
            f'The quota reserved in Tenant "{reservation.tenant}" is being released; a new reservation is requested'
            " after that."
        )
        return waiting(Reason.WAITING_FOR_ADMISSION, message, reservation.tenant, reserved=True)
    tenant, requested = quota.tenant, quota.requested_tenant
    if requested and requested != tenant and (tenant is not None or quota.requested_tenant_exists):
        return _wrong_tenant(quota)
    if tenant is None and not requested and quota.namesake:
        return _namesake(quota.namespace)
    if tenant is None:
        return _without_tenant(quota.namespace) if tenant_required else NOT_REQUIRED
    unplanned = f'Tenant "{tenant}" has not been reconciled yet.'
    return quota.pending or waiting(Reason.WAITING_FOR_ADMISSION, unplanned, tenant)


def _wrong_tenant(quota: ObservedQuota) -> Admission:
    whose = f'Tenant "{quota.tenant}" has it' if quota.tenant is not None else "no Tenant has it"
    message = (
        f'Tenant "{quota.requested_tenant}" does not have namespace "{quota.namespace}" ({whose}): create the resource'
        " again without spec.tenantRef, or in another namespace."
    )
    return refused(Reason.TENANT_MISMATCH, message, quota.tenant or "")


def _namesake(namespace: str) -> Admission:
    message = (
        f'Tenant "{namespace}" does not have the namespace of its name, whose work would be metered as that of the'
        " Tenant: have the namespace added to a Tenant, or create the resource again with a spec.tenantRef that is no"
        " Tenant's."
    )
    return refused(Reason.TENANT_MISMATCH, message)


def _without_tenant(namespace: str) -> Admission:
    message = (
        f'No Tenant has namespace "{namespace}": ask the administrator to create one, or to add the namespace to an'
        " existing one."
    )
    return refused(Reason.NO_TENANT, message)
