"""Pool reports: a server names every session that is open on it, and each that ended until that is acknowledged.

The answers are decided in `plan.session.orders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from steno_api.server.reports import PoolAnswer, PoolReport, SessionOrder, SessionReport
from steno_api.server.session_end import SessionEnd
from steno_operator.control.cache.pool_store import POOL_KIND, SESSION_KIND, pool_key
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.keys import Key
from steno_operator.control.reports.token_review import Caller
from steno_operator.plan.session.orders import answer_report

MAX_BODY = 1024 * 1024


def take_pool_report(
    store: Store, caller: Caller, report: PoolReport, now: datetime | None = None
) -> tuple[int, dict[str, Any]]:
    """Take in a server's report; return the HTTP status and the body of the answer.

    Args:
        store: where reports go, and sessions come from.
        caller: the pod whose token came with the report.
        report: what the server says.
        now: the present; None: by the clock.
    """
    server = store.pools.server(caller.pod_uid)
    if server is None or caller.namespace != report.pool.namespace or server.owner != report.pool.uid:
        return 403, {"message": "the token is not that of a server of this pool"}
    orders: list[SessionOrder] = []
    known: list[str] = []
    open_sessions: list[SessionReport] = []
    for said in report.sessions:
        answer = answer_report(_session(store, report, said), said, now or datetime.now(UTC))
        if answer.keep:
            open_sessions.append(said)
        if answer.acknowledge:
            known.append(said.session.uid)
        if answer.end is not None:
            orders.append(SessionOrder(uid=said.session.uid, reason=answer.end))
    doubled = store.pools.put_reports(caller.pod_uid, open_sessions)
    orders += [SessionOrder(uid=uid, reason=SessionEnd.DUPLICATE) for uid in doubled]
    return 200, PoolAnswer(end=orders, known=known).to_wire()


def _session(store: Store, report: PoolReport, said: SessionReport) -> Mapping[str, Any] | None:
    """Return the raw session of a report, if there is one and it is this pool's."""
    key = Key(SESSION_KIND, said.session.namespace, said.session.name)
    raw = store.resource(key)
    if raw is None or raw["metadata"]["uid"] != said.session.uid:
        return None
    pool = Key(POOL_KIND, report.pool.namespace, report.pool.name)
    return raw if pool_key(raw) == pool else None
