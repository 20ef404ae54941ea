"""Session expiry: when a session ends by itself, and how: no client came, its server was lost, no pool fits it.

A session holds its Tenant's stream and its place in the pool until it ends, so whatever it waits for, it waits for a
limited time. All times are counted from the status, so every replica finds the same, however often it looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from steno_api.failures import FailureReason
from steno_api.server.reports import PUBLISH_TIMEOUT_SECONDS
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.meta import Condition, ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType
from steno_api.v1alpha1.streamsession import StreamSession
from steno_operator.plan.common.clock import truncate_to_seconds
from steno_operator.plan.common.conditions import find
from steno_operator.plan.session.observed import Connection
from steno_operator.plan.session.readiness import SessionReadiness

FINAL_REPORT_GRACE = timedelta(seconds=PUBLISH_TIMEOUT_SECONDS + 300)
"""How long after `maxDurationSeconds` a connected session's server may still decode, publish and report."""
RECONNECT_GRACE = timedelta(seconds=60)
"""How long a client whose server was lost may take to reconnect, or `idleTimeoutSeconds` if that is longer."""
RESTART_TIMEOUT = timedelta(minutes=10)
"""How much longer it may take while no server is warm that it could reconnect to."""
ACCEPT_TIMEOUT = timedelta(minutes=5)
"""How long an admitted session waits for a pool that fits it, for one to be created or changed."""


@dataclass(frozen=True)
class Expiry:
    """When a session ends if nothing happens until then, and how."""

    time: datetime
    reason: SessionEnd | FailureReason
    message: str = ""
    """Empty: the reason says it all."""


def expiry_of(
    session: StreamSession, readiness: SessionReadiness, last: Connection | None, now: datetime, *, connected: bool
) -> Expiry | None:
    """Return when and how a session ends by itself; None: not before something happens.

    Args:
        session: one that has not ended.
        readiness: how ready it is.
        last: what its server reported latest.
        now: the present, in whole seconds.
        connected: whether a client is connected, as far as is known.
    """
    status, longest = session.status, timedelta(seconds=session.spec.max_duration_seconds)
    if connected:
        started = now if last is None else truncate_to_seconds(last.report.started)
        return _silent(session, (status.start_time or started) + longest + FINAL_REPORT_GRACE)
    if status.start_time is not None:
        return _lost(session, status.start_time + longest, now)
    if not readiness.accepted.holds and readiness.admitted.holds:
        return _unfit(session, readiness, longest, now)
    return None if status.ready_time is None else Expiry(status.ready_time + longest, SessionEnd.NO_CLIENT)


def _silent(session: StreamSession, time: datetime) -> Expiry:
    """A server is there and does not report how the session ended."""
    if session.spec.output is None:
        return Expiry(time, SessionEnd.MAX_DURATION)
    message = (
        f"The server did not report within {FINAL_REPORT_GRACE // timedelta(minutes=1)} min after maxDurationSeconds"
        " how the session ended, nor that its transcript is published: check spec.output, and create another session."
    )
    return Expiry(time, FailureReason.NODE_LOST, message)


def _lost(session: StreamSession, over: datetime, now: datetime) -> Expiry:
    """A client was connected, and its server is gone."""
    conditions = session.status.conditions
    grace = max(RECONNECT_GRACE, timedelta(seconds=session.spec.idle_timeout_seconds))
    lost = _since(conditions, ConditionType.ACTIVE, ConditionStatus.FALSE) or now
    latest = lost + RESTART_TIMEOUT + grace
    ready = _since(conditions, ConditionType.ENDPOINT_READY, ConditionStatus.TRUE)
    if ready is not None:
        latest = min(latest, max(lost, ready) + grace)
    what = "The server was lost, and no client came back in time"
    if session.spec.output is not None:
        message = f"{what}: as far as is known, its transcript was not published. Create another session."
        return Expiry(min(over, latest), FailureReason.KILLED, message)
    if over <= latest:
        return Expiry(over, SessionEnd.MAX_DURATION)
    return Expiry(latest, SessionEnd.CLIENT_GONE, f"{what}.")


def _unfit(session: StreamSession, readiness: SessionReadiness, longest: timedelta, now: datetime) -> Expiry:
    """Only an edit lets the session begin: its pool does not exist, or cannot serve it as it is."""
    conditions = session.status.conditions
    unfit = _since(conditions, ConditionType.ACCEPTED, ConditionStatus.FALSE) or now
    admitted = _since(conditions, ConditionType.ADMITTED, ConditionStatus.TRUE) or now
    timeout = min(longest, ACCEPT_TIMEOUT)
    message = f"{readiness.accepted.message} This lasted {timeout.total_seconds():.0f} s, so the session has ended."
    return Expiry(max(unfit, admitted) + timeout, FailureReason.INVALID_SPEC, message)


def _since(conditions: Sequence[Condition], kind: ConditionType, status: ConditionStatus) -> datetime | None:
    """Return since when a condition has that status; None: it has not."""
    found = find(conditions, kind)
    return truncate_to_seconds(found.last_transition_time) if found is not None and found.status is status else None
