"""Events of a streaming session. Times are milliseconds from the session's first sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FinalWord:
    """A word of a final text."""

    word: str
    """Without surrounding space."""
    start_ms: int
    end_ms: int
    confidence: float
    """0 to 1."""


@dataclass(frozen=True)
class SpeechStarted:
    """Speech began: a new utterance."""

    offset_ms: int


@dataclass(frozen=True)
class SpeechEnded:
    """A pause, or `finalize`, ended the utterance. Its `Final`, if it had any words, follows."""

    offset_ms: int


@dataclass(frozen=True)
class Partial:
    """The text of the open utterance so far; each replaces the previous one."""

    seq: int
    """Counts partials and finals of the session, from 1, without gaps."""
    utterance: int
    """Counts utterances of the session, from 0."""
    text: str
    """May change; empty when the text shown before is withdrawn."""
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
    words: tuple[FinalWord, ...]
    start_ms: int
    end_ms: int
    confidence: float
    """Mean of the words'."""
    language: str
    speech_final: bool
    """False when the utterance was cut because of its length and speech goes on."""


@dataclass(frozen=True)
class Lag:
    """How far the session's text is behind its audio; sent when the state changes."""

    lag_ms: int
    state: Literal["ok", "slow"]


Event = SpeechStarted | SpeechEnded | Partial | Final | Lag
