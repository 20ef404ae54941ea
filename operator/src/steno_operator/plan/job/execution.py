"""Execution: what a plan needs to know of whatever carries attempts out, to start, observe and stop them.

Separate because every implementation (child Jobs, messages) and everything that is planned with them imports it; the
I/O of each is an `Attempts` of `control/reconcile`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from steno_api.v1alpha1.common import QueueStatus
from steno_operator.plan.common.conditions import Fact
from steno_operator.plan.common.plan import Action
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.observed import Job, ObservedJob
from steno_operator.plan.job.outcome import Failure, ObservedAttempt


@dataclass(frozen=True)
class Start:
    """How an attempt begins."""

    action: Action
    waits_for: QueueStatus
    """What it waits for once that is done."""


class Execution(Protocol):
    """One way to carry attempts out. Pure: it only reads what was observed."""

    @property
    def carrier(self) -> str:
        """What an attempt is, for people: a `Job`, a `message`."""
        ...

    def observe(self, observed: ObservedJob, now: datetime, policy: Policy) -> list[ObservedAttempt]:
        """Return the attempts of a job, by number; each also has the actions that pause, resume and stop it.

        Args:
            observed: the job and what exists because of it.
            now: the present, in whole seconds.
            policy: the operator's settings.
        """
        ...

    def missing(self, job: Job, attempt: int, now: datetime) -> Failure:
        """Return how an attempt failed that was started and is not observed any more.

        Args:
            job: the resource.
            attempt: its number.
            now: the present, in whole seconds.
        """
        ...

    def needs(self, job: Job) -> str:
        """Return what the attempts are carried out with, by kind and name, for people."""
        ...

    def obstacle(self, observed: ObservedJob, policy: Policy) -> Fact | None:
        """Return why no attempt can be started as things are; None: nothing is in the way."""
        ...

    def conflict(self, observed: ObservedJob, attempt: int) -> str:
        """Return the name that an attempt would have and something else has; empty: none has it."""
        ...

    def start(self, observed: ObservedJob, attempt: int, out_of_memory: int, now: datetime, policy: Policy) -> Start:
        """Return how an attempt begins that nothing is in the way of.

        Args:
            observed: the job and what it refers to.
            attempt: its number.
            out_of_memory: earlier attempts that ran out of memory.
            now: the present, in whole seconds.
            policy: the operator's settings.
        """
        ...

    def refused(self, refusal: str) -> QueueStatus:
        """Return what a job waits for whose attempt was refused, in the words of what refused it."""
        ...

    def started(self, job: Job, attempt: int) -> str:
        """Return what an Event says of an attempt that was started."""
        ...
