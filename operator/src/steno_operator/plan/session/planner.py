"""The planner of StreamSessions: a place in the pool, URLs and a token, then what the server tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from steno_api.failures import FailureReason
from steno_api.server.reports import SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.common import QueueStatus, ResultArtifact, Results
from steno_api.v1alpha1.meta import ConditionStatus
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.streamsession import StreamSession
from steno_operator.manifests.service import endpoints_of
from steno_operator.manifests.session_token import build_claims, build_token_secret, session_tenant, token_secret_name
from steno_operator.plan.common.clock import earliest, whole
from steno_operator.plan.common.conditions import Fact, Facts, clip, conditions_of, holds
from steno_operator.plan.common.finish import EventRules, condition_events
from steno_operator.plan.common.phase import session_phase
from steno_operator.plan.common.plan import Action, DeleteResource, IssueToken, SessionPlan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.session.expiry import Expiry, expiry_of
from steno_operator.plan.session.observed import Connection, ObservedSession
from steno_operator.plan.session.readiness import Gate, as_accepted, gate_of
from steno_operator.plan.session.statistics import heard, is_new

_EVENTS: EventRules = {
    (ConditionType.ACCEPTED, ConditionStatus.TRUE): "Normal",
    (ConditionType.ACCEPTED, ConditionStatus.FALSE): "Warning",
    (ConditionType.ENDPOINT_READY, ConditionStatus.TRUE): "Normal",
    (ConditionType.ACTIVE, ConditionStatus.TRUE): "Normal",
    (ConditionType.COMPLETE, ConditionStatus.TRUE): "Normal",
    (ConditionType.FAILED, ConditionStatus.TRUE): "Warning",
}

_ENDS = {
    SessionEnd.CLIENT_ENDED: "The client ended the session.",
    SessionEnd.CLIENT_GONE: "The client's connection broke.",
    SessionEnd.IDLE_TIMEOUT: "No audio came for idleTimeoutSeconds.",
    SessionEnd.MAX_DURATION: "maxDurationSeconds ran out.",
    SessionEnd.NO_CLIENT: "No client connected within maxDurationSeconds.",
    SessionEnd.DRAINED: "The server had to stop.",
    SessionEnd.DELETED: "The session was deleted.",
    SessionEnd.DUPLICATE: "The session was connected to two servers.",
}


@dataclass(frozen=True)
class _Step:
    facts: Facts
    actions: tuple[Action, ...] = ()
    updates: dict[str, Any] = field(default_factory=dict[str, Any])
    requeue_after: timedelta | None = None


def is_over(session: StreamSession) -> bool:
    """Whether a session ended, either way."""
    conditions = session.status.conditions
    return holds(conditions, ConditionType.COMPLETE) or holds(conditions, ConditionType.FAILED)


def plan_session(observed: ObservedSession, now: datetime, policy: Policy) -> SessionPlan:
    """Returns what to do for a session, the status to stand, and when to look again.

    The same input gives the same plan. One that was carried out, seen again at the same time, holds no action and the
    same status; one of which only the first actions were carried out is made again by the next call.

    Args:
        observed: the session, its pool, and what servers say.
        now: the present; any time zone.
        policy: the operator's settings.
    """
    now, session = whole(now), observed.session
    if session.metadata.deletion_timestamp is not None:
        return SessionPlan((), session.status)
    if is_over(session):
        return _over(session, observed.connection, now)
    step = _decide(observed, now, policy)
    generation = session.metadata.generation
    conditions = conditions_of(step.facts, session.status.conditions, generation=generation, now=now)
    status = session.status.model_copy(
        update={
            **step.updates,
            "observed_generation": generation,
            "conditions": conditions,
            "phase": session_phase(conditions),
        }
    )
    told = condition_events(session.status.conditions, conditions, _EVENTS)
    return SessionPlan((*step.actions, *told), status, step.requeue_after)


def _decide(observed: ObservedSession, now: datetime, policy: Policy) -> _Step:
    """The ladder: the first rung that holds is what happens."""
    session, connection = observed.session, observed.connection
    gate = gate_of(observed, policy)
    if is_connected(observed):
        gate = as_accepted(gate)
    if connection is not None and connection.report.result is not None:
        return _end(session, gate, connection, connection.report.result, now)
    connected = is_connected(observed)
    expiry = expiry_of(session, gate, connection, now, connected=connected)
    if expiry is not None and now >= expiry.time:
        return _expire(session, gate, connection, expiry, now)
    if connected:
        return _follow(observed, gate, now, policy, expiry)
    if gate.refused is not None:
        return _fail(session, gate, FailureReason.QUOTA_EXCEEDED, gate.refused, now)
    if gate.queue is not None:
        return _wait(gate, gate.queue, expiry, now)
    return _offer(observed, gate, now, policy, expiry)


def is_connected(observed: ObservedSession) -> bool:
    """Whether a client is connected, as far as is known."""
    was = holds(observed.session.status.conditions, ConditionType.ACTIVE)
    return observed.connection is not None or (observed.silent and was)


def _over(session: StreamSession, last: Connection | None, now: datetime) -> SessionPlan:
    """A session that ended: it stays so, as it did; the resource goes when its time is over.

    Its server may yet tell of a transcript, after the operator gave it up: where it is, is worth knowing.
    """
    status = session.status
    if last is not None and last.report.result is not None and status.results is None:
        status = status.model_copy(update={"results": _results(last.report.result)})
    ttl, ended = session.spec.ttl_seconds_after_finished, status.completion_time
    if ttl is None or ended is None:
        return SessionPlan((), status)
    left = ended + timedelta(seconds=ttl) - now
    if left > timedelta():
        return SessionPlan((), status, left)
    return SessionPlan((DeleteResource(session.metadata.uid),), status, requires_live_read=True)


def _wait(gate: Gate, queue: QueueStatus, expiry: Expiry | None, now: datetime) -> _Step:
    """There is no place for the session yet."""
    why = Fact(False, queue.reason, queue.message)
    queue = queue.model_copy(update={"reason": str(queue.reason), "message": clip(queue.message)})
    return _Step(
        facts=_open(gate, why, Fact(False, Reason.NO_CLIENT_YET)),
        actions=gate.actions,
        updates={"queue": queue, "endpoints": [], "pod_name": None},
        requeue_after=earliest(gate.requeue_after, _left(expiry, now)),
    )


def _offer(observed: ObservedSession, gate: Gate, now: datetime, policy: Policy, expiry: Expiry | None) -> _Step:
    """The session has its place: a client may connect."""
    actions, token = _token(observed, now, policy)
    session = observed.session
    ready_time = session.status.ready_time or now
    message = f"A client may connect; its token is in the Secret {token_secret_name(session)}."
    longest = timedelta(seconds=session.spec.max_duration_seconds)
    return _Step(
        facts=_open(gate, Fact(True, Reason.ENDPOINT_READY, message), Fact(False, Reason.NO_CLIENT_YET)),
        actions=actions,
        updates={**token, **_endpoints(observed), "queue": None, "ready_time": ready_time, "pod_name": None},
        requeue_after=earliest(
            _left(expiry, now) or ready_time + longest - now,
            _refresh_at(token["token_expiration_time"], policy) - now,
        ),
    )


def _follow(observed: ObservedSession, gate: Gate, now: datetime, policy: Policy, expiry: Expiry | None) -> _Step:
    """A client is connected: show what its server tells."""
    status, connection = observed.session.status, observed.connection
    actions, token = _token(observed, now, policy) if observed.key_id else ((), {})
    started = status.start_time or (whole(connection.report.started) if connection is not None else now)
    updates: dict[str, Any] = {**token, "queue": None, "start_time": started, "ready_time": status.ready_time or now}
    late = False
    if connection is not None:
        latest = heard(status, connection)
        due = observed.figures_due or status.figures is None or is_new(status, connection)
        late = not due and latest["figures"] != status.figures
        updates |= {**(latest if due else {}), "pod_name": connection.pod}
    pod = connection.pod if connection is not None else status.pod_name
    connected = Fact(True, Reason.CONNECTED, f"A client is connected to pod {pod}.")
    expires = token.get("token_expiration_time")
    return _Step(
        facts=_open(gate, Fact(True, Reason.ENDPOINT_READY, "A client is connected."), connected),
        actions=actions,
        updates=updates | _endpoints(observed),
        requeue_after=earliest(
            policy.progress_interval if late else None,
            None if expires is None else _refresh_at(expires, policy) - now,
            _left(expiry, now),
        ),
    )


def _end(session: StreamSession, gate: Gate, last: Connection, result: SessionResult, now: datetime) -> _Step:
    """The server said its last word."""
    updates = _told(last, session)
    updates["results"] = _results(result)
    time = min(whole(result.time), now)
    if result.failure is not None:
        message = result.message or _ENDS[result.reason]
        step = _fail(session, gate, result.failure, message, time)
        return _Step(step.facts, updates={**step.updates, **updates}, requeue_after=step.requeue_after)
    published = f" The transcript is published: {result.manifest}" if result.manifest is not None else ""
    message = f"{_ENDS[result.reason]}{published}"
    return _complete(session, gate, Fact(True, str(result.reason), message), {**updates, **_ended(time)})


def _results(result: SessionResult) -> Results | None:
    if result.manifest is None:
        return None
    directory = result.manifest.rpartition("/")[0]
    return Results(
        manifest=result.manifest, artifacts=[ResultArtifact.of(item, directory) for item in result.artifacts]
    )


def _expire(session: StreamSession, gate: Gate, last: Connection | None, expiry: Expiry, now: datetime) -> _Step:
    """Its time is over, and no server said how it ended."""
    updates = {} if last is None else _told(last, session)
    if isinstance(expiry.reason, FailureReason):
        step = _fail(session, gate, expiry.reason, expiry.message, now)
        return _Step(step.facts, updates={**updates, **step.updates}, requeue_after=step.requeue_after)
    done = Fact(True, str(expiry.reason), expiry.message or _ENDS[expiry.reason])
    return _complete(session, gate, done, {**updates, **_ended(now)})


def _told(last: Connection, session: StreamSession) -> dict[str, Any]:
    started = session.status.start_time or whole(last.report.started)
    return {**heard(session.status, last), "pod_name": last.pod, "start_time": started}


def _left(expiry: Expiry | None, now: datetime) -> timedelta | None:
    return None if expiry is None else expiry.time - now


def _complete(session: StreamSession, gate: Gate, done: Fact, updates: dict[str, Any]) -> _Step:
    facts = {
        **_closed(gate),
        ConditionType.READY: done,
        ConditionType.STALLED: Fact(False, Reason.FINISHED),
        ConditionType.COMPLETE: done,
        ConditionType.FAILED: Fact(False, done.reason),
    }
    return _Step(facts, updates=updates, requeue_after=_ttl(session))


def _fail(session: StreamSession, gate: Gate, reason: FailureReason, message: str, time: datetime) -> _Step:
    true, false = Fact(True, str(reason), message), Fact(False, str(reason), message)
    facts = {
        **_closed(gate),
        ConditionType.READY: false,
        ConditionType.STALLED: true,
        ConditionType.COMPLETE: Fact(False, str(reason)),
        ConditionType.FAILED: true,
    }
    return _Step(facts, updates=_ended(time), requeue_after=_ttl(session))


def _ended(time: datetime) -> dict[str, Any]:
    return {
        "completion_time": time,
        "queue": None,
        "endpoints": [],
        "token_secret_name": None,
        "token_expiration_time": None,
        "token_key_id": None,
    }


def _ttl(session: StreamSession) -> timedelta | None:
    ttl = session.spec.ttl_seconds_after_finished
    return None if ttl is None else timedelta(seconds=ttl)


def _token(observed: ObservedSession, now: datetime, policy: Policy) -> tuple[tuple[Action, ...], dict[str, Any]]:
    """Returns what to do for a token that holds for a while, and what the status then says of it."""
    session, status = observed.session, observed.session.status
    expires = status.token_expiration_time
    stands = expires is not None and status.token_key_id == observed.key_id and now < _refresh_at(expires, policy)
    if expires is None or not stands:
        expires = now + policy.session_token
    update = {
        "token_secret_name": token_secret_name(session),
        "token_expiration_time": expires,
        "token_key_id": observed.key_id,
    }
    if stands:
        return (), update
    tenant = observed.admission.tenant or session_tenant(session)
    return (IssueToken(build_claims(session, tenant, now, expires), build_token_secret(session)),), update


def _refresh_at(expires: datetime, policy: Policy) -> datetime:
    return expires - policy.session_token / 3


def _endpoints(observed: ObservedSession) -> dict[str, Any]:
    """Returns the URLs; those of a pool that is gone stand until the connection ends."""
    return {} if observed.pool is None else {"endpoints": endpoints_of(observed.session, observed.pool)}


def _open(gate: Gate, endpoint: Fact, active: Fact) -> Facts:
    return {
        ConditionType.READY: endpoint,
        ConditionType.RECONCILING: Fact(not endpoint.holds, endpoint.reason, endpoint.message),
        ConditionType.STALLED: Fact(False, Reason.NOT_FINISHED),
        ConditionType.ACCEPTED: gate.accepted,
        ConditionType.ADMITTED: gate.admitted,
        ConditionType.ENDPOINT_READY: endpoint,
        ConditionType.ACTIVE: active,
        ConditionType.COMPLETE: Fact(False, Reason.NOT_FINISHED),
        ConditionType.FAILED: Fact(False, Reason.NOT_FINISHED),
    }


def _closed(gate: Gate) -> dict[ConditionType, Fact]:
    return {
        ConditionType.RECONCILING: Fact(False, Reason.FINISHED),
        ConditionType.ACCEPTED: gate.accepted,
        ConditionType.ADMITTED: gate.admitted,
        ConditionType.ENDPOINT_READY: Fact(False, Reason.FINISHED),
        ConditionType.ACTIVE: Fact(False, Reason.FINISHED),
    }
