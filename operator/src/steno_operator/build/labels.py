"""Labels and names of children: how the operator finds what it made, and what its pods are selected by."""

from __future__ import annotations

from steno_api import GROUP

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "steno"
NAME = "app.kubernetes.io/name"
NAME_VALUE = "steno-worker"
KIND = f"{GROUP}/kind"
JOB = f"{GROUP}/job"
JOB_UID = f"{GROUP}/job-uid"
ATTEMPT = f"{GROUP}/attempt"
TENANT = f"{GROUP}/tenant"

CHILD_SELECTOR = f"{MANAGED_BY}={MANAGED_BY_VALUE}"
"""Label selector of everything the operator made."""


def child_name(name: str, attempt: int) -> str:
    """Returns the name of an attempt's child Job: always the same, so creating it twice makes one."""
    return f"{name}-{attempt}"


def child_labels(*, kind: str, name: str, uid: str, tenant: str, attempt: int) -> dict[str, str]:
    """Returns the labels of a child Job and its pods; the CRDs see to it that each value may stand in a label."""
    return {
        MANAGED_BY: MANAGED_BY_VALUE,
        NAME: NAME_VALUE,
        KIND: kind,
        JOB: name,
        JOB_UID: uid,
        ATTEMPT: str(attempt),
        TENANT: tenant,
    }
