"""The planner of StreamSessions: a place in the pool, URLs and a token, then what the server reports."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypedDict

from steno_api.documents.warnings import WarningSummary
from steno_api.failures import FailureReason
from steno_api.server.reports import SessionResult
from steno_api.usage import WorkRecord
from steno_api.v1alpha1.common import QueueStatus, Results
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_api.v1alpha1.streamsession import Endpoint, PreviousServers, SessionStats, StreamSession
from steno_operator.manifests.paths import REMEDY, misplaced
from steno_operator.manifests.service import endpoints_of
from steno_operator.manifests.session_token import build_claims, build_token_secret, token_secret_name
from steno_operator.plan.common.clock import earliest, truncate_to_seconds, ttl_left
from steno_operator.plan.common.conditions import Fact, clip, holds, is_finished
from steno_operator.plan.common.finish import Transition, finish
from steno_operator.plan.common.plan import Action, DeleteResource, IssueToken, SessionPlan
from steno_operator.plan.common.policy import Policy
from steno_operator.plan.common.usage import record_work
from steno_operator.plan.session import conditions
from steno_operator.plan.session.expiry import Expiry, expiry_of
from steno_operator.plan.session.observed import Connection, ObservedSession
from steno_operator.plan.session.readiness import SessionReadiness, as_accepted, evaluate_readiness
from steno_operator.plan.session.statistics import add_session_stats, is_new


class StatusUpdate(TypedDict, total=False):
    """Fields of a session's status that a transition sets."""

    endpoints: list[Endpoint]
    token_secret_name: str | None
    token_expiration_time: datetime | None
    token_key_id: str | None
    tenant: str
    ready_time: datetime
    start_time: datetime
    connect_time: datetime
    completion_time: datetime
    queue: QueueStatus | None
    stats: SessionStats
    previous_servers: PreviousServers | None
    results: Results | None
    warnings: list[WarningSummary] | None
    pod_name: str | None
    usage: WorkRecord | None


_Transition = Transition[StatusUpdate]


def plan_session(observed: ObservedSession, now: datetime, policy: Policy) -> SessionPlan:
    """Return what to do for a session, its new status, and when to requeue.

    The same input gives the same plan. One that was carried out, seen again at the same time, holds no action and the
    same status; one of which only the first actions were carried out is made again by the next call.

    Args:
        observed: the session, its pool, and what servers say.
        now: the present; any time zone.
        policy: the operator's settings.
    """
    now, session = truncate_to_seconds(now), observed.session
    status = session.status
    if session.metadata.deletion_timestamp is not None:
        return SessionPlan((), status)
    if is_finished(status.conditions):
        return _plan_finished(observed, now)
    transition = _with_usage(observed, _decide(observed, now, policy), policy)
    return finish(
        session.metadata,
        status,
        transition,
        now,
        phase_of=conditions.phase_of,
        events_of=lambda new: conditions.events_of(status, new),
        requires_live_read="completion_time" in transition.update,
    )


def _decide(observed: ObservedSession, now: datetime, policy: Policy) -> _Transition:
    """The first matching rule wins."""
    session, connection = observed.session, observed.connection
    readiness = evaluate_readiness(observed, policy)
    connected = is_connected(observed)
    if connected:
        readiness = as_accepted(readiness)
    if connection is not None and connection.report.result is not None:
        return _end(session, readiness, connection, connection.report.result, now)
    expiry = _lost_tenant(observed, now) or expiry_of(session, readiness, connection, now, connected=connected)
    if expiry is not None and now >= expiry.time:
        return _expire(session, readiness, connection, expiry, now)
    if connected:
        return _track(observed, readiness, now, policy, expiry)
    if readiness.refused is not None:
        return _fail(session, readiness, FailureReason.QUOTA_EXCEEDED, readiness.refused, now)
    if readiness.queue is not None:
        return _wait(readiness, readiness.queue, expiry, now)
    return _offer(observed, readiness, now, policy, expiry)


def _with_usage(observed: ObservedSession, transition: _Transition, policy: Policy) -> _Transition:
    """Return a decision with what uploads used: written like statistics, not each time that they grow."""
    before = observed.session.status.usage
    usage = record_work(before, observed.uploads)
    if usage == before:
        return transition
    if before is None or observed.stats_due or "completion_time" in transition.update:
        return replace(transition, update=transition.update | StatusUpdate(usage=usage))
    return replace(transition, requeue_after=earliest(transition.requeue_after, policy.progress_interval))


def _lost_tenant(observed: ObservedSession, now: datetime) -> Expiry | None:
    """Its token, and its quota, are of a Tenant that has no say in the namespace any more."""
    tenant, namespace = observed.session.status.tenant, observed.session.metadata.namespace
    if tenant in (None, observed.holder):
        return None
    message = (
        f'Tenant "{tenant}", which admitted the session, no longer has namespace "{namespace}": create another session.'
    )
    return Expiry(now, FailureReason.QUOTA_EXCEEDED, message)


def is_connected(observed: ObservedSession) -> bool:
    """Tell whether a client is connected, as far as is known."""
    was = holds(observed.session.status.conditions, ConditionType.ACTIVE)
    return observed.connection is not None or (observed.silent and was)


def _plan_finished(observed: ObservedSession, now: datetime) -> SessionPlan:
    """A session that ended keeps its status until its TTL runs out.

    Its server may still report a transcript after the operator gave the server up: where it is gets recorded. So does
    what its uploads used until they were stopped.
    """
    session, last = observed.session, observed.connection
    status = session.status
    if (usage := record_work(status.usage, observed.uploads)) != status.usage:
        status = status.model_copy(update={"usage": usage})
    result = None if last is None else last.report.result
    if result is not None and result.manifest is not None and status.results is None:
        status = status if _misplaced(session, result) else status.model_copy(update=_published(result))
    left = ttl_left(session.spec.ttl_seconds_after_finished, status.completion_time, now)
    if left == timedelta():
        return SessionPlan((DeleteResource(session.metadata.uid),), status, requires_live_read=True)
    return SessionPlan((), status, left)


def _wait(readiness: SessionReadiness, queue: QueueStatus, expiry: Expiry | None, now: datetime) -> _Transition:
    """There is no place for the session yet."""
    why = Fact(False, queue.reason, queue.message)
    queue = queue.model_copy(update={"reason": str(queue.reason), "message": clip(queue.message)})
    return _Transition(
        facts=conditions.unfinished(readiness, why, Fact(False, Reason.NO_CLIENT_YET)),
        actions=readiness.actions,
        update=StatusUpdate(queue=queue, endpoints=[], pod_name=None),
        requeue_after=earliest(readiness.requeue_after, _left(expiry, now)),
    )


def _offer(
    observed: ObservedSession, readiness: SessionReadiness, now: datetime, policy: Policy, expiry: Expiry | None
) -> _Transition:
    """The session has its place: a client may connect."""
    actions, token, refresh_at = _token(observed, now, policy)
    session = observed.session
    ready_time = session.status.ready_time or now
    message = f"A client may connect; its token is in the Secret {token_secret_name(session)}."
    longest = timedelta(seconds=session.spec.max_duration_seconds)
    return _Transition(
        facts=conditions.unfinished(
            readiness, Fact(True, Reason.ENDPOINT_READY, message), Fact(False, Reason.NO_CLIENT_YET)
        ),
        actions=actions,
        update=token | _endpoints(observed) | StatusUpdate(queue=None, ready_time=ready_time, pod_name=None),
        requeue_after=earliest(_left(expiry, now) or ready_time + longest - now, refresh_at - now),
    )


def _track(
    observed: ObservedSession, readiness: SessionReadiness, now: datetime, policy: Policy, expiry: Expiry | None
) -> _Transition:
    """A client is connected: show what its server reports."""
    status, connection = observed.session.status, observed.connection
    started = status.start_time or (truncate_to_seconds(connection.report.started) if connection is not None else now)
    update = StatusUpdate(queue=None, start_time=started, ready_time=status.ready_time or now)
    actions: tuple[Action, ...] = ()
    refresh_at: datetime | None = None
    if observed.key_id:
        actions, token, refresh_at = _token(observed, now, policy)
        update |= token
    late = False
    if connection is not None:
        stats = add_session_stats(status, connection)
        due = observed.stats_due or status.stats is None or is_new(status, connection)
        late = not due and stats["stats"] != status.stats
        update |= StatusUpdate(**stats, pod_name=connection.pod) if due else StatusUpdate(pod_name=connection.pod)
    pod = connection.pod if connection is not None else status.pod_name
    connected = Fact(True, Reason.CONNECTED, f"A client is connected to pod {pod}.")
    endpoint = Fact(True, Reason.ENDPOINT_READY, "A client is connected.")
    return _Transition(
        facts=conditions.unfinished(readiness, endpoint, connected),
        actions=actions,
        update=update | _endpoints(observed),
        requeue_after=earliest(
            policy.progress_interval if late else None,
            None if refresh_at is None else refresh_at - now,
            _left(expiry, now),
        ),
    )


def _end(
    session: StreamSession, readiness: SessionReadiness, last: Connection, result: SessionResult, now: datetime
) -> _Transition:
    """The server reported how the session ended."""
    time = min(truncate_to_seconds(result.time), now)
    if fault := _misplaced(session, result):
        failure = _fail(session, readiness, FailureReason.INTERNAL, fault, time)
        return replace(failure, update=failure.update | _last_report(last, session))
    update = _last_report(last, session) | _published(result)
    if result.failure is not None:
        failure = _fail(session, readiness, result.failure, result.message or result.reason.message, time)
        return replace(failure, update=failure.update | update)
    published = f" The transcript is published: {result.manifest}" if result.manifest is not None else ""
    done = Fact(True, str(result.reason), f"{result.reason.message}{published}")
    return _complete(session, readiness, done, update, time)


def _misplaced(session: StreamSession, result: SessionResult) -> str:
    """Return what is wrong with a manifest that is not the session's own; empty: nothing."""
    if result.manifest is None:
        return ""
    if session.spec.output is None:
        return f"The server reported a manifest, but the session has no spec.output. {REMEDY}"
    return misplaced(result.manifest, session.spec.output.uri, session.metadata)


def _published(result: SessionResult) -> StatusUpdate:
    """Return what the status says of a transcript."""
    results = None if result.manifest is None else Results.of(result.manifest, result.artifacts)
    return StatusUpdate(results=results, warnings=result.warnings or None)


def _expire(
    session: StreamSession, readiness: SessionReadiness, last: Connection | None, expiry: Expiry, now: datetime
) -> _Transition:
    """Its time is over, and no server reported how it ended."""
    update = StatusUpdate() if last is None else _last_report(last, session)
    if isinstance(expiry.reason, FailureReason):
        failure = _fail(session, readiness, expiry.reason, expiry.message, now)
        return replace(failure, update=update | failure.update)
    done = Fact(True, str(expiry.reason), expiry.message or expiry.reason.message)
    return _complete(session, readiness, done, update, now)


def _last_report(last: Connection, session: StreamSession) -> StatusUpdate:
    started = session.status.start_time or truncate_to_seconds(last.report.started)
    return StatusUpdate(**add_session_stats(session.status, last), pod_name=last.pod, start_time=started)


def _left(expiry: Expiry | None, now: datetime) -> timedelta | None:
    return None if expiry is None else expiry.time - now


def _complete(
    session: StreamSession, readiness: SessionReadiness, done: Fact, update: StatusUpdate, time: datetime
) -> _Transition:
    facts = conditions.complete(readiness, done.reason, done.message, update.get("warnings") or ())
    return _Transition(facts, update | _ended(time), requeue_after=_ttl(session))


def _fail(
    session: StreamSession, readiness: SessionReadiness, reason: FailureReason, message: str, time: datetime
) -> _Transition:
    facts = conditions.failed(readiness, reason, message)
    return _Transition(facts, _ended(time), requeue_after=_ttl(session))


def _ended(time: datetime) -> StatusUpdate:
    return StatusUpdate(
        completion_time=time,
        queue=None,
        endpoints=[],
        token_secret_name=None,
        token_expiration_time=None,
        token_key_id=None,
    )


def _ttl(session: StreamSession) -> timedelta | None:
    ttl = session.spec.ttl_seconds_after_finished
    return None if ttl is None else timedelta(seconds=ttl)


def _token(
    observed: ObservedSession, now: datetime, policy: Policy
) -> tuple[tuple[Action, ...], StatusUpdate, datetime]:
    """Return the action for a token that is valid for a while, what the status says of it, and when to refresh it."""
    session, status = observed.session, observed.session.status
    expires = status.token_expiration_time
    accepted = status.token_key_id is not None and status.token_key_id in {observed.key_id, *observed.accepted_keys}
    valid = expires is not None and accepted and now < _refresh_at(expires, policy)
    if expires is None or not valid:
        expires = now + policy.session_token
    update = StatusUpdate(
        token_secret_name=token_secret_name(session),
        token_expiration_time=expires,
        token_key_id=status.token_key_id if valid else observed.key_id,
    )
    if observed.admission.state == "Admitted" and observed.admission.tenant == observed.holder and not status.tenant:
        update["tenant"] = observed.admission.tenant
    if valid:
        return (), update, _refresh_at(expires, policy)
    tenant = observed.admission.billed_tenant(session.spec.tenant_name, session.metadata.namespace)
    token = IssueToken(build_claims(session, tenant, now, expires), build_token_secret(session))
    return (token,), update, _refresh_at(expires, policy)


def _refresh_at(expires: datetime, policy: Policy) -> datetime:
    return expires - policy.session_token / 3


def _endpoints(observed: ObservedSession) -> StatusUpdate:
    """Return the URLs; those of a pool that is gone are kept until the connection ends."""
    if observed.pool is None:
        return StatusUpdate()
    return StatusUpdate(endpoints=endpoints_of(observed.session, observed.pool))
