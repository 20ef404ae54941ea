"""Whether and when a failed attempt is followed by another."""

from __future__ import annotations

from datetime import timedelta

from steno_api.failures import FailureClass, FailureReason
from steno_operator.plan.policy import Policy


def may_retry(reason: FailureReason, failures: int, backoff_limit: int) -> bool:
    """Whether another attempt may follow one that failed for `reason`, the `failures`-th that counts."""
    if reason.failure_class is FailureClass.USER:
        return False
    return reason.free or failures <= backoff_limit


def backoff(failures: int, policy: Policy) -> timedelta:
    """Returns the wait after the `failures`-th counted failure: doubled each time, up to `policy.backoff_max`."""
    wait = policy.backoff_base
    for _ in range(failures - 1):
        if wait >= policy.backoff_max:
            break
        wait *= 2
    return min(wait, policy.backoff_max)
