"""What the planners of pools and sessions see."""

from __future__ import annotations

from dataclasses import dataclass

from steno_api.server.reports import SessionReport
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.v1alpha1.streamsession import StreamSession
from steno_operator.plan.admission import NOT_REQUIRED, Admission
from steno_operator.plan.observed import ObservedPod


@dataclass(frozen=True)
class ObservedServer:
    """One pod of a pool."""

    pod: ObservedPod
    ready: bool = False
    """The pod's condition `Ready`: the server is warm."""
    last_words: str = ""
    """How the container ended before it was started anew, with the end of its log."""


@dataclass(frozen=True)
class ObservedDeployment:
    """A pool's Deployment."""

    digest: str
    """Of the manifest that was applied."""
    replicas: int
    """`spec.replicas`."""
    total: int = 0
    ready: int = 0
    settled: bool = False
    """Its controller has seen the spec, and every pod is made from it."""
    failure: str = ""
    """Message of a true `ReplicaFailure` condition: why no pod can be created."""


@dataclass(frozen=True)
class ObservedPool:
    """A pool, what exists because of it, and who wants it."""

    pool: RuntimePool
    profile: RuntimeProfile | None
    deployment: ObservedDeployment | None = None
    service_digest: str | None = None
    """Of the Service's manifest that was applied; None when there is none."""
    servers: tuple[ObservedServer, ...] = ()
    sessions: int = 0
    """Open sessions that were accepted and admitted."""
    admission: Admission = NOT_REQUIRED
    token_keys: tuple[str, ...] = ()
    """Public keys (PEM); none while the operator has no signing key."""
    foreign: frozenset[str] = frozenset()
    """Kinds of children in whose place something else stands: `Deployment`, `Service`."""
    refusal: str = ""
    """Why the API server refused what this very snapshot's plan applied."""
    refusal_final: bool = False


@dataclass(frozen=True)
class Connection:
    """A server's latest report of a session."""

    report: SessionReport
    pod: str
    """The server's pod."""


@dataclass(frozen=True)
class ObservedSession:
    """A session, its pool, its rank among those that want a place there, and what servers say of it."""

    session: StreamSession
    pool: RuntimePool | None
    admission: Admission = NOT_REQUIRED
    ahead: int = 0
    """Open sessions that have a place, or will get one before this one does."""
    key_id: str = ""
    """Of the operator's signing key; empty while there is none."""
    connection: Connection | None = None
    silent: bool = False
    """The pod that `status.podName` names is there and has not reported since this operator began: what the status
    says of the connection still stands."""
    figures_due: bool = False
    """At least `Policy.progress_interval` passed since this session's status was written."""
    refusal: str = ""
    """Why the API server refused what this very snapshot's plan made."""
