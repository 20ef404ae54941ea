"""What the planner of pools is given."""

from __future__ import annotations

from dataclasses import dataclass

from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_operator.plan.common.admission import NOT_REQUIRED, Admission
from steno_operator.plan.common.pods import ObservedPod


@dataclass(frozen=True)
class ObservedServer:
    """One pod of a pool."""

    pod: ObservedPod
    ready: bool = False
    """The pod's condition `Ready`: the server is warm."""
    last_exit: str = ""
    """How the container ended before it was restarted, with the end of its log."""


@dataclass(frozen=True)
class ObservedDeployment:
    """A pool's Deployment."""

    digest: str
    """Of the manifest that was applied."""
    replicas: int
    """`spec.replicas`."""
    total: int = 0
    ready: int = 0
    rolled_out: bool = False
    """Its controller has seen the spec, and every pod is made from it."""
    failure: str = ""
    """Message of a true `ReplicaFailure` condition: why no pod can be created."""
    token_keys: tuple[str, ...] = ()
    """Public keys (PEM) that its servers are started with."""


@dataclass(frozen=True)
class ObservedPool:
    """A pool, its children, and how many sessions need it."""

    pool: RuntimePool
    profile: RuntimeProfile | None
    deployment: ObservedDeployment | None = None
    service_digest: str | None = None
    """Of the Service's manifest that was applied; None when there is none."""
    servers: tuple[ObservedServer, ...] = ()
    sessions: int = 0
    """Open sessions that were accepted and admitted."""
    jobs: int = 0
    """Jobs with an attempt in the pool's queue, or with one to follow."""
    admission: Admission = NOT_REQUIRED
    token_keys: tuple[str, ...] = ()
    """Public keys (PEM) of tokens; none while the operator has no signing key."""
    held_keys: frozenset[str] = frozenset()
    """Public keys (PEM) that a server may be started with, since it is told the others."""
    conflicting: frozenset[str] = frozenset()
    """Kinds of children whose name another object has: `Deployment`, `Service`."""
    refusal: str = ""
    """Why the API server refused what this very snapshot's plan applied."""
    refusal_final: bool = False
