"""The streaming engine of a process: one model, one scheduler, many sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from steno_runtime.stream.session import Session, SessionConfig
from steno_runtime.stt.engine import Engine


@dataclass(frozen=True)
class StreamOptions:
    """What to decode with."""

    model: str
    model_store: Path
    device: Literal["auto", "cuda", "cpu"] = "auto"
    compute_type: str = "auto"
    batch_size: int | None = None
    """Windows decoded at once; None: by the device."""
    memory_mib: int | None = None
    """GPU memory to choose the batch size by; None: the device's."""
    max_sessions: int = 16


@dataclass(frozen=True)
class EngineStatus:
    """What the engine is doing."""

    model: str
    device: str
    sessions: int
    max_sessions: int
    queue_depth: Mapping[str, int]
    """Windows waiting, by priority: `final`, `partial`, `batch`."""
    decodes: Mapping[str, int]
    """Windows decoded since the start, by kind: `detect`, `draft`, `final`, `batch`."""
    mean_batch_rows: float
    """Windows decoded together, on average since the start."""
    lag_ms: int
    """How far the slowest session's text is behind its audio."""


class SessionLimit(Exception):  # noqa: N818  (not an error of ours: the server is full)
    """`max_sessions` are open; the message says so."""


class StreamEngine:
    """One per process. Its methods may be called from any thread, its sessions' from one event loop."""

    @classmethod
    def load(cls, options: StreamOptions) -> StreamEngine:
        """Loads the model; takes seconds.

        Raises:
            WorkError: see `stt.ctranslate.CTranslateEngine` and `models.store.whisper`.
        """
        raise NotImplementedError

    def warm(self) -> None:
        """Decodes something, as a live session would: after it, a server may say that it is ready.

        Raises:
            WorkError: decoding does not work.
        """
        raise NotImplementedError

    def open(self, config: SessionConfig) -> Session:
        """Opens a session.

        Raises:
            SessionLimit: `max_sessions` are open.
            WorkError: `InvalidSpec` when the model does not know the language.
        """
        raise NotImplementedError

    @property
    def engine(self) -> Engine:
        """Decodes for batch work beside the sessions, at the lowest priority; give it to `stt.pipeline.transcribe`."""
        raise NotImplementedError

    def status(self) -> EngineStatus:
        """What it is doing."""
        raise NotImplementedError

    def close(self) -> None:
        """Aborts the sessions, ends the thread and frees the model."""
        raise NotImplementedError
