"""Which session is connected to which server, and what that server said latest of it."""

from __future__ import annotations

from collections.abc import Iterable

from steno_api.server.reports import SessionReport
from steno_api.server.session_end import SessionEnd
from steno_operator.plan.session.observed import Connection


class Connections:
    """Latest reports, by server's pod and by session. A session's last word stands until the session is forgotten."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, SessionReport]] = {}  # pod UID → session UID → latest report of an open one
        self._pods: dict[str, str] = {}  # pod UID → name
        self._server_of: dict[str, str] = {}  # session UID → pod UID
        self._last_words: dict[str, Connection] = {}  # session UID → report with the result

    def put(self, pod_uid: str, pod: str, reports: Iterable[SessionReport]) -> tuple[list[SessionReport], list[str]]:
        """Takes in all that a server says: what it does not speak of any more is not connected to it any more.

        Returns:
            A report of each session about which something is new, and the UIDs of sessions that another server has.
        """
        before, latest = self._open.get(pod_uid, {}), dict[str, SessionReport]()
        news, doubled = list[SessionReport](), list[str]()
        for report in reports:
            uid = report.session.uid
            if self._server_of.get(uid, pod_uid) != pod_uid:
                doubled.append(uid)
            elif report.result is None:
                latest[uid] = report
            elif report.result.reason is not SessionEnd.DUPLICATE and uid not in self._last_words:
                self._last_words[uid] = Connection(report, pod)
                news.append(report)
        self._open[pod_uid], self._pods[pod_uid] = latest, pod
        for uid in before.keys() - latest.keys():
            self._server_of.pop(uid, None)
        self._server_of |= dict.fromkeys(latest, pod_uid)
        news += [report for uid, report in (before | latest).items() if latest.get(uid) != before.get(uid)]
        return news, doubled

    def heard_of(self, pod_uid: str) -> bool:
        """Whether the server in that pod ever reported."""
        return pod_uid in self._open

    def drop_pod(self, pod_uid: str) -> list[SessionReport]:
        """Forgets a server that is gone; returns the reports of those who were connected to it."""
        self._pods.pop(pod_uid, None)
        lost = self._open.pop(pod_uid, {})
        for uid in lost:
            self._server_of.pop(uid, None)
        return list(lost.values())

    def forget(self, uid: str) -> None:
        """Forgets a session."""
        self._last_words.pop(uid, None)
        pod_uid = self._server_of.pop(uid, None)
        if pod_uid is not None:
            self._open.get(pod_uid, {}).pop(uid, None)

    def of(self, uid: str) -> Connection | None:
        """Returns a session's last word, else what its server said latest."""
        pod_uid = self._server_of.get(uid, "")
        report = self._open.get(pod_uid, {}).get(uid)
        return self._last_words.get(uid) or (None if report is None else Connection(report, self._pods[pod_uid]))
