"""A scripted engine that recognizes a word in every tenth of a second: protocols are tested without a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from steno_api.documents.transcript import Segment
from steno_api.documents.transcript import Word as TranscriptWord
from steno_api.documents.warnings import ResultWarning
from steno_api.failures import FailureReason
from steno_api.v1alpha1.streamsession import SessionStats
from steno_runtime.errors import WorkError
from steno_runtime.stream.engine import EngineStatus, SessionLimit
from steno_runtime.stream.events import Event, Final, FinalWord, Lag, Partial, SpeechEnded, SpeechStarted
from steno_runtime.stream.session import SessionClosed, SessionConfig
from steno_runtime.stt.options import TranscriptionOptions

WORD = "klaatubarada"
"""The recognized word; no log may contain it."""
WORD_BYTES = 3_200
LANGUAGES = frozenset({"en", "ko"})


@dataclass
class ScriptedSession:
    """See `stream.session.Session`."""

    config: SessionConfig
    engine: ScriptedEngine
    audio: bytearray = field(default_factory=bytearray)
    finals: list[Final] = field(default_factory=list)
    queue: asyncio.Queue[Event | Exception | None] = field(default_factory=asyncio.Queue)
    closed: bool = False
    accepting: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether audio is accepted; `blocked` is set once some was not."""
    blocked: asyncio.Event = field(default_factory=asyncio.Event)
    finalized_words: int = 0
    language_warnings: tuple[ResultWarning, ...] = ()
    seq: int = 0

    def __post_init__(self) -> None:
        self.accepting.set()

    async def feed(self, pcm: bytes) -> None:
        if self.closed:
            raise SessionClosed
        if not self.accepting.is_set():
            self.blocked.set()
        await self.accepting.wait()
        if self.engine.fail_after is not None and len(self.audio) + len(pcm) > self.engine.fail_after:
            self.queue.put_nowait(self.engine.failure)
            self.closed = True
            raise SessionClosed
        first = not self._open
        self.audio += pcm
        if not self._open:
            return
        if first:
            self.queue.put_nowait(SpeechStarted(self._at(self.finalized_words)))
        if self.config.interim_results:
            words = [WORD] * self._open
            text, stable = " ".join(words), " ".join(words[:-1])
            at = (self._at(self.finalized_words), self._at(self.finalized_words + self._open))
            self.queue.put_nowait(Partial(self._next(), len(self.finals), text, stable, *at))

    async def finalize(self) -> None:
        if self.closed:
            raise SessionClosed
        self._final()

    async def finish(self) -> None:
        if not self.closed:
            self.closed = True
            if self.engine.stuck:
                return
            self._final()
            self.engine.sessions.pop(self.config.uid, None)
            self.queue.put_nowait(None)

    def abort(self) -> None:
        self.closed = True
        self.engine.sessions.pop(self.config.uid, None)
        self.queue.put_nowait(None)

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self.queue.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    language_confidence = 1.0

    @property
    def stats(self) -> SessionStats:
        seconds = len(self.audio) / 32_000
        return SessionStats(audio_seconds=seconds, segments=len(self.finals), final_latency_millis=20, language="en")

    @property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(
            Segment(
                start=final.start_ms / 1000, end=final.end_ms / 1000, text=final.text, confidence=final.confidence,
                words=[
                    TranscriptWord(word=w.word, start=w.start_ms / 1000, end=w.end_ms / 1000, confidence=w.confidence)
                    for w in final.words
                ],
            )
            for final in self.finals
        )  # fmt: skip

    @property
    def finalized_seconds(self) -> float:
        return self.finalized_words / 10

    @property
    def _open(self) -> int:
        return len(self.audio) // WORD_BYTES - self.finalized_words

    def _final(self) -> None:
        count = self._open
        if not count:
            return
        begin = self.finalized_words
        self.finalized_words += count
        words = tuple(FinalWord(WORD, self._at(begin + n), self._at(begin + n + 1), 0.9) for n in range(count))
        at = (self._at(begin), self._at(begin + count))
        language = "en" if self.config.language == "auto" else self.config.language
        final = Final(
            self._next(), len(self.finals), " ".join([WORD] * count), words, *at, confidence=0.9, language=language,
            speech_final=True,
        )  # fmt: skip
        self.finals.append(final)
        for event in (SpeechEnded(at[1]), final, Lag(7, "ok")):
            self.queue.put_nowait(event)

    def _next(self) -> int:
        self.seq += 1
        return self.seq

    @staticmethod
    def _at(words: int) -> int:
        return words * 100


@dataclass
class ScriptedEngine:
    """See `stream.engine.StreamEngine`."""

    options: TranscriptionOptions
    max_sessions: int
    sessions: dict[str, ScriptedSession] = field(default_factory=dict)
    configs: list[SessionConfig] = field(default_factory=list)
    languages = LANGUAGES
    fail_after: int | None = None
    """Bytes after which decoding fails with `failure`."""
    failure: Exception = field(default_factory=lambda: WorkError(FailureReason.OUT_OF_MEMORY, "No memory is left."))
    stuck: bool = False
    """Whether a session that is finished never comes to its end."""

    def warm(self) -> None:
        pass

    def open(self, config: SessionConfig) -> ScriptedSession:
        if len(self.sessions) >= self.max_sessions:
            raise SessionLimit("full")
        if config.language not in ("auto", *LANGUAGES):
            raise WorkError(FailureReason.INVALID_SPEC, "The model does not know this language.")
        self.configs.append(config)
        self.sessions[config.uid] = ScriptedSession(config, self)
        return self.sessions[config.uid]

    @property
    def batch_engine(self) -> ScriptedEngine:
        return self

    def status(self) -> EngineStatus:
        return EngineStatus(
            model=self.options.model, device="cpu", sessions=len(self.sessions),
            max_sessions=self.max_sessions, queue_depth={"final": 0}, decodes={}, mean_batch_rows=1.0, lag_ms=0,
        )  # fmt: skip

    def close(self) -> None:
        pass
