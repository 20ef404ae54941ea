"""Speech engine interface: what the pipeline and the scheduler ask of Whisper, and when they trust its text.

Today Whisper runs in this process (`stt.ctranslate`); another server can take its place behind the same `Engine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from steno_runtime.errors import Check
from steno_runtime.stt.chunks import SHORT_TAIL_FRAMES, TAIL_FRAMES, window_frames
from steno_runtime.stt.repetition import is_loop, is_repetitive

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]
    """Audio: float32 in [-1, 1], mono, 16 kHz; shape `(samples,)`."""


UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages written without spaces between words: their words come without one."""


class DecodeProfile(StrEnum):
    """How a window is decoded: more effort for text that stays."""

    GREEDY = "greedy"
    """The likeliest next token; no word times, no second attempt. For text that is replaced within a second."""
    BEAM_ONCE = "beam_once"
    """Beam search and word times, but no second attempt. For what is probably no speech."""
    BEAM = "beam"
    """Beam search and word times; text that fails the checks is decoded once more in the full window. Deterministic:
    the same audio always gives the same text."""
    BEAM_WITH_FALLBACK = "beam_with_fallback"
    """As `BEAM`, in a window with more silence, and where the text still fails the checks, sampled once."""

    @property
    def retries(self) -> bool:
        """Whether text that fails the checks is decoded again."""
        return self in (DecodeProfile.BEAM, DecodeProfile.BEAM_WITH_FALLBACK)

    @property
    def tail_frames(self) -> int:
        """Mel frames of silence that a window ends with, as far as there is room."""
        return TAIL_FRAMES if self is DecodeProfile.BEAM_WITH_FALLBACK else SHORT_TAIL_FRAMES

    def window_frames(self, samples: int) -> int:
        """Return the mel frames of the window that `samples` samples are decoded in."""
        return window_frames(samples, self.tail_frames)


@dataclass(frozen=True)
class AutoLanguage:
    """The language is detected in each window, on what is encoded to be decoded anyway.

    Attributes:
        expected: language of windows that are not clearly in another; empty: each in its likeliest.
        allowed: languages to choose from; empty: all that the engine knows.
    """

    expected: str = ""
    allowed: frozenset[str] = frozenset()

    def among(self, probabilities: Mapping[str, float]) -> Mapping[str, float]:
        """Return the probabilities of the allowed languages, as if there were no others."""
        if not self.allowed:
            return probabilities
        total = sum(probabilities.get(language, 0.0) for language in self.allowed)
        if total <= 0:
            return dict.fromkeys(self.allowed, 1 / len(self.allowed))
        return {language: probabilities.get(language, 0.0) / total for language in self.allowed}

    def choose(self, probabilities: Mapping[str, float], seconds: float) -> str:
        """Return the language to decode a window of that length in."""
        among = self.among(probabilities)
        best = likeliest(among)
        clear = seconds >= CLEAR_SECONDS and among[best] >= CLEAR_PROBABILITY
        return best if clear or not self.expected else self.expected


def likeliest(probabilities: Mapping[str, float]) -> str:
    """Return the language with the highest probability, the last one by name of several."""
    return max(probabilities, key=lambda language: (probabilities[language], language))


CLEAR_PROBABILITY = 0.85
"""A language of at least this probability in a window is what is spoken there, if the window is long enough."""
CLEAR_SECONDS = 3.0
"""Shorter windows do not tell a language for certain."""


@dataclass(frozen=True)
class TimedWord:
    """A spoken word; times in seconds from the beginning of its window, or of the audio where stated."""

    text: str
    """Without surrounding space."""
    start: float
    end: float
    probability: float
    spaced: bool = True
    """Whether a space precedes it: Chinese, Japanese and Thai words follow each other without one."""
    language: str = ""
    """ISO 639 code of its window's language; empty: not known."""


@dataclass(frozen=True)
class Decoded:
    """The text of one window."""

    text: str
    words: tuple[TimedWord, ...]
    avg_logprob: float
    """Mean log probability of the tokens."""
    no_speech_prob: float
    """Whisper's probability (0 to 1) that the window has no speech."""
    language: str = ""
    """ISO 639 code of the language that it was decoded in."""
    languages: Mapping[str, float] = field(default_factory=dict[str, float])
    """The probability of each language that the engine knows, where it was detected."""


class Engine(Protocol):
    """Runs Whisper. Called from at most `workers` threads at a time.

    Attributes:
        device: `cpu` or `cuda`.
        workers: calls that it runs side by side.
        batch_size: windows per call that the device decodes best, where all workers are called.
        languages: ISO 639 codes of the languages it knows.
    """

    device: str
    workers: int
    batch_size: int
    languages: frozenset[str]

    def detect_languages(self, windows: Sequence[Samples]) -> list[Mapping[str, float]]:
        """Return the probability of each language in each window (float32, mono, 16 kHz, up to 30 s)."""
        ...

    def decode(
        self,
        windows: Sequence[Samples],
        language: str | AutoLanguage,
        profile: DecodeProfile = DecodeProfile.BEAM_WITH_FALLBACK,
    ) -> list[Decoded]:
        """Decode windows, ideally all of one frame bucket.

        Args:
            windows: float32, mono, 16 kHz, up to 27 s each.
            language: ISO 639 code, one of `languages`; or from what to choose it, window by window.
            profile: how much effort the text is worth.

        Returns:
            One result per window, in order.

        Raises:
            WorkError: `OutOfMemory` when the batch did not fit.
        """
        ...


class SharedEngine(Engine, Protocol):
    """An engine that several pieces of work have together."""

    def share(self, check: Check) -> AbstractContextManager[Engine]:
        """Return the engine as one piece of work has it: no other one with more to decode holds it up.

        Args:
            check: called while windows wait; what it raises ends the call, and the windows leave the queue.
        """
        ...


# Text that fails one of these is decoded again: measured on short clips, 2 of 60 of a short window's texts fail, and
# with the check the error rate is that of full windows. faster-whisper's names.
MAX_CHARS_BASE, MAX_CHARS_PER_SECOND = 8, 25
LOG_PROB_THRESHOLD = -1.0
NO_SPEECH_THRESHOLD = 0.6
MIN_SPEECH_SECONDS = 2.0
SURE_NO_SPEECH = 0.9
"""Whisper's probability above which short sounds are none, however sure it is of their text: `you` over a note of jazz
has 0.94. Of the corpus's even half, 49 spans of speech below 2 s were decoded alone; none has more than 0.75."""


def needs_fallback(text: str, seconds: float, avg_logprob: float) -> bool:
    """Return whether a text should be decoded again: it is empty, repetitive, too long for its audio, or a guess.

    Args:
        text: of one window.
        seconds: length of the window.
        avg_logprob: mean log probability of the text's tokens.
    """
    return (
        not text.strip()
        or is_repetitive(text)
        or len(text) > MAX_CHARS_BASE + MAX_CHARS_PER_SECOND * seconds
        or avg_logprob < LOG_PROB_THRESHOLD
    )


def hallucinated(decoded: Decoded, seconds: float, speech_seconds: float, *, doubtful: bool = False) -> bool:
    """Return whether a text was probably made up over something that is not speech, and should be dropped.

    Args:
        decoded: the result after all retries.
        seconds: length of the window.
        speech_seconds: how much of it voice activity detection takes for speech. Whisper alone is a poor judge of
            that: it doubts clear speech of a voice it does not know.
        doubtful: whether voice activity detection itself doubts that it is speech; its text must then pass the checks.
    """
    is_short = speech_seconds < MIN_SPEECH_SECONDS
    little_speech = is_short or speech_seconds < seconds / 2
    unsure = decoded.avg_logprob < LOG_PROB_THRESHOLD
    return (
        not decoded.text.strip()
        or is_loop(decoded.text, seconds)
        or len(decoded.text) > 2 * (MAX_CHARS_BASE + MAX_CHARS_PER_SECOND * seconds)
        or (unsure and little_speech and decoded.no_speech_prob > NO_SPEECH_THRESHOLD)
        or (is_short and decoded.no_speech_prob > SURE_NO_SPEECH)
        or (doubtful and needs_fallback(decoded.text, seconds, decoded.avg_logprob))
    )
