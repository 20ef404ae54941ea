"""Labels and names of children: how the operator finds what it made, and what its pods are selected by."""

from __future__ import annotations

import re
from typing import Any

from steno_api import GROUP
from steno_api.v1alpha1.meta import Resource

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "steno"
NAME = "app.kubernetes.io/name"
NAME_VALUE = "steno-worker"
KIND = f"{GROUP}/kind"
JOB = f"{GROUP}/job"
JOB_UID = f"{GROUP}/job-uid"
ATTEMPT = f"{GROUP}/attempt"
TENANT = f"{GROUP}/tenant"
SERVER_VALUE = "steno-server"
"""Label `app.kubernetes.io/name` of a pool's pods."""
POOL = f"{GROUP}/pool"
POOL_UID = f"{GROUP}/pool-uid"
DIGEST = f"{GROUP}/digest"
"""Annotation: digest of what was applied."""
SUSPENDED = f"{GROUP}/suspended"
"""Annotation of a child Job: the operator suspended it, not another controller."""
DEADLINE = f"{GROUP}/active-deadline-seconds"
"""Annotation of a child Job: the deadline that the operator gave it; a policy may have set another."""

_ATTEMPT = re.compile(r"[1-9][0-9]{0,4}")

CHILD_SELECTOR = f"{MANAGED_BY}={MANAGED_BY_VALUE}"
"""Label selector of everything the operator made."""
JOB_SELECTOR = f"{CHILD_SELECTOR},{JOB_UID}"
"""Label selector of what it made for jobs."""
POOL_SELECTOR = f"{CHILD_SELECTOR},{POOL_UID}"
"""Label selector of what it made for pools."""


def child_name(name: str, attempt: int) -> str:
    """Return the name of an attempt's child Job: always the same, so creating it twice makes one."""
    return f"{name}-{attempt}"


def attempt_of(child: str, name: str) -> int | None:
    """Return the attempt whose child Job has a name: the inverse of `child_name`; None if no child is named so.

    A Job's name cannot be changed, unlike its labels, and holds no number that is too high to count to.

    Args:
        child: the Job's name.
        name: that of the resource.
    """
    prefix, _, number = child.rpartition("-")
    return int(number) if prefix == name and _ATTEMPT.fullmatch(number) else None


def child_labels(*, kind: str, name: str, uid: str, tenant: str, attempt: int) -> dict[str, str]:
    """Return the labels of a child Job and its pods; the CRDs only allow values that may be in a label."""
    return {
        MANAGED_BY: MANAGED_BY_VALUE,
        NAME: NAME_VALUE,
        KIND: kind,
        JOB: name,
        JOB_UID: uid,
        ATTEMPT: str(attempt),
        TENANT: tenant,
    }


def pool_child_name(pool: str) -> str:
    """Return the name of a pool's Deployment and Service."""
    return f"{pool}-pool"


def pool_labels(*, name: str, uid: str, tenant: str) -> dict[str, str]:
    """Return the labels of a pool's Deployment, Service and pods."""
    return {
        MANAGED_BY: MANAGED_BY_VALUE,
        NAME: SERVER_VALUE,
        KIND: "RuntimePool",
        POOL: name,
        POOL_UID: uid,
        TENANT: tenant,
    }


def default_tenant(requested: str | None, namespace: str | None) -> str:
    """Return who pays where no Tenant has the namespace: the tenant that the spec names, else the namespace."""
    return requested or namespace or "default"


def pool_selector(uid: str) -> dict[str, str]:
    """Return the labels that select a pool's pods: they never change."""
    return {MANAGED_BY: MANAGED_BY_VALUE, POOL_UID: uid}


def owner_reference(owner: Resource) -> dict[str, Any]:
    """Return the reference that makes `owner` the controller of a child."""
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
