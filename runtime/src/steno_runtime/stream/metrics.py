"""What the streaming engine tells Prometheus. No label names a session or a tenant: there may be any number."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
"""Of this process; a server shows it among its own."""

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
