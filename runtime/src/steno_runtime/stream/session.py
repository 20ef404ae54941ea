"""One client's audio on its way to text.

Audio is listened to as it comes; the endpointer says where utterances begin and end, and when their words are looked
at. Those looks and the finals are steps: they depend on the audio alone, are done in order, and none is left out, so
that a session's finals are the same on a loaded server as on an idle one. Drafts, which only refresh what is shown,
fill the time that is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from steno_api.failures import FailureReason
from steno_api.stream import SessionFigures
from steno_api.transcript import Segment
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
from steno_runtime.stream.events import Event, Lag, Partial, SpeechEnded, SpeechStarted
from steno_runtime.stream.language import LanguageChoice
from steno_runtime.stream.latency import Latencies
from steno_runtime.stream.outbox import Outbox
from steno_runtime.stream.scheduler import Kind, Priority, Scheduler, SchedulerClosed, Window
from steno_runtime.stream.utterance import Utterance, millis
from steno_runtime.stt.chunks import FRAME, FULL_FRAMES, SAMPLE_RATE, bucket, frames_of
from steno_runtime.stt.engine import Decoded
from steno_runtime.stt.segments import segments
from steno_runtime.stt.vad import VoiceState

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

_log = logging.getLogger(__name__)

BUFFER_SECONDS = 30
_BLOCK_SAMPLES = 16 * FRAME
"""Listened to at once (half a second)."""
_DETECT_AT = (SAMPLE_RATE * 13 // 10, SAMPLE_RATE * 33 // 10)
"""Samples of an utterance, its lead-in included, after which its language is asked for while it is not settled."""
_STEP_SECONDS = (0.4, 1.0)
"""New speech that is worth a draft, on an idle and on a loaded engine."""
_SLOW_SECONDS, _OK_SECONDS = 2.0, 1.0

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


@dataclass(eq=False)
class _Step:
    """A piece of decoding that the finals depend on."""

    kind: Kind
    utterance: Utterance
    end: int
    """Sample where its window ends; it begins where the utterance does."""
    ended: Ended | None = None
    spoken: float = 0.0
    """When the last of its speech was received."""
    created: float = field(default_factory=time.monotonic)
    future: Future[Any] | None = None


@dataclass(eq=False)
class _Draft:
    utterance: Utterance
    end: int
    created: float
    future: Future[Any]


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
        self._choice = LanguageChoice(config.language, languages)
        self._outbox = Outbox()
        self._unsaid: deque[Event] = deque()
        self._utterance: Utterance | None = None
        self._utterances = 0
        self._steps: deque[_Step] = deque()
        self._draft: _Draft | None = None
        self._speculation: tuple[int, Future[Any]] | None = None
        self._spoken = 0.0
        self._lock = asyncio.Lock()
        self._progress = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closing = False
        self._over = False
        self._slow = False
        self._segments: list[Segment] = []
        self._partials, self._finals = Latencies(), Latencies()

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
                    await self._wait()
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
            self._progress.set()

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
            segments=len(self._segments),
            partial_latency_millis=self._partials.p95_millis(),
            final_latency_millis=self._finals.p95_millis(),
            language=self._choice.language,
        )

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The finals so far as segments (seconds); stays readable after the end."""
        return tuple(self._segments)

    @property
    def nbytes(self) -> int:
        """Memory that its audio takes."""
        return self._buffer.nbytes

    @property
    def lag(self) -> float:
        """Seconds that the oldest audio with a text still to come has waited."""
        waiting = [step.created for step in self._steps]
        if self._draft is not None:
            waiting.append(self._draft.created)
        return max(0.0, time.monotonic() - min(waiting)) if waiting else 0.0

    # Listening

    def _require_open(self) -> None:
        if self._over or self._closing:
            raise SessionClosed

    async def _wait(self) -> None:
        self._progress.clear()
        await self._progress.wait()

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
            self._heard, self._voice = self._heard + count, voice
            for probability in found:
                self._take(self._endpointer.push(probability))
                if self._endpointer.speaking:
                    self._spoken = received
                self._ask_for_language()
            self._release()
            self._refresh(received)
            self._notice_lag()
        await self._say()

    async def _say(self) -> None:
        while self._unsaid:
            await self._outbox.put(self._unsaid[0])
            if self._unsaid:  # abort clears it
                self._unsaid.popleft()

    def _take(self, changes: list[Change]) -> None:
        for change in changes:
            match change:
                case Started(begin, speech):
                    self._open(begin * FRAME, speech * FRAME)
                    self._unsaid.append(SpeechStarted(millis(speech * FRAME)))
                case Look(end):
                    if self.config.interim_results and self._utterance is not None:
                        self._add(_Step(Kind.DRAFT, self._utterance, end * FRAME))
                case Quiet(end):
                    self._speculate(end * FRAME)
                case Resumed():
                    self._forget_speculation()
                case Ended():
                    self._close(change)

    def _open(self, begin: int, speech: int) -> None:
        self._utterance = Utterance(self._utterances, begin, speech)
        self._utterances += 1

    def _close(self, ended: Ended) -> None:
        utterance, self._utterance = self._utterance, None
        if utterance is None:
            return
        end = ended.end * FRAME
        step = _Step(Kind.FINAL, utterance, end, ended, self._spoken or time.monotonic())
        if self._speculation is not None and self._speculation[0] == end:
            step.future, self._speculation = self._speculation[1], None
        self._forget_speculation()
        self._drop_draft()
        self._add(step)
        self._scheduler.promote(self.config.uid)
        if ended.cut:
            self._open(end, end)
        else:
            self._unsaid.append(SpeechEnded(millis(ended.speech_end * FRAME)))

    # Decoding

    def _ask_for_language(self) -> None:
        utterance = self._utterance
        if self._choice.settled or utterance is None:
            return
        length = self._endpointer.index * FRAME - utterance.begin
        if any(at <= length < at + FRAME for at in _DETECT_AT):
            self._add(_Step(Kind.DETECT, utterance, utterance.begin + length))

    def _add(self, step: _Step) -> None:
        self._steps.append(step)
        self._ahead(step)
        self._start()
        self._progress.set()

    def _ahead(self, step: _Step) -> None:
        """Queues a step's window before it is its turn, where nothing before it decides what to ask for."""
        if step.future is None and step.kind is not Kind.DETECT and self._choice.settled and not _silent(step):
            with contextlib.suppress(SchedulerClosed):  # noticed by the worker
                step.future = self._ask(step)

    def _ask(self, step: _Step, kind: Kind | None = None) -> Future[Any]:
        kind = kind or step.kind
        priority = Priority.PARTIAL if kind is Kind.DRAFT and step.ended is None else Priority.FINAL
        return self._scheduler.submit(self._window(kind, step.utterance.begin, step.end), priority)

    def _window(self, kind: Kind, begin: int, end: int) -> Window:
        return Window(
            kind,
            self.config.tenant,
            self.config.uid,
            FULL_FRAMES if kind is Kind.DETECT else bucket(frames_of(end - begin)),
            lambda: self._buffer.window(begin, end),
            "" if kind is Kind.DETECT else self._choice.language or "",
        )

    def _start(self) -> None:
        if self._worker is None and not self._over:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        """Does the steps in order, until `finish` and none is left."""
        failure: Exception | None = None
        try:
            while self._steps or not self._closing:
                if not self._steps:
                    await self._wait()
                    continue
                await self._do(self._steps[0])
                self._steps.popleft()
                self._release()
                self._notice_lag()
                self._progress.set()
        except WorkError as err:
            failure = err
        except SchedulerClosed:
            pass
        except Exception as err:
            _log.exception("a session broke", extra={"session": self.config.uid})
            failure = WorkError(FailureReason.INTERNAL, f"The session broke ({type(err).__name__}).")
        finally:
            self._end()
            self._outbox.close(failure)

    async def _do(self, step: _Step) -> None:
        if step.kind is Kind.DRAFT:
            if self._choice.settled:
                decoded = await self._result(step)
                self._show(step.utterance.look(decoded, step.end, self._choice.language or ""), step.created)
        elif step.kind is Kind.DETECT or not (_silent(step) or self._choice.settled):
            if not self._choice.settled:
                probabilities = await asyncio.wrap_future(self._ask(step, Kind.DETECT))
                self._choice.hear(probabilities, (step.end - step.utterance.begin) / SAMPLE_RATE)
            for later in self._steps:
                self._ahead(later)
        if step.ended is not None:
            await self._settle(step, step.ended)

    async def _settle(self, step: _Step, ended: Ended) -> None:
        decoded = None if _silent(step) else await self._result(step)
        utterance, language = step.utterance, self._choice.language or ""
        settled = utterance.final(decoded, ended, language)
        if settled is None:
            gone = utterance.vanish(step.end)
            if gone is not None:
                await self._outbox.put(gone)
            return
        final, words = settled
        self._segments.extend(segments(words, [None] * len(words)))
        await self._outbox.put(final)
        latency = time.monotonic() - step.spoken
        self._finals.add(latency)
        metrics.FINAL_LATENCY.observe(latency)

    async def _result(self, step: _Step) -> Decoded:
        if step.future is None:
            step.future = self._ask(step)
        return await asyncio.wrap_future(step.future)

    # Drafts: what is shown while somebody speaks

    def _refresh(self, received: float) -> None:
        """Asks for a draft of the open utterance when enough is new; one at a time, and none beside a step of it."""
        utterance = self._utterance
        if not self.config.interim_results or utterance is None or not self._endpointer.speaking:
            return
        if self._choice.language is None or any(step.utterance is utterance for step in self._steps):
            return
        end = self._endpointer.index * FRAME
        low, high = _STEP_SECONDS
        if end - utterance.drafted < min(high, max(low, self._scheduler.pace)) * SAMPLE_RATE:
            return
        before = None if self._draft is None or self._draft.future.done() else self._draft.future
        if before is not None and before.running():
            return
        with contextlib.suppress(SchedulerClosed):
            window = self._window(Kind.DRAFT, utterance.begin, end)
            future = self._scheduler.submit(window, Priority.PARTIAL, replaces=before)
            # What is replaced waited for this audio as well: its place, and the age of what is shown, stay.
            created = received if before is None or self._draft is None else self._draft.created
            draft = self._draft = _Draft(utterance, end, created, future)
            utterance.drafted = end
            asyncio.wrap_future(future).add_done_callback(lambda done: self._drafted(draft, received, done))

    def _drafted(self, draft: _Draft, received: float, done: asyncio.Future[Decoded]) -> None:
        if self._draft is draft:
            self._draft = None
        if done.cancelled() or done.exception() is not None or self._over:  # a draft that fails is not missed
            return
        if draft.utterance is self._utterance and not self._steps:
            self._show(draft.utterance.draft(done.result(), draft.end, self._choice.language or ""), received)
        self._notice_lag()

    def _show(self, partial: Partial | None, received: float) -> None:
        if partial is not None:
            self._outbox.put_latest(partial)
            latency = time.monotonic() - received
            self._partials.add(latency)
            metrics.PARTIAL_LATENCY.observe(latency)

    def _drop_draft(self) -> None:
        if self._draft is not None:
            self._draft.future.cancel()
            self._draft = None

    def _speculate(self, end: int) -> None:
        """A pause: if it ends the utterance, this window is the final's. Worth it only where nobody waits."""
        if self._utterance is not None and self._choice.settled and not self._steps and self._scheduler.idle:
            self._drop_draft()
            with contextlib.suppress(SchedulerClosed):
                window = self._window(Kind.FINAL, self._utterance.begin, end)
                self._speculation = end, self._scheduler.submit(window, Priority.PARTIAL)

    def _forget_speculation(self) -> None:
        if self._speculation is not None:
            self._speculation[1].cancel()
            self._speculation = None

    # Keeping house

    def _notice_lag(self) -> None:
        lag = self.lag
        if (lag > _SLOW_SECONDS) if not self._slow else (lag < _OK_SECONDS):
            self._slow = not self._slow
            self._outbox.put_latest(Lag(round(lag * 1000), "slow" if self._slow else "ok"))

    def _release(self) -> None:
        needed = min(self._heard, self._endpointer.needed * FRAME)
        if self._steps:
            needed = min(needed, self._steps[0].utterance.begin)
        self._buffer.release(needed)

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._drop_draft()
        self._forget_speculation()
        self._steps.clear()
        self._unsaid.clear()
        self._utterance = None
        self._buffer.clear()
        self._progress.set()
        self._scheduler.left(self.config.tenant, self.config.uid)
        self._on_end(self)


def _silent(step: _Step) -> bool:
    """Whether a final has nothing to be decoded."""
    return step.ended is not None and not step.ended.speech_frames
