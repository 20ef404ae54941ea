"""Prometheus metrics of a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from steno_api.server.reports import SessionReport
from steno_api.tls import ServingCertificate, expires_at
from steno_runtime.stream import metrics as stream

if TYPE_CHECKING:
    from steno_runtime.serve.access import SessionAccess
    from steno_runtime.serve.queue_worker import QueueWorker
    from steno_runtime.serve.readiness import Readiness
    from steno_runtime.serve.sessions.registry import SessionRegistry
    from steno_runtime.serve.uploads.job_queue import JobQueue

_LATENCY = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of `/metrics`."""

    def __init__(
        self,
        readiness: Readiness,
        sessions: SessionRegistry,
        jobs: JobQueue,
        access: SessionAccess,
        *,
        certificate: ServingCertificate | None,
        attempts: QueueWorker | None,
    ) -> None:
        """Measure these.

        Args:
            readiness: and the engine.
            sessions: of this server.
            jobs: uploads.
            access: whose sessions are open.
            certificate: of the ports of clients; None: they speak plain text.
            attempts: of the pool's queue; None: it has none.
        """
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(stream.REGISTRY)
        self.registry.register(_Gauges(readiness, sessions, jobs, access))
        if certificate is not None:
            self.registry.register(_CertificateExpiry(certificate))
        if attempts is not None:
            self.registry.register(_Attempts(attempts))
        self._ended = Counter("steno_server_sessions", "Sessions that ended", ["reason"], registry=self.registry)
        self._failed = Counter(
            "steno_server_session_failures", "Sessions that failed to be published or decoded", ["reason"],
            registry=self.registry,
        )  # fmt: skip
        self._audio = Counter("steno_server_audio_seconds", "Audio of ended sessions", registry=self.registry)
        self._final = Histogram(
            "steno_server_final_latency_seconds", "95th percentile of an ended session", buckets=_LATENCY,
            registry=self.registry,
        )  # fmt: skip
        self._partial = Histogram(
            "steno_server_partial_latency_seconds", "95th percentile of an ended session", buckets=_LATENCY,
            registry=self.registry,
        )  # fmt: skip
        self.lost_reports = Counter("steno_server_reports_lost", "Reports that did not arrive", registry=self.registry)

    def session_ended(self, report: SessionReport) -> None:
        """Count a session that has ended."""
        stats, result = report.stats, report.result
        self._audio.inc(stats.audio_seconds)
        if result is not None:
            self._ended.labels(result.reason.value).inc()
            if result.failure is not None:
                self._failed.labels(result.failure.value).inc()
        if stats.final_latency_millis is not None:
            self._final.observe(stats.final_latency_millis / 1000)
        if stats.partial_latency_millis is not None:
            self._partial.observe(stats.partial_latency_millis / 1000)


class _Gauges(Collector):
    def __init__(self, readiness: Readiness, sessions: SessionRegistry, jobs: JobQueue, access: SessionAccess) -> None:
        self._readiness, self._sessions, self._jobs, self._access = readiness, sessions, jobs, access

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("steno_server_ready", "1 when sessions are taken", value=float(self._readiness.ready))
        yield GaugeMetricFamily(
            "steno_server_open_sessions", "Sessions that are open", value=self._sessions.open_sessions
        )
        yield GaugeMetricFamily(
            "steno_server_operator_silent_seconds", "Since the operator last answered", value=self._access.silence
        )
        jobs = GaugeMetricFamily("steno_server_jobs", "Uploads by state", labels=["status"])
        for state, count in self._jobs.counts().items():
            jobs.add_metric([state], count)
        yield jobs
        status = self._readiness.engine_status()
        if status is not None:
            depth = GaugeMetricFamily("steno_server_queue_depth", "Windows waiting", labels=["priority"])
            for priority, waiting in status.queue_depth.items():
                depth.add_metric([priority], waiting)
            yield depth
            yield GaugeMetricFamily("steno_server_lag_seconds", "Of the slowest session", value=status.lag_ms / 1000)
            rows = GaugeMetricFamily(
                "steno_server_batch_rows", "Windows decoded together", value=status.mean_batch_rows
            )
            yield rows


class _CertificateExpiry(Collector):
    def __init__(self, certificate: ServingCertificate) -> None:
        self._certificate = certificate

    def collect(self) -> Iterator[Metric]:
        when = expires_at(self._certificate.pair.chain)
        if when is not None:
            text = "When the certificate that clients see, or one of its chain, expires (Unix time)"
            yield GaugeMetricFamily("steno_server_certificate_expiry_timestamp_seconds", text, value=when)


class _Attempts(Collector):
    def __init__(self, attempts: QueueWorker) -> None:
        self._attempts = attempts

    def collect(self) -> Iterator[Metric]:
        tally = self._attempts.tally
        yield GaugeMetricFamily("steno_server_attempts_open", "Messages of the queue in work", value=tally.in_flight)
        receives = CounterMetricFamily(
            "steno_server_queue_receives", "Messages received, by whether they had been before", labels=["again"]
        )
        for again in (False, True):
            receives.add_metric([str(again).lower()], tally.receives[again])
        yield receives
        ended = CounterMetricFamily("steno_server_attempts", "What became of messages", labels=["outcome"])
        for outcome, count in tally.ended.items():
            ended.add_metric([outcome], count)
        yield ended
