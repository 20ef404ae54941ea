"""Metering of uploads: what was done for each session since this server began, for the reports to the operator.

What is done counts while it is done, whatever becomes of it. A session stays in the reports until the operator says
that it has ended and was charged for. What it says of the Tenant's daily limits is checked before an upload begins.
"""

from __future__ import annotations

import logging
import uuid
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from steno_api.model import ObjectRef
from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.reports import MAX_UPLOAD_REPORTS, UploadReport
from steno_api.usage import Work
from steno_runtime.progress import ProgressUpdate

log = logging.getLogger(__name__)

MAX_SESSIONS = 10_000
"""That are remembered; the oldest that nothing is done for is forgotten first."""

_METERS = {"stt": ("Audio", "minutes of audio"), "ocr": ("Pages", "pages")}


@dataclass(eq=False)
class JobMeter:
    """What is done for one upload. Written by the thread that does it."""

    used: Work = field(default_factory=Work)

    def count(self, update: ProgressUpdate) -> None:
        """Count what progress says was done."""
        if update.audio_seconds is not None or update.pages is not None:
            self.used = self.used.union(Work.of(update.audio_seconds, update.pages))


@dataclass(eq=False)
class _SessionMeter:
    session: ObjectRef
    done: Work = field(default_factory=Work)
    open: set[JobMeter] = field(default_factory=set[JobMeter])

    def report(self) -> UploadReport:
        used = self.done
        for job in self.open:
            used = used.plus(job.used)
        return UploadReport(session=self.session, used=used, active=bool(self.open))


class UploadMeter:
    """What was done for the uploads of each session, on a server's event loop.

    Attributes:
        process: names this run of the server.
    """

    def __init__(self, *, reported: bool) -> None:
        """Begin at zero.

        Args:
            reported: whether anybody is told; otherwise nothing is remembered.
        """
        self.process = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:16]}"
        self._reported = reported
        self._sessions: OrderedDict[str, _SessionMeter] = OrderedDict()
        self._exhausted: frozenset[str] = frozenset()

    def check(self, kind: str) -> None:
        """Check that the Tenant's daily limit leaves room for an upload.

        Raises:
            ApiError: `QuotaExceeded`.
        """
        limit, what = _METERS[kind]
        if limit in self._exhausted:
            message = (
                f"The Tenant has used up its {what} for today. Try again after 00:00 UTC, or have its limit raised."
            )
            raise ApiError(ErrorCode.QUOTA_EXCEEDED, message)

    def begin(self, claims: SessionClaims) -> JobMeter:
        """Return the meter of an upload that begins."""
        job = JobMeter()
        if self._reported:
            reference = ObjectRef(namespace=claims.namespace, name=claims.name, uid=claims.uid)
            self._sessions.setdefault(claims.uid, _SessionMeter(reference)).open.add(job)
            self._forget_oldest()
        return job

    def end(self, claims: SessionClaims, job: JobMeter) -> None:
        """Nothing more is done for an upload."""
        session = self._sessions.get(claims.uid)
        if session is not None and job in session.open:
            session.open.discard(job)
            session.done = session.done.plus(job.used)

    def reports(self) -> list[UploadReport]:
        """Return what the operator has to know; of very many sessions others come first the next time."""
        reported = list(self._sessions)[:MAX_UPLOAD_REPORTS]
        reports = [self._sessions[uid].report() for uid in reported]
        if len(self._sessions) > MAX_UPLOAD_REPORTS:
            for uid in reported:
                self._sessions.move_to_end(uid)
        return reports

    def update(self, charged: Collection[str], exhausted: Collection[str]) -> None:
        """Take what the operator answers to a report.

        Args:
            charged: UIDs of sessions that have ended and were charged for.
            exhausted: the daily limits that are reached.
        """
        self._exhausted = frozenset(exhausted)
        for uid in charged:
            if uid in self._sessions and not self._sessions[uid].open:
                del self._sessions[uid]

    def _forget_oldest(self) -> None:
        if len(self._sessions) <= MAX_SESSIONS:
            return
        idle = next((uid for uid, session in self._sessions.items() if not session.open), None)
        if idle is not None:
            del self._sessions[idle]
            log.warning("the uploads of a session are no longer reported: too many sessions", extra={"uid": idle})
