"""Times as the API server keeps them: whole seconds, UTC; so that a plan is the same after a round trip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def whole(time: datetime) -> datetime:
    """Returns `time` in UTC, cut to the second."""
    return time.astimezone(UTC).replace(microsecond=0)


def earliest(*waits: timedelta | None) -> timedelta | None:
    """Returns the shortest of the waits that there are."""
    return min((wait for wait in waits if wait is not None), default=None)
