"""Streaming session: one client's audio in, text events out.

Voice activity detection runs on the audio as it comes; the endpointer finds the utterances; the transcriber decodes
them. `pcm` is audio as bytes (s16le, mono, 16 kHz), `samples` the same as float32 in [-1, 1]; a `block` is the half
second that voice activity detection takes at once, a `window` what is decoded at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steno_api.documents.transcript import Segment
from steno_api.documents.warnings import ResultWarning
from steno_api.failures import FailureReason
from steno_api.v1alpha1.streamsession import SessionStats
from steno_runtime.errors import WorkError
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stream import metrics
from steno_runtime.stream.buffer import AudioBuffer
from steno_runtime.stream.endpointing import (
    Endpointer,
    EndpointEvent,
    EndpointOptions,
    PossibleEnd,
    SpeechResumed,
    StabilityCheck,
    UtteranceEnded,
    UtteranceStarted,
)
from steno_runtime.stream.events import Event, SpeechEnded, SpeechStarted
from steno_runtime.stream.language import LanguageChoice
from steno_runtime.stream.outbox import Outbox
from steno_runtime.stream.scheduler import Scheduler, SchedulerClosed
from steno_runtime.stream.transcriber import Transcriber
from steno_runtime.stream.utterance import millis
from steno_runtime.stt.chunks import VAD_FRAME
from steno_runtime.stt.vad import LiveVadState

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

_log = logging.getLogger(__name__)

BUFFER_SECONDS = 30
BLOCK_SAMPLES = 16 * VAD_FRAME
"""Samples per call of voice activity detection: half a second."""

RunVad = Callable[["Samples", LiveVadState], Awaitable[tuple[list[float], LiveVadState]]]
"""`stt.vad.live_speech_probabilities`, run in another thread."""


@dataclass(frozen=True)
class SessionConfig:
    """What a client, or its token, asks for."""

    uid: str
    """Unique among the open sessions."""
    tenant: str
    language: str = "auto"
    """ISO 639 code; `auto`: detected, and followed when it changes."""
    languages: tuple[str, ...] = ()
    """The only ones that may be detected; empty: all that the model knows."""
    interim_results: bool = True
    """Whether `Partial`s are wanted."""
    endpointing_millis: int = 300
    """Silence that ends an utterance, 50 to 5000."""


class SessionClosed(Exception):  # noqa: N818  (not an error: it was ended)
    """The session takes no more audio: it was finished, aborted, or failed."""


class Session:
    """Takes audio, yields events. Made by `StreamEngine.open`; used from one event loop.

    Args:
        config: see there.
        scheduler: decodes.
        languages: ISO 639 codes of the languages that the engine knows.
        run_vad: returns speech probabilities, see `stt.vad.live_speech_probabilities`.
        on_end: called once, when the session is over for whatever reason.
        language_warnings: of what the languages that were given say and the engine cannot be asked for.
    """

    def __init__(
        self,
        config: SessionConfig,
        *,
        scheduler: Scheduler,
        languages: frozenset[str],
        run_vad: RunVad,
        on_end: Callable[[Session], None],
        language_warnings: Sequence[ResultWarning] = (),
    ) -> None:
        self.config = config
        self.language_warnings = tuple(language_warnings)
        self._scheduler = scheduler
        self._vad = run_vad
        self._on_end = on_end
        self._buffer = AudioBuffer()
        self._odd_byte = b""
        self._vad_state = LiveVadState()
        self._vad_end = 0  # samples that voice activity detection has seen
        self._endpointer = Endpointer(EndpointOptions.from_millis(config.endpointing_millis))
        self._outbox = Outbox()
        self._transcriber = Transcriber(
            config.uid,
            config.tenant,
            interim_results=config.interim_results,
            choice=LanguageChoice(config.language, languages, config.languages),
            scheduler=scheduler,
            buffer=self._buffer,
            outbox=self._outbox,
            on_step=self._on_step,
        )
        self._pending_events: deque[Event] = deque()
        self._speech_received = 0.0
        self._lock = asyncio.Lock()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._over = False

    async def feed(self, pcm: bytes) -> None:
        """Take audio; wait while the session's buffer is full.

        Args:
            pcm: s16le, mono, 16 kHz; any number of bytes.

        Raises:
            SessionClosed: after `finish`, `abort` or a failure.
        """
        async with self._lock:
            self._require_open()
            pcm = self._odd_byte + pcm
            whole = len(pcm) & ~1
            self._odd_byte = pcm[whole:]
            view = memoryview(pcm)[:whole]
            for at in range(0, whole, 2 * BLOCK_SAMPLES):
                block = view[at : at + 2 * BLOCK_SAMPLES]
                while self._buffer.held + len(block) // 2 > BUFFER_SECONDS * SAMPLE_RATE:
                    self._room.clear()
                    await self._room.wait()
                    self._require_open()
                self._buffer.append(block)
                metrics.AUDIO_SECONDS.inc(len(block) / 2 / SAMPLE_RATE)
                await self._run_vad()
                self._require_open()

    async def finalize(self) -> None:
        """End the open utterance here; the session goes on.

        Raises:
            SessionClosed: after `finish`, `abort` or a failure.
        """
        async with self._lock:
            self._require_open()
            await self._run_vad()
            self._handle(self._endpointer.flush())
            await self._send_pending()

    async def finish(self) -> None:
        """End the audio: the remaining finals come, then `events` ends. Idempotent."""
        async with self._lock:
            if self._closing or self._over:
                return
            await self._run_vad(rest=True)
            self._handle(self._endpointer.flush())
            await self._send_pending()
            self._closing = True
            self._start()
            self._transcriber.finish()

    def abort(self) -> None:
        """Drop what is not decoded yet; `events` ends. Idempotent."""
        if not self._over:
            self._end()
            self._outbox.discard()
            if self._task is not None:
                self._task.cancel()

    def events(self) -> AsyncIterator[Event]:
        """Return the session's events, for one reader, until they end.

        Raises:
            WorkError: decoding failed for good; the session is over. `segments` keeps what was final.
        """
        return self._outbox.read()

    @property
    def stats(self) -> SessionStats:
        """Statistics so far; readable after the end."""
        return SessionStats(
            audio_seconds=round(self._buffer.end / SAMPLE_RATE, 3),
            segments=len(self._transcriber.segments),
            partial_latency_millis=self._transcriber.partial_latencies.p95_millis(),
            final_latency_millis=self._transcriber.final_latencies.p95_millis(),
            language=self._transcriber.choice.main_language,
        )

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The finals so far as segments, in seconds; readable after the end."""
        return tuple(self._transcriber.segments)

    @property
    def language_confidence(self) -> float:
        """Mean probability (0 to 1) of the language of `stats` where it was spoken."""
        return self._transcriber.choice.main_confidence

    @property
    def finalized_seconds(self) -> float:
        """Seconds of audio from the beginning whose text is final; `abort` would lose what follows."""
        first = self._transcriber.first_unfinalized
        return (self._vad_end if first is None else min(self._vad_end, first)) / SAMPLE_RATE

    @property
    def nbytes(self) -> int:
        """Bytes of memory that its audio takes."""
        return self._buffer.nbytes

    @property
    def lag(self) -> float:
        """Seconds that the oldest audio with a text still to come has waited."""
        return self._transcriber.lag

    def _require_open(self) -> None:
        if self._over or self._closing:
            raise SessionClosed

    async def _run_vad(self, *, rest: bool = False) -> None:
        """Run voice activity detection on new audio. Cancelled at any point, the next call goes on there.

        Args:
            rest: whether to include a last frame that is not full.
        """
        received = time.monotonic()
        while not self._over:
            await self._send_pending()
            count = min(self._buffer.end - self._vad_end, BLOCK_SAMPLES)
            if not rest:
                count -= count % VAD_FRAME
            if count <= 0:
                break
            block = self._buffer.window(self._vad_end, self._vad_end + count)
            probabilities, state = await self._vad(block, self._vad_state)
            if self._over:
                return
            self._vad_end, self._vad_state = self._vad_end + count, state
            for probability in probabilities:
                self._handle(self._endpointer.push(probability))
                if self._endpointer.speaking:
                    self._speech_received = received
                self._transcriber.detect_language_if_due(self._endpointer.index * VAD_FRAME)
            if self._endpointer.speaking:
                self._transcriber.refresh_draft(self._endpointer.index * VAD_FRAME, received)
            self._transcriber.report_lag()
            self._release()
        await self._send_pending()

    def _handle(self, events: list[EndpointEvent]) -> None:
        for event in events:
            match event:
                case UtteranceStarted(begin, speech):
                    self._start()
                    self._transcriber.start_utterance(begin * VAD_FRAME, speech * VAD_FRAME)
                    self._pending_events.append(SpeechStarted(millis(speech * VAD_FRAME)))
                case StabilityCheck(end):
                    self._transcriber.check_stability(end * VAD_FRAME)
                case PossibleEnd(end):
                    self._transcriber.speculate_final(end * VAD_FRAME)
                case SpeechResumed():
                    self._transcriber.cancel_speculation()
                case UtteranceEnded():
                    self._transcriber.end_utterance(event, self._speech_received)
                    if not event.cut:
                        self._pending_events.append(SpeechEnded(millis(event.speech_end * VAD_FRAME)))

    async def _send_pending(self) -> None:
        while self._pending_events:
            await self._outbox.put(self._pending_events[0])
            if self._pending_events:  # the end clears it
                self._pending_events.popleft()

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._transcribe())

    async def _transcribe(self) -> None:
        failure: Exception | None = None
        try:
            await self._transcriber.run()
        except WorkError as err:
            failure = err
        except SchedulerClosed:
            pass
        except Exception as err:  # noqa: BLE001 - a defect of ours: the client gets an error, other sessions go on
            # Neither the error's text nor its locals are logged: they may hold a transcript's text.
            place = traceback.extract_tb(err.__traceback__)[-1]
            what = {"session": self.config.uid, "error": type(err).__name__, "at": f"{place.name}:{place.lineno}"}
            _log.error("a session failed", extra=what)
            failure = WorkError(FailureReason.INTERNAL, f"The session failed ({type(err).__name__}).")
        finally:
            self._end()
            self._outbox.close(failure)

    def _on_step(self) -> None:
        self._release()
        self._room.set()

    def _release(self) -> None:
        needed = min(self._vad_end, self._endpointer.needed * VAD_FRAME)
        decoding = self._transcriber.needed
        self._buffer.release(needed if decoding is None else min(needed, decoding))

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._transcriber.drop()
        self._pending_events.clear()
        self._buffer.clear()
        self._room.set()
        self._scheduler.session_closed(self.config.tenant, self.config.uid)
        self._on_end(self)
