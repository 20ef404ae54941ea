"""Prometheus metrics of the streaming engine, and the latencies of one session.

No label names a session or a tenant: there may be any number of them.
"""

from __future__ import annotations

from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
"""Of this process; a server exports it with its own."""

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)

SESSIONS = Gauge("steno_stream_sessions", "Open sessions.", registry=REGISTRY)
AUDIO_SECONDS = Counter("steno_stream_audio_seconds", "Audio received.", registry=REGISTRY)
PARTIAL_LATENCY = Histogram(
    "steno_stream_partial_latency_seconds",
    "From the receipt of a window's last sample to the partial text.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
FINAL_LATENCY = Histogram(
    "steno_stream_final_latency_seconds",
    "From the end of speech to the final text.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
WINDOWS = Counter("steno_stream_windows", "Windows decoded.", ["kind"], registry=REGISTRY)
COALESCED = Counter(
    "steno_stream_coalesced", "Draft windows that a newer one replaced before they were decoded.", registry=REGISTRY
)
FAILED = Counter("steno_stream_failed_windows", "Windows that could not be decoded.", ["reason"], registry=REGISTRY)
BATCH_ROWS = Histogram(
    "steno_stream_batch_rows", "Windows decoded together.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=REGISTRY
)
BATCH_SECONDS = Histogram(
    "steno_stream_batch_seconds", "Time a batch took.", ["kind"], buckets=_SECONDS, registry=REGISTRY
)
QUEUE_DEPTH = Gauge("steno_stream_queue_depth", "Windows waiting.", ["priority"], registry=REGISTRY)
QUEUE_SECONDS = Histogram(
    "steno_stream_queue_seconds", "Time a window waited.", ["priority"], buckets=_SECONDS, registry=REGISTRY
)


class RecentLatencies:
    """The last thousand latencies, and their 95th percentile."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=1000)

    def add(self, seconds: float) -> None:
        """Add a latency."""
        self._seconds.append(seconds)

    def p95_millis(self) -> int | None:
        """Return the 95th percentile in milliseconds; None before the first."""
        ordered = sorted(self._seconds)
        return round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] * 1000) if ordered else None
