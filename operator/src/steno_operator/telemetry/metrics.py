"""Prometheus metrics of the operator, in one place because their names are an interface to dashboards and alerts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

LEADER = Gauge("steno_leader", "1 on the replica that reconciles")
QUEUE_DEPTH = Gauge("steno_queue_depth", "Resources waiting for a worker")
QUEUE_WAIT = Histogram("steno_queue_wait_seconds", "Time from queued to taken by a worker", buckets=_SECONDS)
RECONCILE_SECONDS = Histogram("steno_reconcile_seconds", "Reconciling one resource once", buckets=_SECONDS)
RECONCILE_ERRORS = Counter("steno_reconcile_errors", "Reconciliations that ended in an unexpected error")
RESYNC_MISSED = Counter("steno_resync_missed", "Changes of resources that the watches missed", ["kind"])
ACTIONS = Counter("steno_actions", "Actions carried out", ["action"])
STATUS_WRITES = Counter("steno_status_writes", "Status patches sent", ["kind"])
ATTEMPTS = Counter("steno_attempts", "Child Jobs created", ["kind"])
FAILURES = Counter("steno_failures", "Attempts that failed, by reason", ["kind", "reason"])
WARNINGS = Counter("steno_result_warnings", "Results published with a warning, by reason", ["kind", "reason"])
REPORTS = Counter("steno_reports", "Worker reports received, by answer", ["code"])
CERTIFICATE_EXPIRY = Gauge(
    "steno_report_certificate_expiry_timestamp_seconds",
    "When a certificate of the report endpoint, or one of its chain, expires (Unix time): its own (serving), or what "
    "workers and servers verify it with (ca)",
    ["certificate"],
)
TENANT_USAGE = Gauge("steno_tenant_usage", "What a Tenant uses, or used today", ["tenant", "resource"])
TENANT_LIMIT = Gauge("steno_tenant_limit", "The Tenant's limit, where it has one", ["tenant", "resource"])
JOBS = Gauge("steno_jobs", "Resources by phase", ["kind", "phase"])
