"""What every job kind has in common: the lifecycle half of its spec and the whole of its status but the summary."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from steno_api.model import Model
from steno_api.report import Progress
from steno_api.v1alpha1.common import LastFailure, Name, Output, Phase, QueueStatus, Results, Source
from steno_api.v1alpha1.meta import Condition, Rule

JOB_NAME_RULE = Rule(
    "size(self.metadata.name) <= 57",
    "metadata.name must be at most 57 characters: child Jobs are named <name>-<attempt>",
)

MUTABLE_SPEC_FIELDS = (
    "suspend", "priority", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "ttlPolicy",
)  # fmt: skip
"""Fields of a job's spec that may change after creation: how it runs, never what it makes."""


class JobSpec(Model):
    """Immutable but for `MUTABLE_SPEC_FIELDS`: results answer to exactly one spec."""

    source: Source
    output: Output
    profile: Name = "gpu"
    """RuntimeProfile: what the worker pod asks for."""
    tenant: Name | None = None
    """Default: the namespace."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Of two waiting jobs of a tenant, the higher starts first."""
    backoff_limit: Annotated[int, Field(ge=0, le=20)] = 2
    """Retries of failures that a retry can mend; a preemption costs none."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    """Longest time from the first attempt's start to the end, retries included."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=315_360_000)] | None = None
    """When this long finished, `ttlPolicy` is carried out; absent: never."""
    ttl_policy: Literal["DeleteChildren", "DeleteResource"] = "DeleteChildren"
    """The resource stays by default, so that GitOps tools do not create it, and pay for it, again."""
    suspend: bool = False
    """True stops the worker and keeps the job; false goes on."""


class JobStatus(Model):
    """What Steno found out; written by the operator only."""

    observed_generation: int = 0
    phase: Phase | None = None
    conditions: Annotated[list[Condition], Field(max_length=16)] = []
    attempt: int = 0
    """Number of the latest attempt, from 1."""
    failures: int = 0
    """Failed attempts that count towards `backoffLimit`."""
    out_of_memory: int = 0
    """Attempts that ran out of memory; each halves the batch of the next."""
    start_time: datetime | None = None
    """When the first attempt was started."""
    completion_time: datetime | None = None
    """When the job ended, either way."""
    pod_name: str | None = None
    """The latest worker pod."""
    node_name: str | None = None
    progress: Progress | None = None
    queue: QueueStatus | None = None
    results: Results | None = None
    last_failure: LastFailure | None = None
