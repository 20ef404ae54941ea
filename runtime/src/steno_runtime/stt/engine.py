"""The seam between the pipeline and what runs Whisper: in this process today, another server later."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]


UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages written without spaces between words: their words come without one."""


class Effort(StrEnum):
    """How much a text is worth."""

    DRAFT = "draft"
    """The likeliest next token, no words, no second look: what is said while somebody still speaks."""
    FINAL = "final"
    """Beam search, words, a second look at what is suspicious; the same audio always gives the same text."""
    BATCH = "batch"
    """As `FINAL`, and where nothing else helps, ever more freely sampled text."""


@dataclass(frozen=True)
class TimedWord:
    """A word as spoken: seconds from the beginning of its window (or of the audio, where said so)."""

    text: str
    """Without surrounding space."""
    start: float
    end: float
    probability: float
    spaced: bool = True
    """Whether a space comes before it: Chinese, Japanese and Thai words follow each other without one."""


@dataclass(frozen=True)
class Decoded:
    """What was said in one window."""

    text: str
    words: tuple[TimedWord, ...]
    average_log_probability: float
    no_speech_probability: float
    retried: bool = False
    """Whether the short window's text was refused and the full window decided."""


class Engine(Protocol):
    """Runs Whisper. Calls come from one thread."""

    device: str
    """`cpu` or `cuda`."""
    batch_size: int
    """Windows it likes to be given at once."""
    languages: frozenset[str]
    """Codes of the languages it knows."""

    def detect_languages(self, windows: Sequence[Samples]) -> list[Mapping[str, float]]:
        """Returns the probability of each language in each window (float32, mono, 16 kHz, up to 30 s)."""
        ...

    def decode(self, windows: Sequence[Samples], language: str, effort: Effort = Effort.BATCH) -> list[Decoded]:
        """Decodes windows (float32, mono, 16 kHz, up to 27 s) of one language, at best of one frame bucket.

        Raises:
            WorkError: `OutOfMemory` when the batch did not fit.
        """
        ...


# Text that fails one of these is decoded again: measured on short clips, 2 of 60 of a short window's texts fail, and
# with the guard the error rate is that of full windows.
MAX_COMPRESSION = 2.0
MAX_CHARS_BASE, MAX_CHARS_PER_SECOND = 8, 25
MIN_LOG_PROBABILITY = -1.0
MIN_NO_SPEECH = 0.6
HOPELESS_COMPRESSION = 4.0
"""Nobody repeats himself that much; songs come to about 3."""
LITTLE_SPEECH_SECONDS = 2.0


def compression(text: str) -> float:
    """How much shorter zlib makes a text: repetition compresses well."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def suspicious(text: str, seconds: float, log_probability: float) -> bool:
    """Whether a text looks like a decoder gone astray: nothing, repetition, more than one can say, or a guess."""
    return (
        not text.strip()
        or compression(text) > MAX_COMPRESSION
        or len(text) > MAX_CHARS_BASE + MAX_CHARS_PER_SECOND * seconds
        or log_probability < MIN_LOG_PROBABILITY
    )


def invented(decoded: Decoded, seconds: float, speech_seconds: float) -> bool:
    """Whether a text was probably made up over something that is not speech, and is better dropped.

    Args:
        decoded: what was decoded, after every retry.
        seconds: length of the window.
        speech_seconds: how much of it voice activity detection takes for speech. Whisper alone is a poor judge of
            that: it doubts clear speech of a voice it does not know.
    """
    little = speech_seconds < LITTLE_SPEECH_SECONDS or speech_seconds < seconds / 2
    unsure = decoded.average_log_probability < MIN_LOG_PROBABILITY
    return (
        not decoded.text.strip()
        or compression(decoded.text) > HOPELESS_COMPRESSION
        or len(decoded.text) > 2 * (MAX_CHARS_BASE + MAX_CHARS_PER_SECOND * seconds)
        or (unsure and little and decoded.no_speech_probability > MIN_NO_SPEECH)
    )
