"""Live session: one StreamSession while its client is connected: its limits, audio in, events out, and its end.

It outlives the connection: audio of a client that has disconnected is still decoded and published.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_api.model import ObjectRef
from steno_api.server.claims import SessionClaims
from steno_api.server.reports import SessionReport, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.streamsession import SessionStats
from steno_runtime.errors import WorkError, explain
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.serve.sessions.publish import SessionRecord
from steno_runtime.stream.events import Event
from steno_runtime.stream.session import Session, SessionClosed
from steno_runtime.stt.language_changes import describe_confidence

log = logging.getLogger(__name__)

SEND_SECONDS = 30.0
"""A client that reads nothing for this long has gone."""
BYTES_PER_SECOND = 2 * SAMPLE_RATE
"""Of signed 16-bit mono PCM at 16 kHz."""
BACKLOG_BYTES = 64 * 1024 * 1024
"""Audio (35 minutes) that is taken from a client while the engine is behind. A connection's pings stand in line behind
its audio: they are answered only while that is read."""
POLL_SECONDS = 1.0

EventSink = Callable[[Event], Awaitable[None]]
"""Sends an event to the client; raises when the client has gone."""
Publish = Callable[[SessionRecord], Awaitable[SessionResult]]
"""Publishes a session; returns the result, whose reason is still to be set."""


def now() -> float:
    """The clock of a session: seconds."""
    return asyncio.get_running_loop().time()


class LiveSession:
    """A session while it is open here, and until its transcript is published.

    Attributes:
        decoded: done once every event was given to the client; no more follow. Its value is why decoding broke off, if
            it did.
        published: done once the session is published, with how it ended.
    """

    def __init__(self, claims: SessionClaims, session: Session, *, model: str, device: str) -> None:
        loop = asyncio.get_running_loop()
        self.claims = claims
        self.ref = ObjectRef(namespace=claims.namespace, name=claims.name, uid=claims.uid)
        self.started = datetime.now(UTC)
        self.ending = asyncio.Event()
        self.decoded: asyncio.Future[WorkError | None] = loop.create_future()
        self.published: asyncio.Future[SessionResult] = loop.create_future()
        self._session = session
        self._model, self._device = model, device
        self._opened = self._last_audio = now()
        self._audio_left = claims.max_duration_seconds * BYTES_PER_SECOND
        self._backlog: deque[bytes | None] = deque()
        """What is still to be given to the engine's session, in order; None: end the open utterance."""
        self._backlog_bytes = 0
        self._changed = asyncio.Event()
        """Set when something is added to the backlog, or the session ends."""
        self._room = asyncio.Event()
        self._unreadable: tuple[float, float] | None = None
        """Where audio that could not be read is missing, the first and the last time, in seconds."""
        self._unreadable_count = 0
        self._reason: SessionEnd | None = None
        self._loss: WorkError | None = None

    @property
    def stats(self) -> SessionStats:
        """Statistics so far."""
        return self._session.stats

    @property
    def reason(self) -> SessionEnd:
        """Why it ends, or ended; only once `ending` is set."""
        return self._reason or SessionEnd.DRAINED

    def report(self) -> SessionReport:
        """Return what the operator is to know of it."""
        result = self.published.result() if self.published.done() else None
        return SessionReport(session=self.ref, started=self.started, stats=self.stats, result=result)

    async def feed(self, pcm: bytes) -> None:
        """Take audio (signed 16-bit mono PCM, 16 kHz); wait while the engine is `BACKLOG_BYTES` behind.

        What comes after the session's end is dropped.
        """
        if not pcm or self.ending.is_set():
            return
        pcm = pcm[: self._audio_left]
        self._audio_left -= len(pcm)
        self._backlog_bytes += len(pcm)
        self._last_audio = now()
        self._add(pcm)
        if self._audio_left <= 0:
            self.end(SessionEnd.MAX_DURATION)
        while self._backlog_bytes > BACKLOG_BYTES and not self.ending.is_set():
            self._room.clear()
            await self._room.wait()

    def finalize(self) -> None:
        """End the open utterance once the audio before is decoded; the session goes on."""
        if not self.ending.is_set():
            self._add(None)

    def skip_unreadable(self, count: int = 1) -> None:
        """Remember that so many pieces of audio could not be read, at this place of the audio."""
        if not count:
            return
        place = round(self._accepted_seconds, 3)
        self._unreadable = (place if self._unreadable is None else self._unreadable[0], place)
        self._unreadable_count += count

    @property
    def _accepted_seconds(self) -> float:
        return self.claims.max_duration_seconds - self._audio_left / BYTES_PER_SECOND

    def _add(self, item: bytes | None) -> None:
        self._backlog.append(item)
        self._changed.set()

    def end(self, reason: SessionEnd) -> None:
        """Take no more audio; what was accepted is still decoded and published. The first reason counts."""
        if self._reason is None:
            self._reason = reason
            self.ending.set()
            self._changed.set()
            self._room.set()
            log.info("session ends", extra={"session": self.claims.sub, "uid": self.claims.uid, "reason": reason})

    def abort_decoding(self) -> None:
        """Drop what is not decoded yet; the result says how much that was."""
        self.end(SessionEnd.DRAINED)
        self._drop_undecoded(
            FailureReason.PREEMPTED,
            "The server had to stop before",
            "Send them again in another session. If servers are often behind when they stop, lower the pool's "
            "sessionsPerReplica, or give its RuntimeProfile more CPUs or a GPU.",
        )

    async def run(self, sink: EventSink, publish: Publish) -> None:
        """Forward events to `sink` until they end, then publish. Never raises; cancelled, it publishes nothing.

        Args:
            sink: to the client.
            publish: publishes the transcript; called once, unless the session goes on at another server.
        """
        tasks = [asyncio.create_task(self._enforce_limits()), asyncio.create_task(self._decode_backlog())]
        failure: WorkError | None = None
        try:
            failure = await self._forward_events(sink)
            self.end(SessionEnd.DRAINED)
            self.decoded.set_result(failure)
            if self.reason is SessionEnd.DUPLICATE:  # the session goes on at another server, which publishes it
                result = SessionResult(reason=self.reason, time=datetime.now(UTC))
            else:
                result = await publish(self._record())
        except asyncio.CancelledError:
            self._session.abort()
            message = "The server had to stop before the transcript was published."
            result = _with_failure(SessionResult(reason=self.reason, time=datetime.now(UTC)),
                             WorkError(FailureReason.OUTPUT_UNAVAILABLE, message))  # fmt: skip
        finally:
            for task in tasks:
                task.cancel()
        self.end(SessionEnd.DRAINED)
        if not self.decoded.done():
            self.decoded.set_result(failure)
        result = result.model_copy(update={"reason": self.reason, "time": datetime.now(UTC)})
        self.published.set_result(self._with_loss(result) if failure is None else _with_failure(result, failure))

    async def _forward_events(self, sink: EventSink) -> WorkError | None:
        connected = True
        try:
            async for event in self._session.events():
                if not connected:
                    continue
                try:
                    async with asyncio.timeout(SEND_SECONDS):
                        await sink(event)
                except Exception as error:  # noqa: BLE001  (whatever it is, the client cannot be reached)
                    log.info("the client has gone", extra={"session": self.claims.sub, "error": type(error).__name__})
                    connected = False
                    self.end(SessionEnd.CLIENT_GONE)
        except WorkError as error:
            log.warning("decoding failed", extra={"session": self.claims.sub, "reason": error.reason})
            return error
        except Exception as error:  # noqa: BLE001
            # Its text is not logged: it may quote what was decoded.
            log.error("decoding failed", extra={"session": self.claims.sub, "error": type(error).__name__})  # noqa: TRY400
            self._session.abort()
            remedy = "Lower the pool's sessionsPerReplica, or give its RuntimeProfile more memory."
            return explain(error, "Decoding", remedy=remedy)
        return None

    async def _enforce_limits(self) -> None:
        """End the session at its maximum duration, or when no audio came for too long."""
        claims = self.claims
        while not self.ending.is_set():
            present = now()
            left = self._opened + claims.max_duration_seconds - present
            if left <= 0:
                self.end(SessionEnd.MAX_DURATION)
                return
            # A client that waits for the engine is not idle.
            silent = 0.0 if self._backlog else present - self._last_audio
            if silent >= claims.idle_timeout_seconds:
                self.end(SessionEnd.IDLE_TIMEOUT)
                return
            await asyncio.sleep(max(0.01, min(left, claims.idle_timeout_seconds - silent, POLL_SECONDS)))

    async def _decode_backlog(self) -> None:
        """Give the engine's session its audio, in order; finish it when the session has ended and nothing is left."""
        try:
            while self._backlog or not self.ending.is_set():
                self._changed.clear()
                if not self._backlog:
                    await self._changed.wait()
                while self._backlog and self._reason is not SessionEnd.DUPLICATE:
                    await self._decode_next()
                if self._reason is SessionEnd.DUPLICATE:  # the server that has the session has its audio
                    self._backlog.clear()
            await self._session.finish()
        except SessionClosed:  # decoding failed, or was aborted: `run` knows why
            self._backlog.clear()
            self._backlog_bytes = 0
            self._room.set()
        except Exception as error:  # noqa: BLE001  (whatever it is, the session must not stay open)
            log.error("finishing failed", extra={"session": self.claims.sub, "error": type(error).__name__})  # noqa: TRY400
            why = f"The session could not be finished ({type(error).__name__}) before"
            self._drop_undecoded(FailureReason.INTERNAL, why, "This is a defect; please report it.")

    async def _decode_next(self) -> None:
        pcm = self._backlog[0]  # it counts as waiting until it is taken
        if pcm is None:
            await self._session.finalize()
        else:
            await self._session.feed(pcm)
            self._backlog_bytes -= len(pcm)
            self._last_audio = now()
            self._room.set()
        self._backlog.popleft()

    def _drop_undecoded(self, reason: FailureReason, why: str, remedy: str) -> None:
        """Abort decoding, and remember what is lost by it."""
        lost = round(self._accepted_seconds - self._session.finalized_seconds, 1)
        if lost > 0:
            log.warning("audio is lost", extra={"session": self.claims.sub, "seconds": lost})
            message = f"{why} the last {lost} s of audio were decoded; they are not in the transcript. {remedy}"
            self._loss = WorkError(reason, message)
        self._session.abort()

    def _with_loss(self, result: SessionResult) -> SessionResult:
        if self._loss is None or self.reason is SessionEnd.DUPLICATE:
            return result
        if result.failure is not None:  # nothing was published at all, which is worse
            return result.model_copy(update={"message": f"{result.message} {self._loss.message}"[:1000]})
        return _with_failure(result, self._loss)

    def _record(self) -> SessionRecord:
        stats = self._session.stats
        return SessionRecord(
            claims=self.claims,
            segments=self._session.segments,
            duration=stats.audio_seconds,
            seconds=round(now() - self._opened, 3),
            language=stats.language,
            model=self._model,
            device=self._device,
            warnings=self._warnings(),
        )

    def _warnings(self) -> tuple[ResultWarning, ...]:
        language, confidence = self.stats.language, self._session.language_confidence
        uncertain = [*self._session.language_warnings]
        uncertain += [] if language is None else describe_confidence(language, confidence)
        if self._unreadable is None:
            return tuple(uncertain)
        message = (
            f"Audio from the client could not be read ({self._unreadable_count} times) and is missing: packets that "
            "are damaged, or chunks that the client was told of by an error."
        )
        first, last = self._unreadable
        lost = ResultWarning(reason=WarningReason.DAMAGED_SOURCE, message=message, start=first, end=last)
        return (lost, *uncertain)


def _with_failure(result: SessionResult, failure: WorkError) -> SessionResult:
    return result.model_copy(update={"failure": failure.reason, "message": failure.message[:1000]})
