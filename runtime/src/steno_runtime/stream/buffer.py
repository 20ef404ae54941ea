"""A session's audio, as long as somebody may still need it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

_SMALLEST = 32_768
"""Samples room is made for at first (64 KiB)."""


class AudioBuffer:
    """Samples since the session's first, of which the oldest are let go. 16 bits each.

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
        """Samples received since the session began."""
        return self._end

    @property
    def held(self) -> int:
        """Samples kept."""
        return self._end - self._base

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return self._data.nbytes

    def append(self, pcm: bytes | memoryview) -> None:
        """Takes whole samples, s16le."""
        import numpy as np

        new = np.frombuffer(pcm, "<i2")
        with self._lock:
            used = self._end - self._base
            if used + len(new) > len(self._data):
                grown = np.zeros(max(_SMALLEST, 1 << (used + len(new) - 1).bit_length()), np.int16)
                grown[:used] = self._data[:used]
                self._data = grown
            self._data[used : used + len(new)] = new
            self._end += len(new)

    def window(self, begin: int, end: int) -> Samples:
        """A copy of samples `[begin, end)`, float32; those no longer (or not yet) there are missing."""
        import numpy as np

        with self._lock:
            low, high = max(0, begin - self._base), max(0, min(end, self._end) - self._base)
            return self._data[low:high].astype(np.float32) / 32768.0

    def release(self, before: int) -> None:
        """Lets go of the samples in front of `before`."""
        import numpy as np

        with self._lock:
            before = min(before, self._end)
            if before <= self._base:
                return
            kept = self._end - before
            rest = self._data[before - self._base : self._end - self._base].copy()
            if not kept:
                self._data = rest
            elif len(self._data) > max(_SMALLEST, 4 * kept):  # a long utterance is over
                self._data = np.zeros(max(_SMALLEST, 1 << (kept - 1).bit_length()), np.int16)
            self._data[:kept] = rest
            self._base = before

    def clear(self) -> None:
        """Lets go of everything."""
        self.release(self._end)
