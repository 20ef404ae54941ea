"""The 95th percentile of the last latencies."""

from __future__ import annotations

from collections import deque


class Latencies:
    """Remembers the last thousand."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=1000)

    def add(self, seconds: float) -> None:
        """Takes one more."""
        self._last.append(seconds)

    def p95_millis(self) -> int | None:
        """The 95th percentile in milliseconds; None before the first."""
        ordered = sorted(self._last)
        return round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] * 1000) if ordered else None
