"""Session registry: which sessions are open on this server, which have ended, and what the operator knows of them."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.reports import SessionReport
from steno_api.server.session_end import SessionEnd
from steno_api.server.task import PoolTask
from steno_runtime.errors import WorkError
from steno_runtime.serve.access import SessionAccess
from steno_runtime.serve.readiness import Readiness
from steno_runtime.serve.sessions.live_session import EventSink, LiveSession
from steno_runtime.serve.sessions.publish import SessionPublisher
from steno_runtime.stream.engine import SessionLimit
from steno_runtime.stream.session import SessionConfig

log = logging.getLogger(__name__)

MAX_UNREPORTED = 1_000
"""Ended sessions that the operator has not confirmed; the oldest is forgotten first."""
MAX_ENDS_PER_REPORT = 100
"""The operator accepts reports of 1 MiB."""


@dataclass(frozen=True)
class SessionOverrides:
    """What a client may choose for its session; None: its token's setting."""

    language: str | None = None
    interim_results: bool | None = None
    languages: tuple[str, ...] = ()


class SessionRegistry:
    """The sessions of one server, on its event loop.

    Attributes:
        on_end: called with the report of every session that has ended.
    """

    def __init__(
        self,
        task: PoolTask,
        readiness: Readiness,
        access: SessionAccess,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Start empty.

        Args:
            task: of the pool.
            readiness: whether sessions are accepted, and the engine that decodes them.
            access: whose sessions may be opened; it is told of those that end here.
            on_change: called when a session was opened or has ended.
        """
        self._task = task
        self._readiness = readiness
        self._access = access
        access.add_listener(self._end_revoked)
        self._on_change = on_change
        self._publisher = SessionPublisher(task)
        self._live: dict[str, LiveSession] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._unreported: OrderedDict[str, SessionReport] = OrderedDict()
        self.on_end: Callable[[SessionReport], None] = lambda _: None

    @property
    def open_sessions(self) -> int:
        """Sessions that are open, those being published included."""
        return len(self._live)

    def open(self, claims: SessionClaims, overrides: SessionOverrides, sink: EventSink) -> LiveSession:
        """Open a session; its events go to `sink` from now on.

        Args:
            claims: of the session's token.
            overrides: what the client chose.
            sink: sends an event to the client.

        Raises:
            ApiError: `Draining`, `NotReady`, `SessionConnected`, `ServerFull`, `LanguageUnknown`, or that of
                `SessionAccess.check`.
        """
        engine = self._readiness.require_engine()
        if claims.uid in self._live:
            raise ApiError(
                ErrorCode.SESSION_CONNECTED,
                "A client is connected to this session already. End that connection, or create another StreamSession.",
            )
        self._access.check(claims, new_work=True)
        config = SessionConfig(
            uid=claims.uid,
            tenant=claims.tenant,
            language=overrides.language or ("auto" if overrides.languages else claims.language),
            languages=overrides.languages or (() if overrides.language else tuple(claims.languages)),
            interim_results=claims.interim_results if overrides.interim_results is None else overrides.interim_results,
            endpointing_millis=claims.endpointing_millis,
        )
        full = ApiError(
            ErrorCode.SERVER_FULL,
            f"All {self._task.max_sessions} sessions of this server are in use. Try again later, or raise the pool's "
            "maxReplicas.",
            retry_after=5,
        )
        if len(self._live) >= self._task.max_sessions:
            raise full
        try:
            session = engine.open(config)
        except SessionLimit:
            raise full from None
        except WorkError as error:
            raise ApiError(ErrorCode.LANGUAGE_UNKNOWN, error.message) from None
        status = engine.status()
        live = LiveSession(claims, session, model=status.model, device=status.device)
        self._live[claims.uid] = live
        run = asyncio.create_task(live.run(sink, self._publisher.publish), name=f"session {claims.uid}")
        self._runs[claims.uid] = run
        run.add_done_callback(lambda _: self._on_run_done(live))
        log.info("session opened", extra={"session": claims.sub, "uid": claims.uid})
        self._on_change()
        return live

    def reports(self) -> list[SessionReport]:
        """Return a report of every session that the operator has to know of.

        Of many that have ended, the oldest come with their results; the others are reported as open until then.
        """
        unreported = list(self._unreported.values())
        ends, later = unreported[:MAX_ENDS_PER_REPORT], unreported[MAX_ENDS_PER_REPORT:]
        return [
            *(live.report() for live in self._live.values()),
            *ends,
            *(report.model_copy(update={"result": None}) for report in later),
        ]

    def acknowledge(self, uids: list[str]) -> None:
        """Stop reporting the ends of these sessions: the operator knows them."""
        for uid in uids:
            self._unreported.pop(uid, None)

    def end(self, uid: str, reason: SessionEnd) -> None:
        """End a session, if it is open here."""
        if (live := self._live.get(uid)) is not None:
            live.end(reason)

    def _end_revoked(self) -> None:
        for live in self._live.values():
            if self._access.revocation(live.claims) is not None:
                live.end(SessionEnd.DELETED)

    async def drain(self, decode_until: float, publish_until: float) -> None:
        """End every open session; the server's readiness has to be off already.

        Args:
            decode_until: loop time after which audio that is not decoded is dropped.
            publish_until: loop time after which publishing is cancelled.
        """
        loop = asyncio.get_running_loop()
        for live in self._live.values():
            live.end(SessionEnd.DRAINED)
        if pending := [live.decoded for live in self._live.values() if not live.decoded.done()]:
            await asyncio.wait(pending, timeout=max(0.0, decode_until - loop.time()))
        for live in self._live.values():
            if not live.decoded.done():
                live.abort_decoding()
        if runs := list(self._runs.values()):
            _, late = await asyncio.wait(runs, timeout=max(0.0, publish_until - loop.time()))
            for run in late:
                run.cancel()
            if late:
                await asyncio.wait(late)

    def _on_run_done(self, live: LiveSession) -> None:
        uid = live.claims.uid
        del self._live[uid], self._runs[uid]
        report = live.report()
        self._access.ended.add(uid)
        if self._task.reporting is not None:
            self._unreported[uid] = report
            while len(self._unreported) > MAX_UNREPORTED:
                self._unreported.popitem(last=False)
        result = report.result
        log.info(
            "session ended",
            extra={
                "session": live.claims.sub,
                "uid": uid,
                "reason": live.reason,
                "failure": result.failure if result else None,
                "audio_seconds": report.stats.audio_seconds,
                "segments": report.stats.segments,
            },
        )
        self.on_end(report)
        self._on_change()
