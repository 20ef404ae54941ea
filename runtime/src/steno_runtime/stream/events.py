"""What a session says about its audio. Times are milliseconds from the session's first sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Word:
    """A word of a final text."""

    word: str
    """Without surrounding space."""
    start_ms: int
    end_ms: int
    confidence: float
    """0 to 1."""


@dataclass(frozen=True)
class SpeechStarted:
    """Somebody began to speak: a new utterance."""

    offset_ms: int


@dataclass(frozen=True)
class SpeechEnded:
    """A pause, or `finalize`, ended the utterance. Its `Final`, if it had any words, follows."""

    offset_ms: int


@dataclass(frozen=True)
class Partial:
    """What the open utterance seems to say so far; each replaces the one before."""

    seq: int
    """Counts partials and finals of the session, from 1, without gaps."""
    utterance: int
    """Counts utterances of the session, from 0."""
    text: str
    """May change; empty when nothing of what was shown stands."""
    stable_text: str
    """A prefix of `text` that only grows and that the utterance's final begins with."""
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Final:
    """The text of an utterance. It never changes."""

    seq: int
    utterance: int
    text: str
    words: tuple[Word, ...]
    start_ms: int
    end_ms: int
    confidence: float
    """Mean of the words'."""
    language: str
    speech_final: bool
    """False when the utterance was cut for its length and speech goes on."""


@dataclass(frozen=True)
class Lag:
    """How far behind its audio the session's text is; said when the state changes."""

    lag_ms: int
    state: Literal["ok", "slow"]


Event = SpeechStarted | SpeechEnded | Partial | Final | Lag
