"""What servers report of their sessions, and what they are told in the answer.

A report names every session that is open on a server, and repeats each that ended until it is `known`: that is once its
end stands in its status. So no end is lost, whatever happens to the operator in between; a transcript that is published
after the operator gave its server up is not lost either.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from steno_api.server.reports import PoolAnswer, PoolReport, SessionOrder, SessionReport
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.reasons import ConditionType
from steno_api.v1alpha1.streamsession import StreamSessionSpec
from steno_operator.control.cache.pool_store import POOL_KIND, SESSION_KIND, pool_key
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.keys import Key
from steno_operator.control.reports.token_review import Caller

MAX_BODY = 1024 * 1024
_LONGEST = StreamSessionSpec().max_duration_seconds


def take_pool_report(
    store: Store, caller: Caller, report: PoolReport, now: datetime | None = None
) -> tuple[int, dict[str, Any]]:
    """Takes in a server's report; returns the HTTP status and the body of the answer."""
    now = now or datetime.now(UTC)
    server = store.pools.server(caller.pod_uid)
    if server is None or caller.namespace != report.pool.namespace or server.owner != report.pool.uid:
        return 403, {"message": "the token is not that of a server of this pool"}
    orders: list[SessionOrder] = []
    known: list[str] = []
    open_sessions: list[SessionReport] = []
    for said in report.sessions:
        raw = _session(store, report, said)
        order = _order(raw)
        if order is None and not _is_duplicate(said):
            open_sessions.append(said)
            if said.result is None and raw is not None and _is_over_time(raw, now):
                orders.append(SessionOrder(uid=said.session.uid, reason=SessionEnd.MAX_DURATION))
        elif raw is not None and _is_late(raw, said):
            open_sessions.append(said)
        elif said.result is not None:
            known.append(said.session.uid)
        else:
            orders.append(SessionOrder(uid=said.session.uid, reason=order or SessionEnd.DUPLICATE))
    doubled = store.pools.put_reports(caller.pod_uid, open_sessions)
    orders += [SessionOrder(uid=uid, reason=SessionEnd.DUPLICATE) for uid in doubled]
    return 200, PoolAnswer(end=orders, known=known).to_wire()


def _session(store: Store, report: PoolReport, said: SessionReport) -> Mapping[str, Any] | None:
    """Returns the session that is spoken of, if there is one and it is this pool's."""
    key = Key(SESSION_KIND, said.session.namespace, said.session.name)
    raw = store.resource(key)
    if raw is None or raw["metadata"]["uid"] != said.session.uid:
        return None
    pool = Key(POOL_KIND, report.pool.namespace, report.pool.name)
    return raw if pool_key(raw) == pool else None


def _order(raw: Mapping[str, Any] | None) -> SessionEnd | None:
    """Returns why a session is to end, or ended; None while it is to go on."""
    if raw is None or "deletionTimestamp" in raw["metadata"]:
        return SessionEnd.DELETED
    status = raw.get("status") or {}
    if not status.get("completionTime"):
        return None
    complete = next((each for each in status["conditions"] if each["type"] == ConditionType.COMPLETE), {})
    reason = complete.get("reason", "")
    return SessionEnd(reason) if reason in set(SessionEnd) else SessionEnd.DELETED


def _is_over_time(raw: Mapping[str, Any], now: datetime) -> bool:
    """Whether a session lasts too long since its first client came; its server knows of its own only."""
    started = (raw.get("status") or {}).get("startTime")
    longest = (raw.get("spec") or {}).get("maxDurationSeconds", _LONGEST)
    return bool(started) and now >= datetime.fromisoformat(started) + timedelta(seconds=longest)


def _is_late(raw: Mapping[str, Any], said: SessionReport) -> bool:
    """Whether a server tells of a transcript that the status of the ended session does not know of."""
    status, result = raw.get("status") or {}, said.result
    return (
        "deletionTimestamp" not in raw["metadata"]
        and not status.get("results")
        and result is not None
        and result.manifest is not None
        and result.reason is not SessionEnd.DUPLICATE
    )


def _is_duplicate(said: SessionReport) -> bool:
    return said.result is not None and said.result.reason is SessionEnd.DUPLICATE
