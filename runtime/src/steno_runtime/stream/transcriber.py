"""A session's decoding: what is asked of the scheduler, in which order, and what becomes of the answers.

Looks and finals are steps: they depend on the audio alone, are done in order, and none is left out, so that a
session's finals are the same on a loaded server as on an idle one. Drafts, which only refresh what is shown, fill the
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
from steno_runtime.stream import metrics
from steno_runtime.stream.buffer import AudioBuffer
from steno_runtime.stream.endpointing import Ended
from steno_runtime.stream.events import Lag, Partial
from steno_runtime.stream.language import LanguageChoice
from steno_runtime.stream.latency import Latencies
from steno_runtime.stream.outbox import Outbox
from steno_runtime.stream.scheduler import Kind, Priority, Scheduler, SchedulerClosed, Window
from steno_runtime.stream.utterance import Utterance
from steno_runtime.stt.chunks import FRAME, FULL_FRAMES, SAMPLE_RATE, bucket, frames_of
from steno_runtime.stt.engine import Decoded
from steno_runtime.stt.segments import segments

DETECT_AT = (SAMPLE_RATE * 13 // 10, SAMPLE_RATE * 33 // 10)
"""Samples of an utterance, its lead-in included, after which its language is asked for while it is not settled."""
STEP_SECONDS = (0.4, 1.0)
"""New speech that is worth a draft, on an idle and on a loaded engine."""
SLOW_SECONDS, OK_SECONDS = 2.0, 1.0


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
    settled: bool = False
    """Whether its text is among the segments."""

    @property
    def silent(self) -> bool:
        """Whether it is a final with nothing to be decoded."""
        return self.ended is not None and not self.ended.speech_frames


@dataclass(eq=False)
class _Draft:
    utterance: Utterance
    end: int
    created: float
    future: Future[Any]


class Transcriber:
    """Utterances in, texts out. Used from one event loop.

    Args:
        uid: the session's.
        tenant: the session's.
        interim_results: whether partials are wanted. Without them nothing is looked at before an utterance ends.
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
        self._steps: deque[_Step] = deque()
        self._more = asyncio.Event()
        self._closing = self._dropped = False
        self._draft: _Draft | None = None
        self._speculation: tuple[int, Future[Any]] | None = None
        self._slow = False
        self.segments: list[Segment] = []
        self.partials, self.finals = Latencies(), Latencies()

    @property
    def oldest(self) -> int | None:
        """First sample that a step still needs."""
        return self._steps[0].utterance.begin if self._steps else None

    @property
    def unsettled(self) -> int | None:
        """First sample of the utterances whose text is not final yet."""
        for step in self._steps:
            if not step.settled:
                return step.utterance.begin
        return None if self._utterance is None else self._utterance.begin

    @property
    def lag(self) -> float:
        """Seconds that the oldest audio with a text still to come has waited."""
        waiting = [step.created for step in self._steps]
        if self._draft is not None:
            waiting.append(self._draft.created)
        return max(0.0, time.monotonic() - min(waiting)) if waiting else 0.0

    # What the session hears. Times are samples.

    def started(self, begin: int, speech: int) -> None:
        """An utterance begins."""
        self._utterance = Utterance(self._count, begin, speech)
        self._count += 1

    def look(self, end: int) -> None:
        """The open utterance is to be looked at."""
        if self._interim and self._utterance is not None:
            self._add(_Step(Kind.DRAFT, self._utterance, end))

    def quiet(self, end: int) -> None:
        """A pause: if it ends the utterance, this window is the final's. Worth asking for where nobody else waits."""
        if self._utterance is not None and self.choice.settled and not self._steps and self._scheduler.idle:
            self._drop_draft()
            with contextlib.suppress(SchedulerClosed):  # noticed by `run`
                window = self._window(Kind.FINAL, self._utterance.begin, end)
                self._speculation = end, self._scheduler.submit(window, Priority.PARTIAL)

    def resumed(self) -> None:
        """The pause did not end it."""
        if self._speculation is not None:
            self._speculation[1].cancel()
            self._speculation = None

    def ended(self, ended: Ended, spoken: float) -> None:
        """The open utterance is over; the last of its speech was received at `spoken`."""
        utterance, self._utterance = self._utterance, None
        if utterance is None:
            return
        end = ended.end * FRAME
        step = _Step(Kind.FINAL, utterance, end, ended, spoken)
        if self._speculation is not None and self._speculation[0] == end:
            step.future, self._speculation = self._speculation[1], None
        self.resumed()
        self._drop_draft()
        self._add(step)
        self._scheduler.promote(self._uid)
        if ended.cut:
            self.started(end, end)

    def heard(self, end: int) -> None:
        """One frame more was heard, up to sample `end`: time to ask for the language?"""
        if self._utterance is not None and not self.choice.settled:
            length = end - self._utterance.begin
            if any(at <= length < at + FRAME for at in DETECT_AT):
                self._add(_Step(Kind.DETECT, self._utterance, end))

    def refresh(self, end: int, received: float) -> None:
        """Somebody speaks, up to sample `end`: asks for a draft when enough is new.

        One at a time, and none beside a step of the utterance: a newer one takes the place of one that waits.
        """
        utterance = self._utterance
        if not self._interim or utterance is None or self.choice.language is None:
            return
        low, high = STEP_SECONDS
        if end - utterance.drafted < min(high, max(low, self._scheduler.pace)) * SAMPLE_RATE:
            return
        before = self._draft
        if (before is not None and before.future.running()) or any(step.utterance is utterance for step in self._steps):
            return
        window = self._window(Kind.DRAFT, utterance.begin, end)
        with contextlib.suppress(SchedulerClosed):
            future = self._scheduler.submit(window, Priority.PARTIAL, replaces=before and before.future)
            # What it replaces waited for this audio as well: how long nothing new was shown is not forgotten.
            draft = _Draft(utterance, end, received if before is None else before.created, future)
            self._draft, utterance.drafted = draft, end
            asyncio.wrap_future(future).add_done_callback(lambda done: self._drafted(draft, received, done))

    def finish(self) -> None:
        """Nothing more is heard: `run` ends with the last step."""
        self._closing = True
        self._more.set()

    def drop(self) -> None:
        """Nothing more is wanted."""
        self._dropped = True
        self._drop_draft()
        self.resumed()
        self._steps.clear()
        self._utterance = None

    # Steps

    async def run(self) -> None:
        """Does the steps in order, until `finish` and none is left.

        Raises:
            WorkError: one cannot be done.
            SchedulerClosed: the engine was closed.
        """
        while self._steps or not self._closing:
            if not self._steps:
                self._more.clear()
                await self._more.wait()
                continue
            await self._do(self._steps[0])
            self._steps.popleft()
            self.notice_lag()
            self._on_step()

    def notice_lag(self) -> None:
        """Says when the session becomes slow, and when it is not any more."""
        lag = self.lag
        if (lag < OK_SECONDS) if self._slow else (lag > SLOW_SECONDS):
            self._slow = not self._slow
            self._outbox.put_latest(Lag(round(lag * 1000), "slow" if self._slow else "ok"))

    def _add(self, step: _Step) -> None:
        self._steps.append(step)
        self._ahead(step)
        self._more.set()

    def _ahead(self, step: _Step) -> None:
        """Queues a step's window before it is its turn, where nothing before it decides what to ask for."""
        if step.future is None and step.kind is not Kind.DETECT and self.choice.settled and not step.silent:
            with contextlib.suppress(SchedulerClosed):  # noticed by `run`
                step.future = self._ask(step, step.kind)

    def _ask(self, step: _Step, kind: Kind) -> Future[Any]:
        priority = Priority.PARTIAL if kind is Kind.DRAFT else Priority.FINAL
        return self._scheduler.submit(self._window(kind, step.utterance.begin, step.end), priority)

    def _window(self, kind: Kind, begin: int, end: int) -> Window:
        detect = kind is Kind.DETECT
        return Window(
            kind,
            self._tenant,
            self._uid,
            FULL_FRAMES if detect else bucket(frames_of(end - begin)),
            lambda: self._buffer.window(begin, end),
            "" if detect else self.choice.language or "",
        )

    async def _do(self, step: _Step) -> None:
        if step.kind is Kind.DETECT:
            await self._detect(step)
        elif step.ended is not None:
            if not step.silent:
                await self._detect(step)
            await self._settle(step, step.ended)
        elif self.choice.settled:  # what stands must not be in a language that is only guessed
            decoded = await self._result(step)
            self._show(step.utterance.look(decoded, step.end, self.choice.language or ""), step.created)

    async def _detect(self, step: _Step) -> None:
        if self.choice.settled:
            return
        probabilities = await asyncio.wrap_future(self._ask(step, Kind.DETECT))
        self.choice.hear(probabilities, (step.end - step.utterance.begin) / SAMPLE_RATE)
        for waiting in self._steps:
            self._ahead(waiting)

    async def _settle(self, step: _Step, ended: Ended) -> None:
        decoded = None if step.silent else await self._result(step)
        settled = step.utterance.final(decoded, ended, self.choice.language or "")
        step.settled = True
        if settled is None:
            gone = step.utterance.vanish(step.end)
            if gone is not None:
                await self._outbox.put(gone)
            return
        final, words = settled
        self.segments.extend(segments(words, [None] * len(words)))
        await self._outbox.put(final)
        latency = time.monotonic() - step.spoken
        self.finals.add(latency)
        metrics.FINAL_LATENCY.observe(latency)

    async def _result(self, step: _Step) -> Decoded:
        if step.future is None:
            step.future = self._ask(step, step.kind)
        return await asyncio.wrap_future(step.future)

    # Drafts

    def _drafted(self, draft: _Draft, received: float, done: asyncio.Future[Decoded]) -> None:
        if self._draft is draft:
            self._draft = None
        if done.cancelled() or done.exception() is not None or self._dropped:  # a draft that fails is not missed
            return
        if draft.utterance is self._utterance and not self._steps:
            self._show(draft.utterance.draft(done.result(), draft.end, self.choice.language or ""), received)
        self.notice_lag()

    def _show(self, partial: Partial | None, received: float) -> None:
        if partial is not None:
            self._outbox.put_latest(partial)
            latency = time.monotonic() - received
            self.partials.add(latency)
            metrics.PARTIAL_LATENCY.observe(latency)

    def _drop_draft(self) -> None:
        if self._draft is not None:
            self._draft.future.cancel()
            self._draft = None
