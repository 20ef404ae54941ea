"""Pool reports: a server names every session that is open on it, and each that ended until that is acknowledged.

The answers are decided in `plan.session.orders`. They also list the pool's open sessions when those changed, so that a
server knows within a report's interval whose tokens are void.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from steno_api.server.reports import PoolAnswer, PoolReport, SessionOrder, SessionReport, UploadReport
from steno_api.server.session_end import SessionEnd
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.resource_records import BY_KEY, POOL_KIND, SESSION_KIND, pool_of
from steno_operator.control.cache.snapshots.tenant import exhausted_limits
from steno_operator.control.reports.callers import NOT_A_SERVER, server_of
from steno_operator.control.reports.token_review import PodIdentity
from steno_operator.plan.common.admission import Meter
from steno_operator.plan.common.usage import read_record, record_work
from steno_operator.plan.session.orders import answer_report

MAX_BODY = 1024 * 1024
_LIMITS: Mapping[Meter, Literal["Audio", "Pages"]] = {"audio": "Audio", "pages": "Pages"}


def take_pool_report(
    state: ClusterState, caller: PodIdentity, report: PoolReport, now: datetime | None = None
) -> tuple[int, dict[str, Any]]:
    """Take in a server's report; return the HTTP status and the body of the answer.

    Args:
        state: where reports go, and sessions come from.
        caller: the pod whose token came with the report.
        report: what the server says.
        now: the present; None: by the clock.
    """
    pool = OwnerKey(report.pool.namespace, report.pool.uid)
    named = Key(POOL_KIND, pool.namespace, report.pool.name)
    server = server_of(state, caller, report.pool)
    if server is None:
        return NOT_A_SERVER
    now = now or datetime.now(UTC)
    orders: list[SessionOrder] = []
    known: list[str] = []
    open_sessions: list[SessionReport] = []
    for session in report.sessions:
        answer = answer_report(_session(state, report, session), session, now)
        if answer.keep:
            open_sessions.append(session)
        if answer.acknowledge:
            known.append(session.session.uid)
        if answer.end is not None:
            orders.append(SessionOrder(uid=session.session.uid, reason=answer.end))
    duplicates = state.connections.update(server.uid, server.value.pod.name, server.namespace, open_sessions)
    orders += [SessionOrder(uid=uid, reason=SessionEnd.DUPLICATE) for uid in duplicates]
    more = _open_sessions(state, named, report, now)
    more["charged"] = _take_uploads(state, server.uid, report)
    more["exhausted"] = sorted(_LIMITS[meter] for meter in exhausted_limits(state, pool.namespace, now))
    if report.key_ids is not None and state.token_keys is not None:
        more["key_ring"] = state.token_keys.ring(report.key_ids, now)
    return 200, PoolAnswer(end=orders, known=known, **more).to_wire()


def _take_uploads(state: ClusterState, pod_uid: str, report: PoolReport) -> list[str]:
    """Take in what was done for uploads; return the UIDs of sessions that are accounted for."""
    charged: list[str] = []
    taken: list[UploadReport] = []
    for upload in report.uploads if report.process else ():
        owner = OwnerKey(upload.session.namespace, upload.session.uid)
        session, reserving = _session(state, report, upload), state.reserving_quota(owner)
        reserved = reserving is not None and reserving.reservations[owner].kind == SESSION_KIND
        if session is None and not (reserved and owner.namespace == report.pool.namespace):  # deleted, or another's
            charged.append(owner.uid)
        elif reserved or upload.active or session is None or not _is_recorded(session, report.process, upload):
            taken.append(upload)
        else:
            charged.append(owner.uid)
            state.uploads.forget(owner)
    state.uploads.update(pod_uid, report.process or "", taken)
    return charged


def _is_recorded(session: Mapping[str, Any], process: str | None, upload: UploadReport) -> bool:
    """Tell whether a session has ended and its status has what was done for its uploads."""
    status = session.get("status") or {}
    record = read_record(status)
    return bool(status.get("completionTime")) and record_work(record, {process or "": upload.used}) == record


def _open_sessions(state: ClusterState, pool: Key, report: PoolReport, now: datetime) -> dict[str, Any]:
    """Return the fields of the answer about open sessions, for a server that takes them."""
    found = None if report.revision is None else state.open_sessions.of_pool(pool)
    if found is None:
        return {}
    news = {} if report.revision == found.revision else {"open": found.uids}
    return {"revision": found.revision, "time": now, **news}


def _session(
    state: ClusterState, report: PoolReport, session: SessionReport | UploadReport
) -> Mapping[str, Any] | None:
    """Return the raw session of a report, if there is one and it is this pool's."""
    key = Key(SESSION_KIND, session.session.namespace, session.session.name)
    found = next(iter(state.resources.by_index(BY_KEY, key)), None)
    place = None if found is None else found.value.place
    if found is None or place is None or found.uid != session.session.uid:
        return None
    return found.value.raw if pool_of(place) == Key(POOL_KIND, report.pool.namespace, report.pool.name) else None
