"""Streaming engine of a process: one model, one scheduler, many sessions."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from steno_api.failures import FailureReason
from steno_runtime.errors import Check, WorkError
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stream import metrics
from steno_runtime.stream.scheduler import (
    PROFILES,
    DecodeKind,
    Priority,
    Scheduler,
    SchedulerClosed,
    Window,
    window_frames,
)
from steno_runtime.stream.session import Session, SessionClosed, SessionConfig
from steno_runtime.stt.engine import AutoLanguage, Decoded, DecodeProfile, Engine, SharedEngine
from steno_runtime.stt.languages import allowed_languages, describe_ignored, require_language
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import load_engine
from steno_runtime.stt.vad import LiveVadState, live_speech_probabilities

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples


@dataclass(frozen=True)
class EngineStatus:
    """The state of the engine, as the server's status shows it."""

    model: str
    device: str
    sessions: int
    max_sessions: int
    queue_depth: Mapping[str, int]
    """Waiting windows by priority: `final`, `partial`, `batch`."""
    decodes: Mapping[str, int]
    """Windows decoded since the start by kind: `detect`, `draft`, `final`, `batch`."""
    mean_batch_rows: float
    """Mean number of windows decoded together since the start."""
    lag_ms: int
    """How far the slowest session's text is behind its audio."""


_KINDS = {profile: kind for kind, profile in PROFILES.items()}
_CHECK_SECONDS = 0.1
"""How long a window that waits keeps its owner from being stopped."""


class SessionLimit(Exception):  # noqa: N818  (not an error of ours: the server is full)
    """`max_sessions` sessions are open; the message says so."""


class BatchEngine:
    """`SharedEngine` for batch work: its windows are decoded beside the sessions', at the lowest priority.

    Unlike other engines, any number of threads may call it. On a GPU, windows of the same length, language and profile
    are decoded together, whatever work they are of. On a CPU that saves nothing, and may change a word: there, those of
    several pieces of work are decoded side by side, if the engine has workers for it.
    """

    def __init__(self, scheduler: Scheduler, engine: Engine, *, owner: int = 0, check: Check = lambda: None) -> None:
        """Prepare.

        Args:
            scheduler: takes the windows.
            engine: behind it.
            owner: number of the piece of work that the windows are of.
            check: called while they wait; raises to give them up.
        """
        self._scheduler, self._engine = scheduler, engine
        self._session, self._check = f"batch-{owner}", check
        self._company = self._session if engine.device == "cpu" else ""
        self._owners = itertools.count(1)
        self.device = engine.device
        self.workers = engine.workers
        self.batch_size = engine.batch_size
        self.languages = engine.languages

    @contextmanager
    def share(self, check: Check) -> Iterator[Engine]:
        """See `SharedEngine`."""
        part = BatchEngine(self._scheduler, self._engine, owner=next(self._owners), check=check)
        try:
            yield part
        finally:
            self._scheduler.forget("", part._session)

    def detect_languages(self, windows: Sequence[Samples]) -> list[Mapping[str, float]]:
        """Return the probability of each language in each window; see `Engine`."""
        return self._run_all(windows, DecodeKind.DETECT, "")

    def decode(
        self,
        windows: Sequence[Samples],
        language: str | AutoLanguage,
        profile: DecodeProfile = DecodeProfile.BEAM_WITH_FALLBACK,
    ) -> list[Decoded]:
        """Decode windows; see `Engine`."""
        return self._run_all(windows, _KINDS[profile], language)

    def _run_all(self, windows: Sequence[Samples], kind: DecodeKind, language: str | AutoLanguage) -> list[Any]:
        futures: list[Future[Any]] = []
        try:
            for samples in windows:
                frames = window_frames(kind, len(samples))
                window = Window(
                    kind, "", self._session, frames, lambda samples=samples: samples, language, self._company
                )
                futures.append(self._scheduler.submit(window, Priority.BATCH))
            return [self._result(future) for future in futures]
        except (CancelledError, SchedulerClosed) as err:
            raise WorkError(FailureReason.INTERNAL, "The server is stopping.") from err
        finally:
            for future in futures:
                future.cancel()

    def _result(self, future: Future[Any]) -> Any:
        while True:
            try:
                return future.result(_CHECK_SECONDS)
            except TimeoutError:
                self._check()


class StreamEngine:
    """Opens sessions on one model. One per process.

    Its methods may be called from any thread; a session's, from one event loop.

    Args:
        engine: runs the model; `load` loads one.
        model: the model's name.
        max_sessions: open at once.
    """

    def __init__(self, engine: Engine, *, model: str, max_sessions: int) -> None:
        self._model, self._device = model, engine.device
        self._languages = engine.languages
        self._max_sessions = max_sessions
        self._scheduler = Scheduler(engine)
        self._batch = BatchEngine(self._scheduler, engine)
        # VAD takes well under a millisecond for 32 ms of audio: one thread serves all sessions, beside the event loop.
        self._vad_executor = ThreadPoolExecutor(1, "steno-vad")
        self._sessions: dict[str, tuple[Session, asyncio.AbstractEventLoop]] = {}
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def load(cls, options: TranscriptionOptions, *, max_sessions: int) -> StreamEngine:
        """Load the model; takes seconds.

        Args:
            options: model and device; language and speakers do not matter here.
            max_sessions: open at once.

        Raises:
            WorkError: see `stt.ctranslate.CTranslateEngine` and `models.store.whisper`.
        """
        return cls(load_engine(options), model=options.model, max_sessions=max_sessions)

    def warm(self) -> None:
        """Decode something as a live session would; afterwards the server is ready.

        Raises:
            WorkError: decoding does not work.
        """
        import numpy as np

        noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE).astype(np.float32)
        live_speech_probabilities(noise, LiveVadState())
        self._batch.detect_languages([noise])
        language = "en" if "en" in self._languages else min(self._languages)
        for profile in (DecodeProfile.GREEDY, DecodeProfile.BEAM):
            self._batch.decode([noise], language, profile)

    def open(self, config: SessionConfig) -> Session:
        """Open a session in the running event loop.

        Raises:
            SessionLimit: `max_sessions` are open.
            WorkError: `InvalidSpec` when the model does not know the language, or the session is open already;
                `Internal` when the engine was closed.
        """
        loop = asyncio.get_running_loop()
        language = require_language(config.language, {*self._languages, "auto"}, self._model)
        allowed = allowed_languages(config.languages, self._languages, self._model)
        if allowed and language != "auto":
            message = "languages restricts what is detected: leave language out (auto), or leave languages out."
            raise WorkError(FailureReason.INVALID_SPEC, message)
        if not 50 <= config.endpointing_millis <= 5000:
            raise WorkError(
                FailureReason.INVALID_SPEC,
                f"endpointing_millis is {config.endpointing_millis}; use 50 to 5000 milliseconds.",
            )
        with self._lock:
            if self._closed:
                raise WorkError(FailureReason.INTERNAL, "The server is stopping. Connect again.")
            if config.uid in self._sessions:
                raise WorkError(FailureReason.INVALID_SPEC, "The session is open already: end that connection first.")
            if len(self._sessions) >= self._max_sessions:
                raise SessionLimit(
                    f"All {self._max_sessions} sessions of this server are taken. Try again when one has ended."
                )
            session = Session(
                replace(config, language=language, languages=tuple(sorted(allowed))),
                scheduler=self._scheduler,
                languages=self._languages,
                run_vad=self._run_vad,
                on_end=self._on_session_end,
                language_warnings=describe_ignored((config.language, *config.languages), self._languages),
            )
            self._sessions[config.uid] = session, loop
            self._scheduler.session_opened()
            metrics.SESSIONS.inc()
        return session

    @property
    def batch_engine(self) -> SharedEngine:
        """An engine for batch work beside the sessions, at the lowest priority; for `stt.pipeline.transcribe`."""
        return self._batch

    def status(self) -> EngineStatus:
        """Return the engine's state."""
        with self._lock:
            sessions = [session for session, _ in self._sessions.values()]
        return EngineStatus(
            model=self._model,
            device=self._device,
            sessions=len(sessions),
            max_sessions=self._max_sessions,
            queue_depth=self._scheduler.depth(),
            decodes=self._scheduler.decodes(),
            mean_batch_rows=round(self._scheduler.mean_batch_size, 3),
            lag_ms=round(1000 * max((session.lag for session in sessions), default=0.0)),
        )

    def close(self) -> None:
        """Abort the sessions, end the threads after the batch that runs, and free the model. Idempotent."""
        with self._lock:
            self._closed = True
            sessions = list(self._sessions.values())
        for session, loop in sessions:
            if loop.is_closed() or loop is _running_loop():
                session.abort()
            else:
                loop.call_soon_threadsafe(session.abort)
        self._scheduler.close()
        # Not cancelled: a session that waits for its VAD would take that for the cancellation of its own task.
        self._vad_executor.shutdown(wait=True)

    async def _run_vad(self, block: Samples, state: LiveVadState) -> tuple[list[float], LiveVadState]:
        try:
            probabilities = self._vad_executor.submit(live_speech_probabilities, block, state)
        except RuntimeError:  # closed meanwhile
            raise SessionClosed from None
        return await asyncio.wrap_future(probabilities)

    def _on_session_end(self, session: Session) -> None:
        with self._lock:
            del self._sessions[session.config.uid]
        metrics.SESSIONS.dec()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
