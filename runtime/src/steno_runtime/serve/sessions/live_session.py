"""One connected session: its clocks, its audio on the way in, its events on the way out, and how it ended.

It outlives the connection: what a client that vanished had said is still decoded and published.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from steno_api.failures import FailureReason
from steno_api.model import ObjectRef
from steno_api.server.claims import SessionClaims
from steno_api.server.reports import SessionReport, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.streamsession import SessionFigures
from steno_runtime.errors import WorkError, is_out_of_memory
from steno_runtime.serve.sessions.publish import Told
from steno_runtime.stream.events import Event
from steno_runtime.stream.session import Session, SessionClosed

log = logging.getLogger(__name__)

SEND_SECONDS = 30.0
"""A client that takes nothing for so long is gone."""
BYTES_PER_SECOND = 32_000
"""Of s16le mono 16 kHz."""
POLL_SECONDS = 1.0

Sink = Callable[[Event], Awaitable[None]]
"""Sends an event to the client; raises when there is none any more."""
Publish = Callable[[Told], Awaitable[SessionResult]]
"""Publishes a session; gives the result with its reason still to be set."""


def now() -> float:
    """The clock of a session: seconds."""
    return asyncio.get_running_loop().time()


class Live:
    """A session while it is open here, and until its transcript is published.

    Attributes:
        decoding: done once every event was given to the client; no more follow.
        done: done once the session is published, with how it ended.
    """

    def __init__(self, claims: SessionClaims, session: Session, *, model: str, device: str) -> None:
        loop = asyncio.get_running_loop()
        self.claims = claims
        self.ref = ObjectRef(namespace=claims.namespace, name=claims.name, uid=claims.uid)
        self.started = datetime.now(UTC)
        self.ending = asyncio.Event()
        self.decoding: asyncio.Future[WorkError | None] = loop.create_future()
        self.done: asyncio.Future[SessionResult] = loop.create_future()
        self._session = session
        self._model, self._device = model, device
        self._began = self._heard = now()
        self._audio_left = claims.max_duration_seconds * BYTES_PER_SECOND
        self._feeding = False
        self._reason: SessionEnd | None = None
        self._loss: WorkError | None = None

    @property
    def figures(self) -> SessionFigures:
        """Figures so far."""
        return self._session.figures

    @property
    def reason(self) -> SessionEnd:
        """Why it ends, or ended; only once `ending` is set."""
        return self._reason or SessionEnd.DRAINED

    def report(self) -> SessionReport:
        """Returns what is told to the operator."""
        result = self.done.result() if self.done.done() else None
        return SessionReport(session=self.ref, started=self.started, figures=self.figures, result=result)

    async def feed(self, pcm: bytes) -> None:
        """Takes audio (s16le mono 16 kHz); waits while the engine has enough. What comes after the end is dropped."""
        if not pcm or self.ending.is_set():
            return
        taken = pcm[: self._audio_left]
        self._audio_left -= len(taken)
        self._feeding = True
        try:
            await self._session.feed(taken)
        except SessionClosed:  # ended meanwhile, or decoding failed: `run` knows why
            return
        finally:
            self._feeding = False
            self._heard = now()
        if self._audio_left <= 0:
            self.end(SessionEnd.MAX_DURATION)

    async def finalize(self) -> None:
        """Ends the open utterance; the session goes on."""
        if not self.ending.is_set():
            try:
                await self._session.finalize()
            except SessionClosed:
                return

    def end(self, reason: SessionEnd) -> None:
        """Takes no more audio; what was said is still decoded and published. The first reason counts."""
        if self._reason is None:
            self._reason = reason
            self.ending.set()
            log.info("session ends", extra={"session": self.claims.sub, "uid": self.claims.uid, "reason": reason})

    def hurry(self) -> None:
        """Drops what is not decoded yet; the result says how much that was."""
        self.end(SessionEnd.DRAINED)
        self._drop(
            FailureReason.PREEMPTED,
            "The server had to stop before",
            "Send them again in another session. If servers are often behind when they stop, lower the pool's "
            "sessionsPerReplica, or give its RuntimeProfile more CPUs or a GPU.",
        )

    async def run(self, sink: Sink, publish: Publish) -> None:
        """Moves events to `sink` until they end, then publishes. Never raises; cancelled, it publishes no more."""
        helpers = [asyncio.create_task(self._watch()), asyncio.create_task(self._finish_when_asked())]
        failure: WorkError | None = None
        try:
            failure = await self._pump(sink)
            self.end(SessionEnd.DRAINED)
            self.decoding.set_result(failure)
            if self.reason is SessionEnd.DUPLICATE:  # the session goes on at another server, which publishes it
                result = SessionResult(reason=self.reason, time=datetime.now(UTC))
            else:
                result = await publish(self._told())
        except asyncio.CancelledError:
            self._session.abort()
            message = "The server had to stop before the transcript was published."
            result = _result(SessionResult(reason=self.reason, time=datetime.now(UTC)),
                             WorkError(FailureReason.OUTPUT_UNAVAILABLE, message))  # fmt: skip
        finally:
            for helper in helpers:
                helper.cancel()
        self.end(SessionEnd.DRAINED)
        if not self.decoding.done():
            self.decoding.set_result(failure)
        result = result.model_copy(update={"reason": self.reason, "time": datetime.now(UTC)})
        self.done.set_result(self._with_loss(result) if failure is None else _result(result, failure))

    async def _pump(self, sink: Sink) -> WorkError | None:
        connected = True
        try:
            async for event in self._session.events():
                if not connected:
                    continue
                try:
                    async with asyncio.timeout(SEND_SECONDS):
                        await sink(event)
                except Exception as error:  # noqa: BLE001  (whatever it is, there is nobody to send to any more)
                    log.info("the client is gone", extra={"session": self.claims.sub, "error": type(error).__name__})
                    connected = False
                    self.end(SessionEnd.CLIENT_GONE)
        except WorkError as error:
            log.warning("decoding failed", extra={"session": self.claims.sub, "reason": error.reason})
            return error
        except Exception as error:  # noqa: BLE001
            # Its text is not logged: it may quote what was decoded.
            log.error("decoding failed", extra={"session": self.claims.sub, "error": type(error).__name__})  # noqa: TRY400
            self._session.abort()
            if is_out_of_memory(error):
                return WorkError(FailureReason.OUT_OF_MEMORY, "The server ran out of memory while decoding.")
            return WorkError(
                FailureReason.INTERNAL, f"Decoding failed unexpectedly ({type(error).__name__}): a defect; report it."
            )
        return None

    async def _watch(self) -> None:
        """Ends the session when its time is up, or nothing was heard for too long."""
        claims = self.claims
        while not self.ending.is_set():
            present = now()
            left = self._began + claims.max_duration_seconds - present
            if left <= 0:
                self.end(SessionEnd.MAX_DURATION)
                return
            # A client that waits for us is not idle.
            silent = 0.0 if self._feeding else present - self._heard
            if silent >= claims.idle_timeout_seconds:
                self.end(SessionEnd.IDLE_TIMEOUT)
                return
            await asyncio.sleep(max(0.01, min(left, claims.idle_timeout_seconds - silent, POLL_SECONDS)))

    async def _finish_when_asked(self) -> None:
        await self.ending.wait()
        try:
            await self._session.finish()
        except Exception as error:  # noqa: BLE001  (whatever it is, the session must not stay open for ever)
            log.error("finishing failed", extra={"session": self.claims.sub, "error": type(error).__name__})  # noqa: TRY400
            why = f"The session could not be finished ({type(error).__name__}) before"
            self._drop(FailureReason.INTERNAL, why, "This is a defect; report it.")

    def _drop(self, reason: FailureReason, why: str, remedy: str) -> None:
        """Ends decoding, and remembers what is lost by it."""
        accepted = self.claims.max_duration_seconds - self._audio_left / BYTES_PER_SECOND
        lost = round(accepted - self._session.settled, 1)
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
        return _result(result, self._loss)

    def _told(self) -> Told:
        figures = self._session.figures
        return Told(
            claims=self.claims,
            segments=self._session.segments,
            duration=figures.audio_seconds,
            seconds=round(now() - self._began, 3),
            language=figures.language,
            model=self._model,
            device=self._device,
        )


def _result(result: SessionResult, failure: WorkError) -> SessionResult:
    return result.model_copy(update={"failure": failure.reason, "message": failure.message[:1000]})
