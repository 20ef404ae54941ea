"""The planner of Tenants: quota reservations and usage. Pure.

The Tenant's TenantQuota holds the reservations, and is the only authority: nothing of a tenant starts without one, and
new reservations are written over the very ones they were made from or not at all. So whichever replica plans, how often
and from however old a view, the reservations never sum up to more than a limit; work that runs without one is adopted
before anything is admitted. The Tenant's own status only sums the quota up, and is written after it.

Pools go first, then in order of priority, then age: a request that fits is admitted, and one that does not keeps its
demand reserved, so that others may pass only where they take nothing that it waits for. A job without GPUs passes one
that waits for GPUs (while there are job slots for both), a small GPU job never passes a large one, and the large one is
not starved. A request that cannot be admitted today (the day's minutes or pages are used up), or ever (it alone exceeds
a limit), reserves nothing.

A reservation is released when its resource has ended (or may not start anything any more, see `releasing`) and nothing
of it works. What it used is added to the day's usage in the same write of the quota, hence exactly once: what its
workers did, whatever became of it. A job that is suspended is charged for what it did until then; its next reservation
says so. What is under way is not charged yet, but nothing new is admitted that it leaves no room for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict

from steno_api.v1alpha1.meta import Condition
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.tenant import Tenant, TenantStatus, TenantUsage
from steno_api.v1alpha1.tenantquota import TenantQuota, TenantQuotaStatus
from steno_operator.manifests import labels
from steno_operator.plan.common.admission import Admission, AdmissionRequest
from steno_operator.plan.common.clock import earliest, truncate_to_seconds
from steno_operator.plan.common.conditions import Fact, Facts, holds
from steno_operator.plan.common.finish import Transition, finish
from steno_operator.plan.common.plan import Action, CreateQuota, PlanOf, WriteQuota
from steno_operator.plan.tenant.quota import (
    QuotaAllocator,
    add_usage,
    admission_order,
    adopt_running_work,
    pending_requests,
    settle_reservations,
    under_way,
    usage_of_day,
)

REFUSED_RECHECK = timedelta(seconds=10)
"""How soon to try again to create a quota that the API server refused."""


@dataclass(frozen=True)
class TenantPlan(PlanOf[TenantStatus]):
    """The decision for a Tenant."""

    pending: Mapping[str, Admission] | None = None
    """Why each resource that waits was not admitted, by UID; None: as the plan before said.

    Kept in memory only: the reservations are in the Tenant's quota, this explains why there is none.
    """


@dataclass(frozen=True)
class ObservedTenant:
    """A Tenant, and everything that requests admission of it."""

    tenant: Tenant
    quota: TenantQuota | None = None
    """Its quota; None while there is none that it owns."""
    requests: tuple[AdmissionRequest, ...] = ()
    """All that has not ended in the Tenant's namespaces, and all that has a reservation, even if it is gone by now."""
    taken: Mapping[str, str] = field(default_factory=dict[str, str])
    """Namespaces of its spec that an older Tenant has, and that Tenant's name."""
    served: Literal["all", "some", "none"] = "all"
    """Whether this operator serves its namespaces."""
    refusal: str = ""
    """Why the API server refused the quota that was to be created; empty: it did not."""

    @property
    def by_uid(self) -> Mapping[str, AdmissionRequest]:
        """The requests by the UID of their resource."""
        return {request.uid: request for request in self.requests}


class _Update(TypedDict, total=False):
    day: str
    usage: TenantUsage


def plan_tenant(observed: ObservedTenant, now: datetime) -> TenantPlan:
    """Return the quota and the status to write, why requests wait, and when to requeue.

    Args:
        observed: the Tenant and all requests.
        now: the present; any time zone.
    """
    now, tenant = truncate_to_seconds(now), observed.tenant
    if observed.served == "none" or tenant.metadata.deletion_timestamp is not None:  # another operator's, or going
        return TenantPlan((), tenant.status)
    if observed.served == "some":
        return _finish(observed, now, {})
    quota = observed.quota
    if quota is None:  # nothing is admitted before there is one; its creation brings the Tenant back here
        again = REFUSED_RECHECK if observed.refusal else None
        return _finish(observed, now, {}, actions=(CreateQuota(_manifest(tenant)),), requeue_after=again)
    requests = observed.by_uid
    kept, released, recheck = settle_reservations(quota.status.reservations, requests)
    kept += adopt_running_work(observed.requests, kept, now)  # started before the Tenant existed
    used = add_usage(usage_of_day(quota.status, tenant, now), released)  # in the write that releases them: exactly once
    queue = sorted(pending_requests(observed.requests, kept), key=admission_order)  # pools, priority, age, UID
    so_far = under_way(kept, requests)
    admitted, pending = QuotaAllocator(tenant, kept, used, so_far).admit(queue, now)
    status = used.model_copy(update={"reservations": admitted})
    write = (WriteQuota(quota, status),) if status != quota.status else ()
    usage = _usage(status, [request for request in queue if request.uid in pending])
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
    return _finish(
        observed,
        now,
        _Update(day=status.day or "", usage=usage),
        pending,
        actions=write,
        requeue_after=earliest(midnight - now, recheck),
    )


def _manifest(tenant: Tenant) -> dict[str, Any]:
    definition = TenantQuota.definition
    return {
        "apiVersion": f"{definition.group}/{definition.version}",
        "kind": definition.kind,
        "metadata": {
            "name": tenant.metadata.name,
            "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE},
            # Not blocking the Tenant's deletion: that would take a permission on its finalizers.
            "ownerReferences": [{**labels.owner_reference(tenant), "blockOwnerDeletion": False}],
        },
    }


def _usage(quota: TenantQuotaStatus, waiting: Sequence[AdmissionRequest]) -> TenantUsage:
    return TenantUsage(
        gpus=sum(reservation.gpus for reservation in quota.reservations),
        running_jobs=sum(reservation.jobs for reservation in quota.reservations),
        streams=sum(reservation.streams for reservation in quota.reservations),
        servers=sum(reservation.servers or 0 for reservation in quota.reservations),
        queued_jobs=sum(request.demand is not None and request.demand.jobs > 0 for request in waiting),
        audio_millis_today=quota.audio_millis,
        audio_minutes_today=quota.audio_millis // 60_000,
        pages_today=quota.pages,
    )


def _finish(
    observed: ObservedTenant,
    now: datetime,
    update: _Update,
    pending: Mapping[str, Admission] | None = None,
    *,
    actions: tuple[Action, ...] = (),
    requeue_after: timedelta | None = None,
) -> TenantPlan:
    tenant = observed.tenant
    transition = Transition(_facts(observed), update, actions, requeue_after)
    plan = finish(tenant.metadata, tenant.status, transition, now, phase_of=_phase)
    return TenantPlan(plan.actions, plan.status, plan.requeue_after, pending=pending)


def _phase(conditions: Sequence[Condition]) -> str:
    return "Ready" if holds(conditions, ConditionType.READY) else "Stalled"


def _facts(observed: ObservedTenant) -> Facts:
    stalled: Fact | None = None
    if observed.served == "some":
        message = (
            "No operator serves all of spec.namespaces: nothing is admitted. Make a Tenant for each operator's part."
        )
        stalled = Fact(True, Reason.NAMESPACE_NOT_SERVED, message)
    elif observed.taken:
        others = ", ".join(f'"{name}" (Tenant "{owner}")' for name, owner in sorted(observed.taken.items()))
        message = (
            f"An older Tenant has {others}: take them out of spec.namespaces here or there. The others are served."
        )
        stalled = Fact(True, Reason.NAMESPACE_TAKEN, message)
    elif observed.refusal:
        stalled = Fact(True, Reason.CHILD_REFUSED, f"The TenantQuota was refused: {observed.refusal}")
    if stalled is not None:
        return {
            ConditionType.READY: Fact(False, stalled.reason, stalled.message),
            ConditionType.RECONCILING: Fact(False, stalled.reason),
            ConditionType.STALLED: stalled,
        }
    return {
        ConditionType.READY: Fact(True, Reason.IN_FORCE, "The limits are in force."),
        ConditionType.RECONCILING: Fact(False, Reason.IN_FORCE),
        ConditionType.STALLED: Fact(False, Reason.IN_FORCE),
    }
