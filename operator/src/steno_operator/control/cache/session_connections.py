"""Connections: which session is connected to which server, and what that server reported latest about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from steno_api.model import ObjectRef
from steno_api.server.reports import SessionReport
from steno_api.server.session_end import SessionEnd
from steno_kube.object_cache import Notifier
from steno_operator.plan.session.observed import Connection


@dataclass(frozen=True, slots=True)
class ConnectionsChanged:
    """Something new was reported, or a server is gone."""

    sessions: tuple[ObjectRef, ...]
    """Those that something is new about."""
    first_report_in: str | None = None
    """Namespace of a server that reported for the first time: what statuses say of its sessions is settled now."""


class SessionConnections(Notifier[ConnectionsChanged]):
    """Latest reports, by server's pod and by session. How a session ended is kept until the session is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[str, dict[str, SessionReport]] = {}  # pod UID → session UID → latest report of an open one
        self._pods: dict[str, str] = {}  # pod UID → name
        self._server_of: dict[str, str] = {}  # session UID → pod UID
        self._ended: dict[str, Connection] = {}  # session UID → report with the result

    def update(self, pod_uid: str, pod: str, namespace: str, reports: Iterable[SessionReport]) -> list[str]:
        """Take in everything that a server reports: a session that it does not name is not connected to it any more.

        Args:
            pod_uid: UID of the server's pod.
            pod: its name.
            namespace: its namespace.
            reports: of sessions that are known and have not ended.

        Returns:
            UIDs of sessions that are connected to another server.
        """
        first = pod_uid not in self._open
        before, latest = self._open.get(pod_uid, {}), dict[str, SessionReport]()
        changed, duplicates = list[SessionReport](), list[str]()
        for report in reports:
            uid = report.session.uid
            if self._server_of.get(uid, pod_uid) != pod_uid:
                duplicates.append(uid)
            elif report.result is None:
                latest[uid] = report
            elif report.result.reason is not SessionEnd.DUPLICATE and uid not in self._ended:
                self._ended[uid] = Connection(report, pod)
                changed.append(report)
        self._open[pod_uid], self._pods[pod_uid] = latest, pod
        for uid in before.keys() - latest.keys():
            self._server_of.pop(uid, None)
        self._server_of |= dict.fromkeys(latest, pod_uid)
        changed += [report for uid, report in (before | latest).items() if latest.get(uid) != before.get(uid)]
        self._notify_of(changed, namespace if first else None)
        return duplicates

    def has_reported(self, pod_uid: str) -> bool:
        """Tell whether the server in that pod ever reported."""
        return pod_uid in self._open

    def disconnect(self, pod_uid: str) -> None:
        """Forget a server that is gone; how its sessions ended is kept."""
        self._pods.pop(pod_uid, None)
        lost = self._open.pop(pod_uid, {})
        for uid in lost:
            self._server_of.pop(uid, None)
        self._notify_of(lost.values())

    def forget(self, uid: str) -> None:
        """Forget a session."""
        self._ended.pop(uid, None)
        pod_uid = self._server_of.pop(uid, None)
        if pod_uid is not None:
            self._open.get(pod_uid, {}).pop(uid, None)

    def get(self, uid: str) -> Connection | None:
        """Return the report of a session's end, else what its server reported latest."""
        pod_uid = self._server_of.get(uid, "")
        report = self._open.get(pod_uid, {}).get(uid)
        return self._ended.get(uid) or (None if report is None else Connection(report, self._pods[pod_uid]))

    def _notify_of(self, reports: Iterable[SessionReport], first_report_in: str | None = None) -> None:
        sessions = tuple(report.session for report in reports)
        if sessions or first_report_in is not None:
            self.notify(ConnectionsChanged(sessions, first_report_in))
