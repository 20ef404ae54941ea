"""Fields common to every kind of job: the lifecycle half of its spec, and its status except the summary."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from steno_api.documents.manifest import MAX_COUNT
from steno_api.documents.warnings import MAX_SUMMARIES, WarningSummary
from steno_api.model import Model
from steno_api.rules import Rule
from steno_api.usage import WorkRecord
from steno_api.v1alpha1.common import (
    ClientMetadata,
    LastFailure,
    Output,
    Phase,
    PoolRef,
    ProfileRef,
    QueueStatus,
    Results,
    Source,
    TenantRef,
)
from steno_api.v1alpha1.meta import ConditionedStatus

JOB_NAME_RULE = Rule(
    "size(self.metadata.name) <= 57",
    "metadata.name must be at most 57 characters: child Jobs are named <name>-<attempt>",
)

OWN_POD = "!has(self.execution) || self.execution != 'Pool'"
"""The part of a rule that holds for attempts in pods of their own."""

EXECUTION_RULES = (
    Rule(
        "!has(self.poolRef) || has(self.execution) && self.execution in ['Pool', 'Auto']",
        "poolRef is for execution: Pool and Auto only",
        ".poolRef",
    ),
    *(
        Rule(
            f"{OWN_POD} || !has(self.{place}.uri) || !self.{place}.uri.startsWith('pvc://')",
            f"{place}.uri: the servers of a pool mount no volumes of jobs: use execution: Job for pvc://",
            f".{place}.uri",
        )
        for place in ("source", "output")
    ),
    Rule(
        f"{OWN_POD} || !has(self.source.uriSecretRef)",
        "source.uriSecretRef needs a pod of its own: use execution: Job, or source.uri",
        ".source.uriSecretRef",
    ),
)

MUTABLE_SPEC_FIELDS = (
    "suspend", "priority", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "ttlPolicy",
)  # fmt: skip
"""Fields of a job's spec that may change after creation: how it runs, never what it produces."""


def immutable_rule(fields: Iterable[str]) -> Rule:
    """Return the transition rule under which `fields` (wire names) keep their values from creation.

    An optional field may be neither added nor removed. Mutable fields may be added, changed and removed.
    """
    same = [
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
        for field in fields
    ]
    return Rule(
        " && ".join(f"({one})" for one in same),
        f"spec is immutable except {', '.join(MUTABLE_SPEC_FIELDS)}:"
        " delete the job and create it again to change the rest",
    )


class Stage(StrEnum):
    """What a worker is doing; shown in the status and as the reason of the condition `Running`."""

    STARTING = "Starting"
    FETCHING = "Fetching"
    LOADING_MODEL = "LoadingModel"
    DETECTING_SPEECH = "DetectingSpeech"
    DECODING = "Decoding"
    ALIGNING = "Aligning"
    DIARIZING = "Diarizing"
    RECOGNIZING = "Recognizing"
    PUBLISHING = "Publishing"


class Progress(Model):
    """Progress of an attempt."""

    stage: Stage
    """What the worker is doing."""
    percent: int = Field(ge=0, le=100)
    """Percent of the whole attempt; never decreases within one attempt."""
    audio_seconds: float | None = Field(default=None, ge=0, le=10**9, allow_inf_nan=False)
    """Seconds of audio decoded so far."""
    pages: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """Pages read so far."""
    eta_seconds: float | None = Field(default=None, ge=0, le=10**9, allow_inf_nan=False)
    """Estimated seconds until the results are published."""
    message: str | None = Field(default=None, max_length=200)
    """Explanation for people, e.g. `chunk 31 of 74`; never text of the transcript."""


class ExecutionChoice(Model):
    """What carries out the attempts of a job with `execution: Auto`, and why."""

    mode: Literal["Job", "Pool"]
    """`Job`: a pod of its own for each attempt. `Pool`: the servers of `pool`."""
    pool: str | None = Field(default=None, max_length=253)
    """The RuntimePool, with `mode: Pool`."""
    reason: str = Field(max_length=63)
    """Why, in one word."""
    message: str = Field(max_length=1024)
    """Why, for people."""


class JobSpec(Model):
    """Immutable except `MUTABLE_SPEC_FIELDS`: results belong to exactly one spec."""

    rules = EXECUTION_RULES

    @classmethod
    def validation_rules(cls) -> tuple[Rule, ...]:
        """Add immutability of every field that is not in `MUTABLE_SPEC_FIELDS`, including those of subclasses."""
        names = [field.alias or name for name, field in cls.model_fields.items()]
        return (*cls.rules, immutable_rule(name for name in names if name not in MUTABLE_SPEC_FIELDS))

    source: Source
    """The file to process."""
    output: Output
    """Where to publish the results, and in which formats."""
    execution: Literal["Job", "Pool", "Auto"] = "Job"
    """What carries out the attempts. `Job`: a pod of its own for each. `Pool`: the warm servers of a RuntimePool, which
    take attempts from its queue; nothing has to be started or loaded then. `Auto`: a pool of the namespace that can, if
    the source is short, else a pod; `status.execution` says which, from when the job is first seen."""
    pool_ref: PoolRef | None = None
    """With `execution: Pool`: the RuntimePool, whose `workloads` must include `Queue`; default: `default`. With
    `execution: Auto`: the only pool that may be chosen; default: any of the namespace."""
    profile_ref: ProfileRef = ProfileRef()
    """RuntimeProfile: what the worker pod requests. Not used in a pool, which has one."""
    tenant_ref: TenantRef | None = None
    """Tenant that the job is charged to: the one that has the namespace, which need not be named. Where no Tenant has
    the namespace: any name that is not a Tenant's; default: the namespace's name."""
    metadata: ClientMetadata = Field(default_factory=dict[str, str])
    """Free text of your own, such as a customer's number: it is in the document and the manifest, as `metadata`."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Among the waiting jobs of a tenant, those with a higher priority start first."""
    backoff_limit: Annotated[int, Field(ge=0, le=20)] = 2
    """Number of retries after failures that a retry can fix; preemptions do not count."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    """Maximum time from the start of the first attempt to the end, including retries.

    The clock stops while the job is suspended and restarts from zero when it is resumed, as in batch/v1 Jobs."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=315_360_000)] | None = None
    """Time from the end of the job until `ttlPolicy` is applied; absent: never."""
    ttl_policy: Literal["DeleteChildren", "DeleteResource"] = "DeleteChildren"
    """What is deleted after `ttlSecondsAfterFinished`. `DeleteChildren` keeps the resource, so that GitOps tools do not
    create and run it again."""
    suspend: bool = False
    """True stops the worker and keeps the job; false resumes it."""

    @property
    def tenant_name(self) -> str | None:
        """Name in `tenant_ref`, if given."""
        return self.tenant_ref.name if self.tenant_ref else None


class JobStatus(ConditionedStatus):
    """Observed state; written by the operator only."""

    phase: Phase | None = None  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    """Derived from the conditions, for people; programs read the conditions."""
    execution: ExecutionChoice | None = None
    """With `execution: Auto`: what carries the attempts out. It changes once at most, from a pool to a pod: when a
    server found the source too long."""
    attempt: int = Field(default=0, ge=0)
    """Number of the latest attempt, from 1."""
    failures: int = Field(default=0, ge=0)
    """Failed attempts that count towards `backoffLimit`."""
    out_of_memory: int = Field(default=0, ge=0)
    """Attempts that ran out of memory; each halves the batch of the next."""
    start_time: AwareDatetime | None = None
    """When the first attempt was started; reset when the job is resumed, absent while it is suspended."""
    completion_time: AwareDatetime | None = None
    """When the job ended, whether it succeeded or failed."""
    pod_name: str | None = None
    """Name of the latest worker pod."""
    node_name: str | None = None
    """Name of the node it was assigned to."""
    progress: Progress | None = None
    """Progress of the latest attempt; present while it runs."""
    queue: QueueStatus | None = None
    """Present while the job waits."""
    results: Results | None = None
    """Present once the results are complete."""
    warnings: Annotated[list[WarningSummary], Field(max_length=MAX_SUMMARIES)] | None = None
    """What was lost, doubted or guessed: one of each reason, present once the results are complete. The documents have
    all of them, with the time or page."""
    last_failure: LastFailure | None = None
    """Present once an attempt has failed."""
    usage: WorkRecord | None = None
    """What the workers of all attempts have done, whether or not the job succeeded: a Tenant is charged for it."""
