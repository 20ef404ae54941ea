"""Plans: actions in order, the new status, and when to requeue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar

from steno_api.model import Model
from steno_api.server.claims import SessionClaims
from steno_api.v1alpha1.job import JobStatus
from steno_api.v1alpha1.runtimepool import RuntimePoolStatus
from steno_api.v1alpha1.streamsession import StreamSessionStatus
from steno_api.v1alpha1.tenantquota import TenantQuota, TenantQuotaStatus
from steno_queue.message import Message

Status = TypeVar("Status", bound=Model)


@dataclass(frozen=True)
class StartAttempt:
    """Create the child Job of an attempt; a Job of that name with our owner UID is success."""

    attempt: int
    manifest: dict[str, Any]


@dataclass(frozen=True)
class StopAttempt:
    """Delete a child Job and, in the foreground, its pods; one that is gone is success."""

    name: str
    uid: str


@dataclass(frozen=True)
class SuspendAttempt:
    """Set `spec.suspend` of a child Job: Kubernetes stops or restarts its pods."""

    name: str
    uid: str
    suspend: bool


@dataclass(frozen=True)
class SetDeadline:
    """Set `spec.activeDeadlineSeconds` of a child Job: the resource's own was changed after the attempt's start."""

    name: str
    uid: str
    seconds: int | None
    """None: without a deadline."""


@dataclass(frozen=True)
class PublishAttempt:
    """Put an attempt into its pool's queue; one that is there is success."""

    pool: str
    attempt: int
    message: Message


@dataclass(frozen=True)
class ApplyChild:
    """Apply a pool's Deployment or Service, whole; one of that name that is not ours is left alone."""

    manifest: dict[str, Any]


@dataclass(frozen=True)
class CreatePool:
    """Create a RuntimePool on demand; an existing one of that name is success."""

    manifest: dict[str, Any]


@dataclass(frozen=True)
class IssueToken:
    """Sign a session's token and put it into its Secret."""

    claims: SessionClaims
    secret: dict[str, Any]
    """The Secret's manifest, without the token."""


@dataclass(frozen=True)
class CreateQuota:
    """Create a Tenant's TenantQuota; one of that name that is not this Tenant's makes way."""

    manifest: dict[str, Any]


@dataclass(frozen=True)
class WriteQuota:
    """Write the status of a TenantQuota over the very version that it was made from, or not at all."""

    quota: TenantQuota
    """As it is."""
    status: TenantQuotaStatus


@dataclass(frozen=True)
class DeleteResource:
    """Delete the custom resource itself (`ttlPolicy: DeleteResource`)."""

    uid: str


@dataclass(frozen=True)
class EmitEvent:
    """Emit an Event on the custom resource. Best effort; never blocks the rest."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


Action = (
    StartAttempt
    | StopAttempt
    | SuspendAttempt
    | SetDeadline
    | PublishAttempt
    | ApplyChild
    | CreatePool
    | IssueToken
    | CreateQuota
    | WriteQuota
    | DeleteResource
    | EmitEvent
)


@dataclass(frozen=True)
class PlanOf(Generic[Status]):
    """The decision for one resource at one instant."""

    actions: tuple[Action, ...]
    status: Status
    """The whole new status, to be written once the actions are done."""
    requeue_after: timedelta | None = None
    """Requeue after this long even if nothing changes; None: only on a change."""
    requires_live_read: bool = False
    """The plan pays, destroys or may conclude from an absence (a new attempt, a stop, a failure): unless the resource
    and its children were read live just now, read them and plan again before carrying it out."""


Plan = PlanOf[JobStatus]
"""The decision for a job of any kind."""

PoolPlan = PlanOf[RuntimePoolStatus]
"""The decision for a RuntimePool."""

SessionPlan = PlanOf[StreamSessionStatus]
"""The decision for a StreamSession."""

AnyPlan = PlanOf[Any]
"""The decision for a resource of any kind."""
