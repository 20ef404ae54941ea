"""When a session ends that nobody ends, and how: no client came, its server was lost, nothing fits it. Pure.

A session holds its Tenant's stream and its place in the pool until it ends, so whatever it waits for, it waits for a
while only. All of it is counted from what stands in the status, so it is the same whoever looks, and how often.
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
from steno_operator.plan.common.clock import whole
from steno_operator.plan.common.conditions import find
from steno_operator.plan.session.observed import Connection
from steno_operator.plan.session.readiness import Gate

LAST_WORD_GRACE = timedelta(seconds=PUBLISH_TIMEOUT_SECONDS + 300)
"""So long after `maxDurationSeconds` a connected session's server may still decode, publish and report."""
RECONNECT_GRACE = timedelta(seconds=60)
"""A client whose server was lost has so long to come back to another, or `idleTimeoutSeconds` if that is more."""
RESTART_PATIENCE = timedelta(minutes=10)
"""So much longer it has while no server is warm that it could come back to."""
ACCEPT_PATIENCE = timedelta(minutes=5)
"""A session that was admitted waits so long for a pool that fits it: for somebody to make or change one."""


@dataclass(frozen=True)
class Expiry:
    """When a session ends if nothing happens until then, and how."""

    time: datetime
    reason: SessionEnd | FailureReason
    message: str = ""
    """Empty: what `reason` means says it."""


def expiry_of(
    session: StreamSession, gate: Gate, last: Connection | None, now: datetime, *, connected: bool
) -> Expiry | None:
    """Returns when and how a session ends of itself; None: not before something happens.

    Args:
        session: one that has not ended.
        gate: how far it gets.
        last: what its server said latest.
        now: the present, in whole seconds.
        connected: whether a client is connected, as far as is known.
    """
    status, longest = session.status, timedelta(seconds=session.spec.max_duration_seconds)
    if connected:
        told = now if last is None else whole(last.report.started)
        return _silent(session, (status.start_time or told) + longest + LAST_WORD_GRACE)
    if status.start_time is not None:
        return _lost(session, status.start_time + longest, now)
    if not gate.accepted.holds and gate.admitted.holds:
        return _unfit(session, gate, longest, now)
    return None if status.ready_time is None else Expiry(status.ready_time + longest, SessionEnd.NO_CLIENT)


def _silent(session: StreamSession, time: datetime) -> Expiry:
    """A server is there, and does not say how the session ended."""
    if session.spec.output is None:
        return Expiry(time, SessionEnd.MAX_DURATION)
    message = (
        f"Within {LAST_WORD_GRACE // timedelta(minutes=1)} minutes after maxDurationSeconds the server did not say how"
        " the session ended, nor that its transcript is published: look into spec.output, and create another session."
    )
    return Expiry(time, FailureReason.NODE_LOST, message)


def _lost(session: StreamSession, over: datetime, now: datetime) -> Expiry:
    """A client was connected, and its server is gone."""
    conditions = session.status.conditions
    grace = max(RECONNECT_GRACE, timedelta(seconds=session.spec.idle_timeout_seconds))
    lost = _since(conditions, ConditionType.ACTIVE, ConditionStatus.FALSE) or now
    latest = lost + RESTART_PATIENCE + grace
    ready = _since(conditions, ConditionType.ENDPOINT_READY, ConditionStatus.TRUE)
    if ready is not None:
        latest = min(latest, max(lost, ready) + grace)
    what = "The server was lost, and no client came back in time"
    if session.spec.output is not None:
        message = f"{what}: what was said there was not published, as far as is known. Create another session."
        return Expiry(min(over, latest), FailureReason.KILLED, message)
    if over <= latest:
        return Expiry(over, SessionEnd.MAX_DURATION)
    return Expiry(latest, SessionEnd.CLIENT_GONE, f"{what}.")


def _unfit(session: StreamSession, gate: Gate, longest: timedelta, now: datetime) -> Expiry:
    """Nothing but an edit lets the session begin: its pool does not exist, or cannot serve it as it is."""
    conditions = session.status.conditions
    unfit = _since(conditions, ConditionType.ACCEPTED, ConditionStatus.FALSE) or now
    admitted = _since(conditions, ConditionType.ADMITTED, ConditionStatus.TRUE) or now
    patience = min(longest, ACCEPT_PATIENCE)
    message = f"{gate.accepted.message} This stood for {patience.total_seconds():.0f} s, so the session has ended."
    return Expiry(max(unfit, admitted) + patience, FailureReason.INVALID_SPEC, message)


def _since(conditions: Sequence[Condition], kind: ConditionType, status: ConditionStatus) -> datetime | None:
    """Returns since when a condition has that status; None: it has not."""
    found = find(conditions, kind)
    return whole(found.last_transition_time) if found is not None and found.status is status else None
