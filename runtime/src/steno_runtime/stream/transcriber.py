"""Transcriber of a session: which windows it asks the scheduler for, in which order, and what becomes of the results.

Stability checks and finals are steps: they depend on the audio alone, are done in order, and none is left out, so that
a session's finals are the same on a loaded server as on an idle one. Drafts only refresh what is shown, and use the
time that is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from steno_api.documents.transcript import Segment
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stream import metrics
from steno_runtime.stream.buffer import AudioBuffer
from steno_runtime.stream.endpointing import UtteranceEnded
from steno_runtime.stream.events import Lag, Partial
from steno_runtime.stream.language import LanguageChoice
from steno_runtime.stream.metrics import RecentLatencies
from steno_runtime.stream.outbox import Outbox
from steno_runtime.stream.scheduler import DecodeKind, Priority, Scheduler, SchedulerClosed, Window, window_frames
from steno_runtime.stream.utterance import Utterance
from steno_runtime.stt.chunks import VAD_FRAME
from steno_runtime.stt.engine import AutoLanguage, Decoded
from steno_runtime.stt.segments import group_into_segments

DETECT_AT = (SAMPLE_RATE * 13 // 10, SAMPLE_RATE * 33 // 10)
"""Samples of an utterance, its padding included, after which its language is detected while it is undecided."""
DRAFT_STEP_SECONDS = (0.4, 1.0)
"""New speech that is worth a draft, on an idle and on a loaded engine."""
SLOW_SECONDS, OK_SECONDS = 2.0, 1.0
"""Lag above which a session is reported as slow, and below which as recovered."""


@dataclass(eq=False)
class _DecodeStep:
    """A decode that the finals depend on."""

    kind: DecodeKind
    utterance: Utterance
    end: int
    """Sample where its window ends; it begins where the utterance does."""
    ended: UtteranceEnded | None = None
    """Set for a final."""
    speech_received: float = 0.0
    """When the last of its speech was received."""
    created: float = field(default_factory=time.monotonic)
    future: Future[Any] | None = None
    finalized: bool = False
    """Whether its text is among the segments."""

    @property
    def silent(self) -> bool:
        """Whether it is a final with nothing to decode."""
        return self.ended is not None and not self.ended.speech_frames


@dataclass(eq=False)
class _Draft:
    utterance: Utterance
    end: int
    language: str
    created: float
    future: Future[Any]


class Transcriber:
    """Takes utterances, emits texts. Used from one event loop.

    Args:
        uid: the session's.
        tenant: the session's.
        interim_results: whether partials are wanted. Without them nothing is decoded before an utterance ends.
        choice: the session's language.
        scheduler: decodes.
        buffer: the session's audio.
        outbox: takes the events.
        on_step: called after every step.
    """

    def __init__(
        self,
        uid: str,
        tenant: str,
        *,
        interim_results: bool,
        choice: LanguageChoice,
        scheduler: Scheduler,
        buffer: AudioBuffer,
        outbox: Outbox,
        on_step: Callable[[], None],
    ) -> None:
        self._uid, self._tenant = uid, tenant
        self._interim = interim_results
        self.choice = choice
        self._scheduler = scheduler
        self._buffer = buffer
        self._outbox = outbox
        self._on_step = on_step
        self._utterance: Utterance | None = None
        self._count = 0
        self._steps: deque[_DecodeStep] = deque()
        self._wake = asyncio.Event()
        self._closing = self._dropped = False
        self._draft: _Draft | None = None
        self._speculation: tuple[int, Future[Any]] | None = None
        self._slow = False
        self.segments: list[Segment] = []
        self.partial_latencies, self.final_latencies = RecentLatencies(), RecentLatencies()

    @property
    def needed(self) -> int | None:
        """First sample that a step still needs; None without steps."""
        return self._steps[0].utterance.begin if self._steps else None

    @property
    def first_unfinalized(self) -> int | None:
        """First sample of the utterances whose text is not final yet; None without such."""
        for step in self._steps:
            if not step.finalized:
                return step.utterance.begin
        return None if self._utterance is None else self._utterance.begin

    @property
    def lag(self) -> float:
        """Seconds that the oldest audio with a text still to come has waited."""
        waiting = [step.created for step in self._steps]
        if self._draft is not None:
            waiting.append(self._draft.created)
        return max(0.0, time.monotonic() - min(waiting)) if waiting else 0.0

    # Called by the session. Times are samples.

    def start_utterance(self, begin: int, speech: int) -> None:
        """Open an utterance: its audio begins at sample `begin`, its speech at sample `speech`."""
        self._utterance = Utterance(self._count, begin, speech)
        self._count += 1

    def check_stability(self, end: int) -> None:
        """Decode the open utterance up to sample `end` to see which words are stable."""
        if self._interim and self._utterance is not None:
            self._add(_DecodeStep(DecodeKind.DRAFT, self._utterance, end))

    def speculate_final(self, end: int) -> None:
        """Decode the final in a pause, before it is known to end the utterance; only if the engine is idle.

        Args:
            end: sample where the utterance's audio ends if the pause lasts.
        """
        if self._utterance is not None and self.choice.decided and not self._steps and self._scheduler.idle:
            self._drop_draft()
            with contextlib.suppress(SchedulerClosed):  # noticed by `run`
                window = self._window(DecodeKind.FINAL, self._utterance.begin, end, self.choice.to_decode)
                self._speculation = end, self._scheduler.submit(window, Priority.PARTIAL)

    def cancel_speculation(self) -> None:
        """Cancel the speculative final: speech goes on."""
        if self._speculation is not None:
            self._speculation[1].cancel()
            self._speculation = None

    def end_utterance(self, ended: UtteranceEnded, speech_received: float) -> None:
        """End the open utterance, and decode its final.

        Args:
            ended: where it ended, in frames.
            speech_received: when the last of its speech was received (`time.monotonic`).
        """
        utterance, self._utterance = self._utterance, None
        if utterance is None:
            return
        end = ended.end * VAD_FRAME
        step = _DecodeStep(DecodeKind.FINAL, utterance, end, ended, speech_received)
        if self._speculation is not None and self._speculation[0] == end:
            step.future, self._speculation = self._speculation[1], None
        self.cancel_speculation()
        self._drop_draft()
        self._add(step)
        self._scheduler.raise_priority(self._uid)
        if ended.cut:
            self.start_utterance(end, end)

    def detect_language_if_due(self, end: int) -> None:
        """Detect the language if the open utterance has just become long enough.

        Args:
            end: sample where the newest frame ends; called for every frame.
        """
        if self._utterance is not None and not self.choice.decided:
            length = end - self._utterance.begin
            if any(at <= length < at + VAD_FRAME for at in DETECT_AT):
                self._add(_DecodeStep(DecodeKind.DETECT, self._utterance, end))

    def refresh_draft(self, end: int, received: float) -> None:
        """Ask for a draft of the open utterance if enough speech is new.

        One at a time, and none beside a step of the utterance: a newer one replaces one that waits.

        Args:
            end: sample where the newest speech ends.
            received: when it was received (`time.monotonic`).
        """
        utterance = self._utterance
        language = self.choice.language if utterance is None else utterance.language or self.choice.language
        if not self._interim or utterance is None or language is None:
            return
        low, high = DRAFT_STEP_SECONDS
        if end - utterance.draft_end < min(high, max(low, self._scheduler.batch_seconds)) * SAMPLE_RATE:
            return
        before = self._draft
        if (before is not None and before.future.running()) or any(step.utterance is utterance for step in self._steps):
            return
        window = self._window(DecodeKind.DRAFT, utterance.begin, end, language)
        with contextlib.suppress(SchedulerClosed):
            future = self._scheduler.submit(window, Priority.PARTIAL, replaces=before and before.future)
            # The draft that it replaces waited for this audio as well: the lag counts from there.
            draft = _Draft(utterance, end, language, received if before is None else before.created, future)
            self._draft, utterance.draft_end = draft, end
            asyncio.wrap_future(future).add_done_callback(lambda done: self._on_draft(draft, received, done))

    def finish(self) -> None:
        """Take no more utterances: `run` ends with the last step."""
        self._closing = True
        self._wake.set()

    def drop(self) -> None:
        """Drop what is not decoded yet."""
        self._dropped = True
        self._drop_draft()
        self.cancel_speculation()
        self._steps.clear()
        self._utterance = None

    # Steps

    async def run(self) -> None:
        """Do the steps in order, until `finish` was called and none is left.

        Raises:
            WorkError: a step cannot be done.
            SchedulerClosed: the engine was closed.
        """
        while self._steps or not self._closing:
            if not self._steps:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._do(self._steps[0])
            self._steps.popleft()
            self.report_lag()
            self._on_step()

    def report_lag(self) -> None:
        """Emit an event when the session becomes slow, and when it has recovered."""
        lag = self.lag
        if (lag < OK_SECONDS) if self._slow else (lag > SLOW_SECONDS):
            self._slow = not self._slow
            self._outbox.put_latest(Lag(round(lag * 1000), "slow" if self._slow else "ok"))

    def _add(self, step: _DecodeStep) -> None:
        self._steps.append(step)
        self._submit_early(step)
        self._wake.set()

    def _submit_early(self, step: _DecodeStep) -> None:
        """Queue a step's window before it is its turn, if nothing before it decides what to ask for."""
        if step.future is None and step.kind is not DecodeKind.DETECT and self.choice.decided and not step.silent:
            with contextlib.suppress(SchedulerClosed):  # noticed by `run`
                step.future = self._submit(step, step.kind, self.choice.to_decode)

    def _submit(self, step: _DecodeStep, kind: DecodeKind, language: str | AutoLanguage) -> Future[Any]:
        priority = Priority.PARTIAL if kind is DecodeKind.DRAFT else Priority.FINAL
        return self._scheduler.submit(self._window(kind, step.utterance.begin, step.end, language), priority)

    def _window(self, kind: DecodeKind, begin: int, end: int, language: str | AutoLanguage) -> Window:
        return Window(
            kind,
            self._tenant,
            self._uid,
            window_frames(kind, end - begin),
            lambda: self._buffer.window(begin, end),
            language,
        )

    async def _do(self, step: _DecodeStep) -> None:
        if step.kind is DecodeKind.DETECT:
            await self._detect_language(step)
        elif step.ended is not None:
            if not step.silent:
                await self._detect_language(step)
            await self._finalize(step, step.ended)
        elif self.choice.decided:  # stable words must not be in a language that is only a guess
            await self._check_stability(step)

    async def _check_stability(self, step: _DecodeStep) -> None:
        decoded, utterance = await self._result(step), step.utterance
        language = self.choice.hear(decoded.languages, _seconds(step))
        if language is not None and not utterance.has_stable_text:
            utterance.language = language
        # Words in a language that is in doubt must not become stable, nor two languages in one utterance.
        if language is not None and language == utterance.language:
            decoded = await self._in_language(decoded, step, language)
            self._emit_partial(utterance.check_stability(decoded, step.end, language), step.created)

    async def _detect_language(self, step: _DecodeStep) -> None:
        if self.choice.decided:
            return
        probabilities = await asyncio.wrap_future(self._submit(step, DecodeKind.DETECT, ""))
        self.choice.add_detection(probabilities, _seconds(step))
        for waiting in self._steps:
            self._submit_early(waiting)

    async def _finalize(self, step: _DecodeStep, ended: UtteranceEnded) -> None:
        decoded, language = None, step.utterance.language or self.choice.language or ""
        if not step.silent:
            decoded, language = await self._final_result(step)
        finalized = step.utterance.finalize(decoded, ended, language)
        step.finalized = True
        if finalized is None:
            withdrawal = step.utterance.withdraw(step.end)
            if withdrawal is not None:
                await self._outbox.put(withdrawal)
            return
        final, words = finalized
        self.segments.extend(group_into_segments(words, [None] * len(words)))
        await self._outbox.put(final)
        latency = time.monotonic() - step.speech_received
        self.final_latencies.add(latency)
        metrics.FINAL_LATENCY.observe(latency)

    async def _final_result(self, step: _DecodeStep) -> tuple[Decoded, str]:
        """Return the text of a final in its own language, which depends on all before it, and that language."""
        decoded, utterance = await self._result(step), step.utterance
        language = self.choice.follow(decoded.languages, _seconds(step))
        if utterance.has_stable_text and utterance.language:
            language = utterance.language  # the final begins with what is stable
        return await self._in_language(decoded, step, language), language

    async def _in_language(self, decoded: Decoded, step: _DecodeStep, language: str) -> Decoded:
        """Return a step's text in a language: what was queued early may have been decoded in another one."""
        if decoded.language in ("", language):
            return decoded
        return await asyncio.wrap_future(self._submit(step, step.kind, language))

    async def _result(self, step: _DecodeStep) -> Decoded:
        if step.future is None:
            step.future = self._submit(step, step.kind, self.choice.to_decode)
        return await asyncio.wrap_future(step.future)

    # Drafts

    def _on_draft(self, draft: _Draft, received: float, done: asyncio.Future[Decoded]) -> None:
        if self._draft is draft:
            self._draft = None
        if done.cancelled() or done.exception() is not None or self._dropped:  # a draft may fail: the final follows
            return
        current = draft.language == (draft.utterance.language or self.choice.language)
        if current and draft.utterance is self._utterance and not self._steps:
            self._emit_partial(draft.utterance.draft(done.result(), draft.end, draft.language), received)
        self.report_lag()

    def _emit_partial(self, partial: Partial | None, received: float) -> None:
        if partial is not None:
            self._outbox.put_latest(partial)
            latency = time.monotonic() - received
            self.partial_latencies.add(latency)
            metrics.PARTIAL_LATENCY.observe(latency)

    def _drop_draft(self) -> None:
        if self._draft is not None:
            self._draft.future.cancel()
            self._draft = None


def _seconds(step: _DecodeStep) -> float:
    return (step.end - step.utterance.begin) / SAMPLE_RATE
