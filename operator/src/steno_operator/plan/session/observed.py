"""What the planner of sessions is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steno_api.server.reports import SessionReport
from steno_api.usage import Work
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.streamsession import StreamSession
from steno_operator.plan.common.admission import NOT_REQUIRED, Admission


@dataclass(frozen=True)
class Connection:
    """A server's latest report of a session."""

    report: SessionReport
    pod: str
    """The server's pod."""


@dataclass(frozen=True)
class ObservedSession:
    """A session, its pool, its place in that pool's queue, and what servers report of it."""

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
    says of the connection still holds."""
    uploads: Mapping[str, Work] = field(default_factory=dict[str, Work])
    """What servers say that they did for its uploads, by server run."""
    stats_due: bool = False
    """At least `Policy.progress_interval` passed since this session's status was written."""
    refusal: str = ""
    """Why the API server refused what this very snapshot's plan made."""
    holder: str | None = None
    """The Tenant that has the namespace; None when no Tenant has it."""
    accepted_keys: frozenset[str] = frozenset()
    """IDs of the keys whose tokens servers accept, besides the one that signs."""
