"""Prometheus metrics of watches, in one place because their names are an interface to dashboards and alerts.

Separate because two programs import it, each with metrics of its own beside it.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge

WATCH_RESTARTS = Counter("steno_watch_restarts", "Watch streams opened again after an error", ["watch"])
WATCH_RELISTS = Counter("steno_watch_relists", "Full lists made because a watch could not be resumed", ["watch"])
WATCH_FORBIDDEN = Gauge(
    "steno_watch_forbidden", "1 while a served namespace may not be read", ["watch", "served_namespace"]
)
