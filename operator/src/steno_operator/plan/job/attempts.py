"""Attempt history: each attempt is evaluated exactly once; `status.lastFailure.attempt` says up to which.

What carried an attempt out outlives it (a child Job until the TTL), so what a lost status write would have said can be
read again: all attempts after the last evaluated one are evaluated again, in order, as they are observed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from steno_api.failures import FailureClass, FailureReason
from steno_api.v1alpha1.common import LastFailure
from steno_operator.plan.common.conditions import clip
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.job.execution import Execution
from steno_operator.plan.job.observed import Job
from steno_operator.plan.job.outcome import Failure, ObservedAttempt, Published


@dataclass(frozen=True)
class AttemptHistory:
    """What became of a job's attempts."""

    attempt: int
    failures: int
    out_of_memory: int
    last_failure: LastFailure | None
    live: ObservedAttempt | None = None
    """The latest attempt, while it may still succeed."""
    surplus: tuple[ObservedAttempt, ...] = ()
    """Attempts that may still work but must not: they are over."""
    published: Published | None = None
    rejections: int = 0
    """How many of the latest attempts in a row their nodes rejected."""
    start_failed_again: bool = False
    """The latest attempt could not be started, like the one before: another would not be, either."""

    @property
    def failed(self) -> LastFailure | None:
        """How the latest attempt failed, if it did."""
        last = self.last_failure
        return last if last is not None and last.attempt == self.attempt else None


def evaluate_attempts(
    job: Job,
    observed: Sequence[ObservedAttempt],
    execution: Execution,
    now: datetime,
    policy: Policy,
    *,
    expiry: datetime | None,
) -> AttemptHistory:
    """Return the attempt history of a job that has not finished.

    Args:
        job: the resource.
        observed: its attempts.
        execution: what carries them out.
        now: the present, in whole seconds.
        policy: the operator's settings.
        expiry: when the job's deadline ran or will run out. A failure after it is not counted: whatever goes wrong
            from then on may well be the stop that the deadline caused.
    """
    status = job.status
    attempts = {each.number: each for each in observed}
    latest = max([status.attempt, *attempts])
    evaluated = status.last_failure.attempt if status.last_failure is not None else 0
    failures, out_of_memory, last = status.failures, status.out_of_memory, status.last_failure
    live: ObservedAttempt | None = None
    again = False
    for number in range(max(evaluated + 1, status.attempt, 1), latest + 1):
        attempt = attempts.get(number)
        if attempt is not None and attempt.published is not None:
            continue
        failure = execution.missing(job, number, now) if attempt is None else attempt.failure
        if failure is None:
            live = attempt
            continue
        if expiry is not None and failure.time >= expiry:
            continue
        again = failure.never_ran and failure.reason is FailureReason.START_FAILED and _follows(last, number)
        last = LastFailure(attempt=number, reason=failure.reason, message=clip(failure.message), time=failure.time)
        failures += not (failure.reason.free or _in_patience(failure, attempts, number, policy))
        out_of_memory += failure.reason.failure_class is FailureClass.SIZE
    live = live if live is not None and live.number == latest else None
    failed = last is not None and last.attempt == latest
    return AttemptHistory(
        attempt=latest,
        failures=failures,
        out_of_memory=out_of_memory,
        last_failure=last,
        live=live,
        surplus=tuple(each for each in observed if each is not live and each.live),
        published=next((each.published for each in observed if each.published is not None), None),
        rejections=len(_rejected(attempts, latest)) if failed else 0,
        start_failed_again=failed and again,
    )


def _follows(last: LastFailure | None, attempt: int) -> bool:
    """Tell whether the attempt before could not be started."""
    return last is not None and last.attempt == attempt - 1 and last.reason is FailureReason.START_FAILED


def _in_patience(failure: Failure, attempts: Mapping[int, ObservedAttempt], number: int, policy: Policy) -> bool:
    """Tell whether a rejection by a node does not count yet: nothing ran, and the node may only be starting."""
    if not failure.never_ran or failure.reason is not FailureReason.POD_REJECTED:
        return False
    streak = _rejected(attempts, number)
    return bool(streak) and failure.time < streak[-1].created + policy.pod_start_timeout


def _rejected(attempts: Mapping[int, ObservedAttempt], number: int) -> list[ObservedAttempt]:
    """Return the attempts that nodes rejected, from one back to the first of that row."""
    streak: list[ObservedAttempt] = []
    while (attempt := attempts.get(number)) is not None and attempt.rejected:
        streak.append(attempt)
        number -= 1
    return streak


def may_retry(reason: FailureReason, failures: int, backoff_limit: int) -> bool:
    """Tell whether another attempt may follow.

    Args:
        reason: why the latest attempt failed.
        failures: how many failures count so far, this one included.
        backoff_limit: how many may.
    """
    if reason.failure_class is FailureClass.USER:
        return False
    return reason.free or failures <= backoff_limit


def backoff(failures: int, policy: Policy) -> timedelta:
    """Return the wait after the `failures`-th counted failure: doubled each time, up to `policy.backoff_max`."""
    wait = policy.backoff_base
    for _ in range(failures - 1):
        if wait >= policy.backoff_max:
            break
        wait *= 2
    return min(wait, policy.backoff_max)
