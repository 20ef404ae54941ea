"""Admission checks of a resource, from the Tenants as observed; the same for jobs, pools and sessions.

Apart from the snapshots of Tenants, which read those of jobs and pools, which read this.
"""

from __future__ import annotations

from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.object_cache import BY_OWNER, OwnerKey
from steno_operator.control.cache.resource_records import BY_KEY, BY_NAME, TENANT_KIND
from steno_operator.control.kube.keys import Key
from steno_operator.plan.common.admission import Admission
from steno_operator.plan.tenant.admission import ObservedQuota, Reservation, check_admission


def admission_of(
    state: ClusterState, owner: OwnerKey, *, requested_tenant: str | None = None, gpus: int = 0
) -> Admission:
    """Return whether something may be started for a resource.

    Args:
        state: what is observed.
        owner: the resource.
        requested_tenant: the tenant that its spec names.
        gpus: accelerators that would be started now.
    """
    tenant, reserving = state.tenant_of(owner.namespace), state.reserving_quota(owner)
    entry = None if reserving is None else reserving.reservations[owner]
    requested = Key(TENANT_KIND, "", requested_tenant or "")
    quota = ObservedQuota(
        namespace=owner.namespace,
        reservation=None
        if reserving is None or entry is None
        else Reservation(reserving.tenant, entry.gpus, bool(entry.releasing)),
        tenant=None if tenant is None else tenant.name,
        requested_tenant=requested.name,
        requested_tenant_exists=bool(state.resources.by_index(BY_KEY, requested)),
        pending=None if tenant is None else state.pending.of_tenant(tenant.name).get(owner.uid),
        gpus=gpus,
    )
    return check_admission(quota, tenant_required=state.tenant_required)


def accelerators_of(state: ClusterState, owner: OwnerKey, profile: str) -> int | None:
    """Return how many accelerators a resource occupies once its work is started or resumed.

    A child keeps what its profile gave it, whatever the profile gives by now.

    Args:
        state: what is observed.
        owner: the resource.
        profile: name of its RuntimeProfile.

    Returns:
        None when there is neither a child at work nor a profile of that name.
    """
    children = (job.value.child for job in state.jobs.by_index(BY_OWNER, owner))
    counts = [child.accelerators for child in children if not child.done]
    for found in state.profiles.by_index(BY_NAME, profile):
        accelerator = (found.value.get("spec") or {}).get("accelerator")
        counts.append(0 if accelerator is None else int(accelerator.get("count", 1)))
    return max(counts, default=None)
