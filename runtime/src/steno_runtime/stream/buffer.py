"""Audio buffer of a session: the samples that voice activity detection or decoding may still need."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

_MIN_CAPACITY = 32_768
"""Samples (64 KiB)."""


class AudioBuffer:
    """16-bit samples, numbered from the session's first; the oldest are released as they are no longer needed.

    The session appends and releases; the decoding thread copies windows out of it.
    """

    def __init__(self) -> None:
        import numpy as np

        self._data = np.zeros(0, np.int16)
        self._base = 0
        self._end = 0
        self._lock = threading.Lock()

    @property
    def end(self) -> int:
        """Number of samples received since the session began."""
        return self._end

    @property
    def held(self) -> int:
        """Number of samples kept."""
        return self._end - self._base

    @property
    def nbytes(self) -> int:
        """Bytes of memory allocated."""
        return self._data.nbytes

    def append(self, pcm: bytes | memoryview) -> None:
        """Append whole samples (s16le, mono, 16 kHz)."""
        import numpy as np

        samples = np.frombuffer(pcm, "<i2")
        with self._lock:
            used = self._end - self._base
            if used + len(samples) > len(self._data):
                grown = np.zeros(max(_MIN_CAPACITY, 1 << (used + len(samples) - 1).bit_length()), np.int16)
                grown[:used] = self._data[:used]
                self._data = grown
            self._data[used : used + len(samples)] = samples
            self._end += len(samples)

    def window(self, begin: int, end: int) -> Samples:
        """Return a copy of samples `[begin, end)` as float32 in [-1, 1]; those released or not received are missing."""
        import numpy as np

        with self._lock:
            low, high = max(0, begin - self._base), max(0, min(end, self._end) - self._base)
            return self._data[low:high].astype(np.float32) / 32768.0

    def release(self, before: int) -> None:
        """Release the samples before number `before`."""
        import numpy as np

        with self._lock:
            before = min(before, self._end)
            if before <= self._base:
                return
            kept = self._end - before
            rest = self._data[before - self._base : self._end - self._base].copy()
            if not kept:
                self._data = rest
            elif len(self._data) > max(_MIN_CAPACITY, 4 * kept):  # a long utterance is over
                self._data = np.zeros(max(_MIN_CAPACITY, 1 << (kept - 1).bit_length()), np.int16)
            self._data[:kept] = rest
            self._base = before

    def clear(self) -> None:
        """Release all samples."""
        self.release(self._end)
