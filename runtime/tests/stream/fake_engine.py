"""Fake engine: each batch costs a given time, and the text is one word for each half second of audio."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.stt.engine import AutoLanguage, Decoded, DecodeProfile, TimedWord

RATE = 16_000
WORD_SECONDS = 0.5
_SYLLABLES = ["ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "wo", "zu"]


def word(samples: np.ndarray) -> str:
    """Return the word for some audio: always the same."""
    number = zlib.crc32(np.round(samples * 32768).astype("<i2").tobytes())
    return "".join(_SYLLABLES[number // 15**place % 15] for place in range(4))


class FakeEngine:
    """`Engine`.

    Args:
        seconds: returns what a batch of these windows costs.
        batch_size: windows per batch.
        workers: calls at a time.
        max_windows: more windows do not fit its memory.
    """

    device = "cpu"

    def __init__(
        self,
        seconds: Callable[[Sequence[np.ndarray]], float] = lambda _: 0.0,
        *,
        batch_size: int = 8,
        max_windows: int = 1000,
        languages: Sequence[str] = ("en", "ko", "ja"),
        workers: int = 1,
    ) -> None:
        self.workers = workers
        self.batch_size = batch_size
        self.languages = frozenset(languages)
        self.seconds, self.max_windows = seconds, max_windows
        self.calls: list[tuple[str, str, list[np.ndarray]]] = []
        self.detected = "en"
        self.unblocked = threading.Event()
        self.unblocked.set()
        self.batch_started = threading.Semaphore(0)

    def detect_languages(self, windows: Sequence[np.ndarray]) -> list[Mapping[str, float]]:
        self._run("detect", "", windows)
        return [self.heard(window) for window in windows]

    def decode(
        self,
        windows: Sequence[np.ndarray],
        language: str | AutoLanguage,
        profile: DecodeProfile = DecodeProfile.BEAM_WITH_FALLBACK,
    ) -> list[Decoded]:
        self._run(profile.value, language if isinstance(language, str) else language.expected, windows)
        return [self._decoded(window, language) for window in windows]

    def heard(self, _: np.ndarray) -> Mapping[str, float]:
        return {self.detected: 0.9, "xx": 0.1}

    def _decoded(self, window: np.ndarray, language: str | AutoLanguage) -> Decoded:
        heard = {} if isinstance(language, str) else self.heard(window)
        chosen = language if isinstance(language, str) else language.choose(heard, len(window) / RATE)
        step = int(WORD_SECONDS * RATE)
        words = tuple(
            TimedWord(word(window[at : at + step]), at / RATE, min(len(window), at + step) / RATE, 0.9)
            for at in range(0, len(window), step)
        )
        return Decoded(" ".join(one.text for one in words), words, -0.2, 0.0, chosen, heard)

    def _run(self, what: str, language: str, windows: Sequence[np.ndarray]) -> None:
        self.calls.append((what, language, list(windows)))
        self.batch_started.release()
        assert self.unblocked.wait(30)
        seconds = self.seconds(windows)
        if seconds:
            time.sleep(seconds)
        if len(windows) > self.max_windows:
            raise WorkError(FailureReason.OUT_OF_MEMORY, "too many")
        if any(len(window) and window[0] == POISON for window in windows):
            raise ValueError("bad window with secret text")


POISON = np.float32(0.75)
"""A window that begins with it fails, and so do all that are decoded with it."""
