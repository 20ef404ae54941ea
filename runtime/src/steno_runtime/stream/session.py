"""One client's audio on its way to text.

Audio is listened to as it comes; the endpointer says where utterances begin and end, and when their words are looked
at. What that asks of the engine, and what becomes of it, is the transcriber's.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steno_api.documents.transcript import Segment
from steno_api.failures import FailureReason
from steno_api.v1alpha1.streamsession import SessionFigures
from steno_runtime.errors import WorkError
from steno_runtime.stream import metrics
from steno_runtime.stream.buffer import AudioBuffer
from steno_runtime.stream.endpointing import (
    Change,
    Ended,
    Endpointer,
    EndpointOptions,
    Look,
    Quiet,
    Resumed,
    Started,
)
from steno_runtime.stream.events import Event, SpeechEnded, SpeechStarted
from steno_runtime.stream.language import LanguageChoice
from steno_runtime.stream.outbox import Outbox
from steno_runtime.stream.scheduler import Scheduler, SchedulerClosed
from steno_runtime.stream.transcriber import Transcriber
from steno_runtime.stream.utterance import millis
from steno_runtime.stt.chunks import FRAME, SAMPLE_RATE
from steno_runtime.stt.vad import VoiceState

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

_log = logging.getLogger(__name__)

BUFFER_SECONDS = 30
_BLOCK_SAMPLES = 16 * FRAME
"""Listened to at once (half a second)."""

Listen = Callable[["Samples", VoiceState], Awaitable[tuple[list[float], VoiceState]]]


@dataclass(frozen=True)
class SessionConfig:
    """What a session is told."""

    uid: str
    """Unique among the open sessions."""
    tenant: str
    language: str = "auto"
    """ISO 639 code; `auto`: detected on the first speech, then kept."""
    interim_results: bool = True
    """Whether `Partial`s are wanted."""
    endpointing_millis: int = 300
    """Silence that ends an utterance, 50 to 5000."""


class SessionClosed(Exception):  # noqa: N818  (not an error: somebody ended it)
    """The session takes no more audio: it was finished, aborted, or failed."""


class Session:
    """Audio in, events out. Made by `StreamEngine.open`; used from one event loop.

    Args:
        config: what the session is told.
        scheduler: decodes.
        languages: codes of the languages that the engine knows.
        listen: says what is speech, see `stt.vad.listen`.
        on_end: called once, when the session is over for whatever reason.
    """

    def __init__(
        self,
        config: SessionConfig,
        *,
        scheduler: Scheduler,
        languages: frozenset[str],
        listen: Listen,
        on_end: Callable[[Session], None],
    ) -> None:
        self.config = config
        self._scheduler = scheduler
        self._listen = listen
        self._on_end = on_end
        self._buffer = AudioBuffer()
        self._odd = b""
        self._voice = VoiceState()
        self._heard = 0  # samples listened to
        self._endpointer = Endpointer(EndpointOptions.of(config.endpointing_millis))
        self._outbox = Outbox()
        self._text = Transcriber(
            config.uid,
            config.tenant,
            interim_results=config.interim_results,
            choice=LanguageChoice(config.language, languages),
            scheduler=scheduler,
            buffer=self._buffer,
            outbox=self._outbox,
            on_step=self._stepped,
        )
        self._unsaid: deque[Event] = deque()
        self._spoken = 0.0
        self._lock = asyncio.Lock()
        self._room = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closing = False
        self._over = False

    async def feed(self, pcm: bytes) -> None:
        """Takes audio: s16le, mono, 16 kHz, any number of bytes. Waits while the session's buffer is full.

        Raises:
            SessionClosed: after `finish`, `abort` or a failure.
        """
        async with self._lock:
            self._require_open()
            data = self._odd + pcm
            whole = len(data) & ~1
            self._odd = data[whole:]
            view = memoryview(data)[:whole]
            for at in range(0, whole, 2 * _BLOCK_SAMPLES):
                block = view[at : at + 2 * _BLOCK_SAMPLES]
                while self._buffer.held + len(block) // 2 > BUFFER_SECONDS * SAMPLE_RATE:
                    self._room.clear()
                    await self._room.wait()
                    self._require_open()
                self._buffer.append(block)
                metrics.AUDIO_SECONDS.inc(len(block) / 2 / SAMPLE_RATE)
                await self._hear()
                self._require_open()

    async def finalize(self) -> None:
        """Ends the open utterance here; the session goes on.

        Raises:
            SessionClosed: after `finish`, `abort` or a failure.
        """
        async with self._lock:
            self._require_open()
            await self._hear()
            self._take(self._endpointer.flush())
            await self._say()

    async def finish(self) -> None:
        """Says that no audio follows. The remaining finals come, then `events` ends. Idempotent."""
        async with self._lock:
            if self._closing or self._over:
                return
            await self._hear(rest=True)
            self._take(self._endpointer.flush())
            await self._say()
            self._closing = True
            self._start()
            self._text.finish()

    def abort(self) -> None:
        """Drops what is not decoded yet; `events` ends. Idempotent."""
        if not self._over:
            self._end()
            self._outbox.discard()
            if self._worker is not None:
                self._worker.cancel()

    def events(self) -> AsyncIterator[Event]:
        """The session's events, to be read by one reader until they end.

        Raises:
            WorkError: decoding failed for good; the session is over. `segments` keeps what was final.
        """
        return self._outbox.read()

    @property
    def figures(self) -> SessionFigures:
        """Figures so far; stays readable after the end."""
        return SessionFigures(
            audio_seconds=round(self._buffer.end / SAMPLE_RATE, 3),
            segments=len(self._text.segments),
            partial_latency_millis=self._text.partials.p95_millis(),
            final_latency_millis=self._text.finals.p95_millis(),
            language=self._text.choice.language,
        )

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The finals so far as segments (seconds); stays readable after the end."""
        return tuple(self._text.segments)

    @property
    def settled(self) -> float:
        """Seconds of its audio, from the beginning, whose text is final; what follows would be lost by `abort`."""
        unsettled = self._text.unsettled
        return (self._heard if unsettled is None else min(self._heard, unsettled)) / SAMPLE_RATE

    @property
    def nbytes(self) -> int:
        """Memory that its audio takes."""
        return self._buffer.nbytes

    @property
    def lag(self) -> float:
        """Seconds that the oldest audio with a text still to come has waited."""
        return self._text.lag

    def _require_open(self) -> None:
        if self._over or self._closing:
            raise SessionClosed

    async def _hear(self, *, rest: bool = False) -> None:
        """Listens to what was not listened to yet. Cancelled at any point, it goes on there the next time."""
        received = time.monotonic()
        while not self._over:
            await self._say()
            count = min(self._buffer.end - self._heard, _BLOCK_SAMPLES)
            if not rest:
                count -= count % FRAME
            if count <= 0:
                break
            found, voice = await self._listen(self._buffer.window(self._heard, self._heard + count), self._voice)
            if self._over:
                return
            self._heard, self._voice = self._heard + count, voice
            for probability in found:
                self._take(self._endpointer.push(probability))
                if self._endpointer.speaking:
                    self._spoken = received
                self._text.heard(self._endpointer.index * FRAME)
            if self._endpointer.speaking:
                self._text.refresh(self._endpointer.index * FRAME, received)
            self._text.notice_lag()
            self._release()
        await self._say()

    def _take(self, changes: list[Change]) -> None:
        for change in changes:
            match change:
                case Started(begin, speech):
                    self._start()
                    self._text.started(begin * FRAME, speech * FRAME)
                    self._unsaid.append(SpeechStarted(millis(speech * FRAME)))
                case Look(end):
                    self._text.look(end * FRAME)
                case Quiet(end):
                    self._text.quiet(end * FRAME)
                case Resumed():
                    self._text.resumed()
                case Ended():
                    self._text.ended(change, self._spoken)
                    if not change.cut:
                        self._unsaid.append(SpeechEnded(millis(change.speech_end * FRAME)))

    async def _say(self) -> None:
        while self._unsaid:
            await self._outbox.put(self._unsaid[0])
            if self._unsaid:  # the end clears it
                self._unsaid.popleft()

    def _start(self) -> None:
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        failure: Exception | None = None
        try:
            await self._text.run()
        except WorkError as err:
            failure = err
        except SchedulerClosed:
            pass
        except Exception as err:  # noqa: BLE001 - a defect of ours: the client is told, nobody else is disturbed
            # Neither its text nor its locals are logged: they may hold a transcript's.
            place = traceback.extract_tb(err.__traceback__)[-1]
            what = {"session": self.config.uid, "error": type(err).__name__, "at": f"{place.name}:{place.lineno}"}
            _log.error("a session broke", extra=what)
            failure = WorkError(FailureReason.INTERNAL, f"The session broke ({type(err).__name__}).")
        finally:
            self._end()
            self._outbox.close(failure)

    def _stepped(self) -> None:
        self._release()
        self._room.set()

    def _release(self) -> None:
        needed = min(self._heard, self._endpointer.needed * FRAME)
        oldest = self._text.oldest
        self._buffer.release(needed if oldest is None else min(needed, oldest))

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._text.drop()
        self._unsaid.clear()
        self._buffer.clear()
        self._room.set()
        self._scheduler.left(self.config.tenant, self.config.uid)
        self._on_end(self)
