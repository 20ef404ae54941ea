"""Termination message: how a worker's attempt ended, read by the operator from the pod's status."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from steno_api.documents.manifest import AnySummary, PublishedArtifact
from steno_api.documents.warnings import MAX_SUMMARIES, WarningSummary
from steno_api.failures import FailureReason
from steno_api.model import Model
from steno_api.usage import Work

MAX_TERMINATION_MESSAGE_BYTES = 4096
"""Kubernetes truncates a container's termination message to this length."""


class Succeeded(Model):
    """Result of a worker that published."""

    outcome: Literal["Succeeded"] = "Succeeded"
    manifest: str
    """URI of the manifest."""
    artifacts: Annotated[list[PublishedArtifact], Field(max_length=64)]
    summary: AnySummary
    warnings: list[WarningSummary] = Field(default_factory=list[WarningSummary], max_length=MAX_SUMMARIES)
    """As in the manifest; fewer where all would not fit."""


class Failed(Model):
    """Result of a worker that failed."""

    outcome: Literal["Failed"] = "Failed"
    reason: FailureReason
    message: str = Field(max_length=1500)
    """One or two sentences for the user: what is wrong and what to do. Never a traceback, never transcript text."""


class WorkDone(Model):
    """The part of a termination message that a Tenant is charged by; it counts even if the rest cannot be read."""

    used: Work | None = None
    """What the worker did itself, not what it found of an earlier attempt; absent: it does not say."""


class TerminationMessage(WorkDone):
    """Envelope in the pod's termination message."""

    result: Annotated[Succeeded | Failed, Field(discriminator="outcome")] | None = None
    """Absent: the worker was killed before it could say how it ended."""
