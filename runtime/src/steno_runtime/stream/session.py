"""One client's audio on its way to text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from steno_api.stream import SessionFigures
from steno_api.transcript import Segment
from steno_runtime.stream.events import Event


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
    """Audio in, events out. Made by `StreamEngine.open`; used from one event loop."""

    async def feed(self, pcm: bytes) -> None:
        """Takes audio: s16le, mono, 16 kHz, any number of bytes. Waits while the session's buffer is full.

        Raises:
            SessionClosed: after `finish`, `abort` or a failure.
        """
        raise NotImplementedError

    async def finalize(self) -> None:
        """Ends the open utterance here; the session goes on.

        Raises:
            SessionClosed: after `finish`, `abort` or a failure.
        """
        raise NotImplementedError

    async def finish(self) -> None:
        """Says that no audio follows. Returns at once: the remaining finals come, then `events` ends. Idempotent."""
        raise NotImplementedError

    def abort(self) -> None:
        """Drops what is not decoded yet; `events` ends. Idempotent."""
        raise NotImplementedError

    def events(self) -> AsyncIterator[Event]:
        """The session's events, to be read by one reader until they end.

        Raises:
            WorkError: decoding failed for good; the session is over. `segments` keeps what was final.
        """
        raise NotImplementedError

    @property
    def figures(self) -> SessionFigures:
        """Figures so far; stays readable after the end."""
        raise NotImplementedError

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The finals so far as segments (seconds); stays readable after the end."""
        raise NotImplementedError
