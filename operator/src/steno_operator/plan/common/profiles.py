"""Whether a job or pool may use its RuntimeProfile: it exists, and is for the Tenant of the namespace."""

from __future__ import annotations

from steno_api.v1alpha1.reasons import Reason
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_operator.plan.common.conditions import Fact


def usable_profile(profile: RuntimeProfile | None, name: str, tenant: str, *, remedy: str) -> RuntimeProfile | Fact:
    """Return the profile, or why nothing may be started with it: the condition Accepted.

    Args:
        profile: as observed; None if there is none.
        name: that the resource gives.
        tenant: which has the resource's namespace; empty if none has.
        remedy: how the user names another profile.
    """
    if profile is None:
        message = f'RuntimeProfile "{name}" does not exist: create it, or {remedy}.'
        return Fact(False, Reason.PROFILE_NOT_FOUND, message)
    if not profile.allows(tenant):
        whose = f'Tenant "{tenant}"' if tenant else "namespaces without a Tenant"
        message = f'RuntimeProfile "{name}" is not for {whose}: {remedy}, or have the Tenant added to allowedTenants.'
        return Fact(False, Reason.PROFILE_NOT_ALLOWED, message)
    return profile
