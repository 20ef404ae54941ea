"""The sessions of this server: who may open one, which are open, which have ended, and how they are published."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from steno_api.documents.manifest import MANIFEST_NAME
from steno_api.failures import FailureReason
from steno_api.server.claims import SessionClaims
from steno_api.server.reports import PUBLISH_TIMEOUT_SECONDS, SessionReport, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.server.task import PoolTask
from steno_runtime.errors import WorkError
from steno_runtime.serve.errors import Code, Refusal
from steno_runtime.serve.sessions import publish
from steno_runtime.serve.sessions.live_session import Live, Sink
from steno_runtime.stream.engine import SessionLimit, StreamEngine
from steno_runtime.stream.session import SessionConfig

log = logging.getLogger(__name__)

MOST_ENDED = 10_000
"""UIDs remembered so that an ended session is not opened again."""
MOST_UNREPORTED = 1_000
"""Ended sessions that the operator has not confirmed; the oldest is forgotten first."""
MOST_ENDS_REPORTED = 100
"""At once: the operator takes reports of 1 MiB."""
PUBLISHING_THREADS = 4
PATIENCE_SECONDS = PUBLISH_TIMEOUT_SECONDS
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0


@dataclass(frozen=True)
class Wishes:
    """What a client may choose for its session; None: as its token says."""

    language: str | None = None
    interim_results: bool | None = None


class Registry:
    """Of one server, on its event loop."""

    def __init__(self, task: PoolTask, changed: Callable[[], None] = lambda: None) -> None:
        self._task = task
        self._changed = changed
        self._engine: StreamEngine | None = None
        self._draining = False
        self._live: dict[str, Live] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._unreported: OrderedDict[str, SessionReport] = OrderedDict()
        self._publishers = ThreadPoolExecutor(PUBLISHING_THREADS, thread_name_prefix="publish")
        self.on_end: Callable[[SessionReport], None] = lambda _: None

    @property
    def open(self) -> int:
        """Sessions that are open, those being published included."""
        return len(self._live)

    @property
    def ready(self) -> bool:
        """Whether sessions are taken."""
        return self._engine is not None and not self._draining

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop."""
        return self._draining

    def serve(self, engine: StreamEngine) -> None:
        """Takes sessions from now on."""
        self._engine = engine

    def ended(self, uid: str) -> bool:
        """Tells whether that session has ended here."""
        return uid in self._ended

    def check_open(self) -> StreamEngine:
        """Returns the engine.

        Raises:
            Refusal: `Draining` or `NotReady`.
        """
        if self._draining:
            raise Refusal(
                Code.DRAINING, "This server is about to stop. Connect again: another one takes over.", retry_after=5
            )
        if self._engine is None:
            raise Refusal(Code.NOT_READY, "The model is still being loaded. Try again in a few seconds.", retry_after=5)
        return self._engine

    def begin(self, claims: SessionClaims, wishes: Wishes, sink: Sink) -> Live:
        """Opens a session; its events go to `sink` from now on.

        Raises:
            Refusal: `Draining`, `NotReady`, `SessionConnected`, `SessionEnded`, `ServerFull` or `LanguageUnknown`.
        """
        engine = self.check_open()
        if claims.uid in self._live:
            raise Refusal(
                Code.SESSION_CONNECTED,
                "A client is connected to this session already. End that connection, or create another StreamSession.",
            )
        if claims.uid in self._ended:
            raise Refusal(Code.SESSION_ENDED, "This session has ended. Create another StreamSession.")
        config = SessionConfig(
            uid=claims.uid,
            tenant=claims.tenant,
            language=wishes.language or claims.language,
            interim_results=claims.interim_results if wishes.interim_results is None else wishes.interim_results,
            endpointing_millis=claims.endpointing_millis,
        )
        full = Refusal(
            Code.SERVER_FULL,
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
            raise Refusal(Code.LANGUAGE_UNKNOWN, error.message) from None
        status = engine.status()
        live = Live(claims, session, model=status.model, device=status.device)
        self._live[claims.uid] = live
        run = asyncio.create_task(live.run(sink, self._publish), name=f"session {claims.uid}")
        self._runs[claims.uid] = run
        run.add_done_callback(lambda _: self._settle(live))
        log.info("session begins", extra={"session": claims.sub, "uid": claims.uid})
        self._changed()
        return live

    def reports(self) -> list[SessionReport]:
        """Returns a report of every session that the operator is to know of.

        Of many that ended, those that did first; the rest as if they were open, until it is their turn.
        """
        unreported = list(self._unreported.values())
        ends, later = unreported[:MOST_ENDS_REPORTED], unreported[MOST_ENDS_REPORTED:]
        return [
            *(live.report() for live in self._live.values()),
            *ends,
            *(report.model_copy(update={"result": None}) for report in later),
        ]

    def forget(self, uids: list[str]) -> None:
        """Takes the operator's word that it knows how these sessions ended."""
        for uid in uids:
            self._unreported.pop(uid, None)

    def end(self, uid: str, reason: SessionEnd) -> None:
        """Ends a session, if it is open here."""
        if (live := self._live.get(uid)) is not None:
            live.end(reason)

    async def drain(self, decode_until: float, publish_until: float) -> None:
        """Takes no more sessions and ends those that are open.

        Args:
            decode_until: loop time after which what is not decoded is dropped.
            publish_until: loop time after which publishing is given up.
        """
        self._draining = True
        loop = asyncio.get_running_loop()
        for live in self._live.values():
            live.end(SessionEnd.DRAINED)
        if pending := [live.decoding for live in self._live.values() if not live.decoding.done()]:
            await asyncio.wait(pending, timeout=max(0.0, decode_until - loop.time()))
        for live in self._live.values():
            if not live.decoding.done():
                live.hurry()
        if runs := list(self._runs.values()):
            _, late = await asyncio.wait(runs, timeout=max(0.0, publish_until - loop.time()))
            for run in late:
                run.cancel()
            if late:
                await asyncio.wait(late)

    def _settle(self, live: Live) -> None:
        uid = live.claims.uid
        del self._live[uid], self._runs[uid]
        report = live.report()
        self._ended[uid] = None
        if self._task.reporting is not None:
            self._unreported[uid] = report
        for memory, most in ((self._ended, MOST_ENDED), (self._unreported, MOST_UNREPORTED)):
            while len(memory) > most:
                memory.popitem(last=False)
        result = report.result
        log.info(
            "session ended",
            extra={
                "session": live.claims.sub,
                "uid": uid,
                "reason": live.reason,
                "failure": result.failure if result else None,
                "audio_seconds": report.figures.audio_seconds,
                "segments": report.figures.segments,
            },
        )
        self.on_end(report)
        self._changed()

    async def _publish(self, told: publish.Told) -> SessionResult:
        """Publishes with patience; a failure is part of the result."""
        result = SessionResult(reason=SessionEnd.DRAINED, time=datetime.now(UTC))
        claims, place = told.claims, self._task.output
        if claims.output_uri is None or place is None:
            return result
        loop = asyncio.get_running_loop()
        give_up, tries = loop.time() + PATIENCE_SECONDS, 0
        while True:
            tries += 1
            try:
                output = await loop.run_in_executor(self._publishers, publish.output_of, claims, place)
                manifest = await loop.run_in_executor(self._publishers, publish.publish, output, told)
            except WorkError as error:
                log.warning("publishing failed", extra={"session": claims.sub, "reason": error.reason, "tries": tries})
                if error.reason is not FailureReason.OUTPUT_UNAVAILABLE or loop.time() > give_up:
                    return result.model_copy(update={"failure": error.reason, "message": error.message[:1000]})
            except Exception as error:  # noqa: BLE001
                log.error("publishing failed", extra={"session": claims.sub, "error": type(error).__name__})  # noqa: TRY400
                why = f"Publishing failed unexpectedly ({type(error).__name__}): a defect; report it."
                return result.model_copy(update={"failure": FailureReason.INTERNAL, "message": why})
            else:
                uri = f"{output.uri}/{MANIFEST_NAME}"
                return result.model_copy(update={"manifest": uri, "artifacts": manifest.artifacts})
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (tries - 1))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  (spreads load; not a secret)
