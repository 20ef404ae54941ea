"""What servers reported latest of uploads: the work of each session by server run, and which of it may still grow.

Kept until the session's status and its Tenant have it. Separate because it outlives both the session and its servers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from steno_api.model import ObjectRef
from steno_api.server.reports import UploadReport
from steno_api.usage import MAX_PROCESSES, Work
from steno_kube.object_cache import BoundedDict, Notifier, OwnerKey

_SESSIONS = 50_000


@dataclass(slots=True)
class _Uploads:
    session: ObjectRef
    work: dict[str, Work] = field(default_factory=dict[str, Work])  # by server run
    active: dict[str, str] = field(default_factory=dict[str, str])  # UID of the server's pod → its run


class UploadReports(Notifier[ObjectRef]):
    """Work for uploads, by session; notifies of the session whose uploads have changed."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: BoundedDict[OwnerKey, _Uploads] = BoundedDict(_SESSIONS)

    def update(self, pod_uid: str, process: str, reports: Iterable[UploadReport]) -> None:
        """Take in what a server reports of sessions that are not accounted for yet.

        Args:
            pod_uid: UID of the server's pod.
            process: its run.
            reports: of known sessions of its pool.
        """
        for report in reports:
            owner = OwnerKey(report.session.namespace, report.session.uid)
            known = self._sessions.get(owner) or _Uploads(report.session)
            before = (known.work.get(process), known.active.get(pod_uid))
            known.work[process] = report.used.union(known.work.get(process, Work()))
            if len(known.work) > MAX_PROCESSES:
                del known.work[min(known.work)]
            if report.active:
                known.active[pod_uid] = process
            else:
                known.active.pop(pod_uid, None)
            self._sessions[owner] = known
            if before != (known.work.get(process), known.active.get(pod_uid)):
                self.notify(report.session)

    def disconnect(self, pod_uid: str) -> None:
        """Nothing more is done by a server that is gone."""
        for known in list(self._sessions.values()):
            if known.active.pop(pod_uid, None) is not None:
                self.notify(known.session)

    def work(self, owner: OwnerKey) -> dict[str, Work]:
        """Return what was done for a session's uploads, by server run."""
        known = self._sessions.get(owner)
        return {} if known is None else dict(known.work)

    def is_active(self, owner: OwnerKey) -> bool:
        """Tell whether something of a session's uploads is still worked on."""
        known = self._sessions.get(owner)
        return known is not None and bool(known.active)

    def forget(self, owner: OwnerKey) -> None:
        """Forget a session that is accounted for."""
        self._sessions.pop(owner, None)
