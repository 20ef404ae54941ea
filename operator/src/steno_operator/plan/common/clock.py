"""Times as the API server keeps them: whole seconds, UTC; so that a plan is the same after a round trip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def truncate_to_seconds(time: datetime) -> datetime:
    """Return `time` in UTC, without its fraction of a second."""
    return time.astimezone(UTC).replace(microsecond=0)


def earliest(*waits: timedelta | None) -> timedelta | None:
    """Return the shortest of the waits that there are."""
    return min((wait for wait in waits if wait is not None), default=None)


def ttl_left(ttl_seconds: int | None, ended: datetime | None, now: datetime) -> timedelta | None:
    """Return how long a resource has until its TTL: zero when it ran out, None when it has none or did not end.

    Args:
        ttl_seconds: `spec.ttlSecondsAfterFinished`.
        ended: when it ended.
        now: the present.
    """
    if ttl_seconds is None or ended is None:
        return None
    return max(ended + timedelta(seconds=ttl_seconds) - now, timedelta())
