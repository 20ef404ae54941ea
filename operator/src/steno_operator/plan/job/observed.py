"""What the planner of jobs is given: plain values read from the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from steno_api.usage import Work
from steno_api.v1alpha1.job import Progress
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_api.worker.termination import Failed, Succeeded
from steno_operator.plan.common.admission import NOT_REQUIRED, Admission
from steno_operator.plan.common.carriers import Carrier, resolve_carrier
from steno_operator.plan.common.pods import ObservedPod

Job = TranscriptionJob | OCRJob
"""Any job kind."""


def carrier_of_job(job: Job) -> Carrier | None:
    """Return what carries out the attempts of a job; None: `execution: Auto` has not been decided yet."""
    spec, chosen = job.spec, job.status.execution
    choice = None if chosen is None else Carrier(chosen.mode, chosen.pool)
    return resolve_carrier(spec.execution, None if spec.pool_ref is None else spec.pool_ref.name, choice)


def pool_name_of(job: Job) -> str:
    """Return the name of the pool that carries out the attempts of a job; empty: none does."""
    carrier = carrier_of_job(job)
    return "" if carrier is None else carrier.pool or ""


@dataclass(frozen=True)
class Deadline:
    """How long a job may take, from the start of its first attempt to the end."""

    seconds: int
    tenant: str = ""
    """The Tenant whose limit it is; empty: the job says so itself."""


@dataclass(frozen=True)
class PoolLoad:
    """A pool that may be chosen for a job."""

    pool: RuntimePool
    work: int
    """Its open sessions, and the jobs whose attempts it carries out."""


@dataclass(frozen=True)
class ObservedChild:
    """One child Job: an attempt."""

    name: str
    uid: str
    attempt: int
    created: datetime
    suspended: bool = False
    held: bool = False
    """Whatever suspends it was not the operator, by its own mark: another controller, such as Kueue."""
    halted: bool = False
    """Condition `Suspended`: the Job controller has done what `suspended` asks."""
    accelerators: int = 0
    """Extended resources that its pod asks for; its profile may have been edited since."""
    deadline: int | None = None
    """`spec.activeDeadlineSeconds` as the operator set it, by its own mark: when Kubernetes itself would stop it, in
    seconds from its start or resume."""
    deleting: bool = False
    succeeded: bool = False
    """Condition `Complete`."""
    failed: bool = False
    """Condition `Failed`."""
    failure_reason: str = ""
    """Reason of the condition `Failed`: `BackoffLimitExceeded`, `DeadlineExceeded`, `PodFailurePolicy`."""
    failure_message: str = ""
    finished: datetime | None = None
    warning: str = ""
    """Message of the latest `FailedCreate` Event: why the Job controller could not create the pod."""
    pods: tuple[ObservedPod, ...] = ()
    pods_read_live: bool = False
    """The pods were read after the Job was seen to have ended: that they say nothing is the truth, not a late watch."""

    @property
    def done(self) -> bool:
        """Whether Kubernetes counts the Job as finished."""
        return self.succeeded or self.failed

    @property
    def occupies_quota(self) -> bool:
        """Whether it may still use what its pods request: not done, and not stopped with every pod ended."""
        if self.done:
            return False
        stopped = self.halted if self.suspended else self.deleting and bool(self.pods)
        return not stopped or any(pod.works for pod in self.pods)


@dataclass(frozen=True)
class ObservedMessage:
    """What is known of the message of an attempt, beside the job's status: what workers and dead letters tell."""

    attempt: int
    last_sign: datetime
    """When a worker last reported of it or, if none did, when it was published, or first looked for."""
    worker: str | None = None
    """Name of the pod of the server that has it."""
    node: str | None = None
    ended: Succeeded | Failed | None = None
    """How the attempt ended."""
    ended_at: datetime | None = None
    refused: bool = False
    """A server refused the message: nothing was done."""
    work: Mapping[str, Work] = field(default_factory=dict[str, Work])
    """What workers said that they did, by process."""


@dataclass(frozen=True)
class ObservedJob:
    """A job, what exists because of it, and what it refers to."""

    job: Job
    profile: RuntimeProfile | None
    children: tuple[ObservedChild, ...] = ()
    """Child Jobs whose controller owner is this job's UID, by attempt."""
    pool: RuntimePool | None = None
    """The pool that carries the attempts out, if one does and there is one of the name."""
    message: ObservedMessage | None = None
    """Then: what is known of the latest message."""
    pools: tuple[PoolLoad, ...] = ()
    """Of `execution: Auto` that is not decided yet: the pools of the namespace."""
    conflicting: frozenset[str] = frozenset()
    """Names of Jobs in the way: named like a child, owned by something else."""
    progress: Progress | None = None
    """Latest report of the latest attempt, if any."""
    progress_due: bool = False
    """At least `Policy.progress_interval` passed since the caller last wrote this job's status: finer progress may
    go in."""
    work: Mapping[str, Work] = field(default_factory=dict[str, Work])
    """What workers said when they ended that they did, by process; of those whose pods are gone, too."""
    reported: Mapping[str, Work] = field(default_factory=dict[str, Work])
    """What the worker that reported last has done so far, by process."""
    admission: Admission = NOT_REQUIRED
    """Whether an attempt may be started, as far as the job's Tenant goes."""
    deadline_limit: Deadline | None = None
    """The longest deadline that the Tenant of its namespace allows; None: any."""
    refusal: str = ""
    """Why the API server refused the `StartAttempt` of this very snapshot's plan (403, 422), or the queue server the
    `PublishAttempt`: the caller plans once more with it to get the status to write; it is not remembered."""
    refusal_final: bool = False
    """No retry can mend the refusal: the manifest is invalid, or forbidden for another reason than a quota; or the
    message is too large."""

    @property
    def deadline(self) -> Deadline | None:
        """The deadline in force: the job's own, or its Tenant's limit if that is shorter; None: there is none."""
        own, limit = self.job.spec.active_deadline_seconds, self.deadline_limit
        if own is None or (limit is not None and limit.seconds < own):
            return limit
        return Deadline(own)
