"""Attempts as the planner decides on them, whatever carries them out: what each does, or how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from steno_api.documents.manifest import AnySummary, OCRSummary, TranscriptionSummary
from steno_api.failures import FailureReason
from steno_api.usage import Work
from steno_api.v1alpha1.common import QueueStatus
from steno_api.worker.termination import Succeeded
from steno_operator.plan.common.plan import Action
from steno_operator.plan.job.observed import Job

_SUMMARIES: dict[str, type[AnySummary]] = {"TranscriptionJob": TranscriptionSummary, "OCRJob": OCRSummary}


@dataclass(frozen=True)
class Published:
    """The attempt published its results."""

    result: Succeeded
    worker: str
    """Name of the pod that did."""
    node: str | None
    time: datetime


@dataclass(frozen=True)
class Failure:
    """The attempt is over without results, or should be: one that still lives is to be stopped."""

    reason: FailureReason
    message: str
    time: datetime
    never_ran: bool = False
    """The cluster says that nothing of the worker ran."""


@dataclass(frozen=True)
class Activity:
    """What a live attempt does: a worker is at it, or it waits for something."""

    worker: str | None = None
    """Name of the pod that works or will work."""
    node: str | None = None
    waits_for: QueueStatus | None = None
    """Why nothing works; None: the worker does."""
    message: str = ""
    """What works, as long as no report says more."""
    look_again: datetime | None = None
    """When it will be given up if it goes on like this."""


@dataclass(frozen=True)
class ObservedAttempt:
    """One attempt."""

    number: int
    created: datetime
    activity: Activity | None = None
    """What it does; None: it is over, or is being stopped."""
    published: Published | None = None
    failure: Failure | None = None
    """How it failed, or why it is given up although it lives; None while it may still succeed."""
    rejected: bool = False
    """It failed because a node refused it."""
    work: Mapping[str, Work] = field(default_factory=dict[str, Work])
    """What workers said when they ended that they did, by process."""
    unconfirmed: bool = False
    """It has ended, and how may not be observed yet."""
    paused: bool = False
    """It does not work until it is resumed."""
    pause: tuple[Action, ...] = ()
    """Stops its worker and keeps the attempt."""
    align: tuple[Action, ...] = ()
    """Resumes it, and makes it what the spec says by now."""
    stop: Action | None = None
    """Ends it and removes what is left of it; None: there is nothing left, or it is being removed."""
    outstays: datetime | None = None
    """When it is to be stopped because its worker has ended and its pod does not; None: it need not be."""

    @property
    def live(self) -> bool:
        """Whether it may still work."""
        return self.activity is not None


def summary_of(job: Job, result: Succeeded) -> AnySummary | None:
    """Return the summary of a result; None if an image of the profile's own wrote another kind's."""
    return result.summary if isinstance(result.summary, _SUMMARIES[job.kind]) else None
