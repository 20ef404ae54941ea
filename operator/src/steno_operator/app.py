"""The operator's process: settings, signals, HTTP servers and leadership.

A standby holds nothing but its candidacy, and answers probes. A leader runs the manager until a signal stops it, when
it hands the lease over, or until it loses the lease: then it exits on the spot, before another replica begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydantic
from aiohttp import web
from kubernetes.aio.config import ConfigException

from steno_api.metrics_token import MetricsTokenError, read_token_digest
from steno_api.tls import HANDSHAKE_SECONDS, CertificateError, expires_at
from steno_kube.backoff import Backoff
from steno_kube.client import ApiError, Cluster, UnreachableError
from steno_kube.leader_election import Leadership, LeaseTimes
from steno_kube.reflector import Timing
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.kube.pod_role import label_pod
from steno_operator.control.manager import Manager, ManagerOptions
from steno_operator.control.reports.certificate import ReportTLS, issued, mounted
from steno_operator.control.reports.server import ReportEndpoint, routes
from steno_operator.control.reports.token_review import TokenVerifier
from steno_operator.settings import Settings
from steno_operator.telemetry import logs, metrics, probes

log = logging.getLogger(__name__)

_STOP_TIMEOUT = 20.0
"""Seconds for the resources being worked on at a signal to stop; below the pod's grace period."""
_DISCONNECT_TIMEOUT = 2.0
"""Seconds for requests under way at the end."""


class Operator:
    """One replica."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._stop = asyncio.Event()
        self._manager: Manager | None = None
        self._labelling: asyncio.Task[None] | None = None
        self._tls: ReportTLS | None = None
        self._electing = False
        self._metrics_token = settings.metrics_token_file and read_token_digest(Path(settings.metrics_token_file))
        times = LeaseTimes(settings.lease_duration_seconds, settings.lease_renew_seconds, settings.lease_retry_seconds)
        self._leadership = Leadership(
            cluster, settings.pod_namespace, settings.lease_name, f"{settings.pod_name}_{os.getpid()}", times
        )

    async def run(self) -> int:
        """Run until a signal stops it, or until something ends that must not; return the exit code of the process."""
        self._catch_signals()
        async with contextlib.AsyncExitStack() as stack:
            token = self._metrics_token or None
            probe_app = probes.make_app(self._problems, self._waits, self._refresh_metrics, token)
            address = await listen(stack, probe_app, (self._settings.host, self._settings.probe_port))
            log.info("probes on %s", address)
            self._label("standby")
            if not await self._unless_stopped(self._load_certificate()):
                return 0
            await self._serve_reports(stack)
            self._electing = True
            if self._settings.leader_election and not await self._unless_stopped(self._leadership.acquire()):
                return 0
            return await self._lead()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    async def _unless_stopped(self, work: Any) -> bool:
        """Wait for `work`; return False, and cancel it, if a signal comes first."""
        task, stopped = asyncio.ensure_future(work), asyncio.create_task(self._stop.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        done = task.done()
        for each in (task, stopped):
            each.cancel()
        if done:
            task.result()
        return done

    async def _lead(self) -> int:
        settings = self._settings
        options = ManagerOptions(
            instance=settings.pod_name,
            own_namespace=settings.pod_namespace,
            session_key=settings.session_key_secret,
            namespaces=settings.served,
            without_tenant=settings.tenantless_namespaces,
            workers=settings.workers,
            queue_backoff=Backoff(settings.queue_backoff_base_seconds, settings.queue_backoff_max_seconds),
            watch_timing=Timing(inactivity=settings.watch_inactivity_seconds),
            resync_interval=settings.resync_interval_seconds,
            dead_letters_interval=settings.dead_letters_interval_seconds,
        )
        # kopf takes the signal handlers over when it starts.
        policy = replace(
            settings.policy(),
            report_ca=None if self._tls is None else self._tls.ca,
            metrics_token_sha256=self._metrics_token or None,
        )
        self._manager = manager = Manager(self._cluster, policy, options, self._catch_signals)
        metrics.LEADER.set(1)
        self._label("leader")
        running = asyncio.create_task(manager.run(), name="manager")
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        held = asyncio.create_task(self._hold(), name="lease")
        done, _ = await asyncio.wait({running, stopped, held}, return_when=asyncio.FIRST_COMPLETED)
        if held in done:
            exit_now(1)  # whatever is half done must not go on: another replica may lead already
        code = 0
        if running in done:
            log.critical("the manager ended: %r", None if running.cancelled() else running.exception())
            code = 1
        self._manager = None  # from here on reports are answered 503
        running.cancel()
        await asyncio.wait({running}, timeout=_STOP_TIMEOUT)
        held.cancel()
        stopped.cancel()
        if settings.leader_election:
            await self._leadership.release()
        return code

    async def _hold(self) -> None:
        if self._settings.leader_election:
            await self._leadership.hold()
        else:
            await asyncio.Event().wait()

    def _label(self, role: str) -> None:
        if self._labelling is not None:
            self._labelling.cancel()
        if self._settings.label_pod:
            work = label_pod(self._cluster, self._settings.pod_namespace, self._settings.pod_name, role)
            self._labelling = asyncio.create_task(work, name=f"label-{role}")

    async def _load_certificate(self) -> None:
        """Read or make the report endpoint's certificate: what is started from then on is told its CA."""
        settings = self._settings
        if settings.report_tls_dir:
            self._tls = mounted(Path(settings.report_tls_dir))
        elif settings.report_ca_secret:
            host = urlsplit(settings.report_url).hostname or ""
            backoff, failures = Backoff(1.0, 30.0), 0
            while self._tls is None:
                try:
                    self._tls = await issued(self._cluster, settings.pod_namespace, settings.report_ca_secret, host)
                except (ApiError, UnreachableError, CertificateError) as error:
                    failures += 1
                    log.warning("the CA of the report endpoint cannot be read: %s", error)
                    await asyncio.sleep(backoff.delay(failures))

    async def _serve_reports(self, stack: contextlib.AsyncExitStack) -> None:
        settings, tls = self._settings, self._tls
        app = ReportEndpoint(self._serving, routes(settings.gateway_accounts)).app
        context = None if tls is None else tls.certificate.context
        log.info("reports on %s", await listen(stack, app, (settings.host, settings.report_port), context))
        if tls is not None:
            watching = asyncio.create_task(tls.certificate.watch(tls.current), name="certificate")
            stack.callback(watching.cancel)

    def _serving(self) -> tuple[ClusterState, TokenVerifier] | None:
        manager = self._manager
        return (manager.state, manager.verifier) if manager is not None and manager.ready else None

    def _problems(self) -> Iterable[str]:
        if self._settings.leader_election and self._electing:
            yield from probes.silent("leader election", self._leadership.alive_at)
        if self._manager is not None:
            yield from self._manager.problems()

    def _waits(self) -> Iterable[str]:
        if not self._electing:
            yield "the certificate of the report endpoint is not loaded yet; the log says why"
        if self._manager is not None and not self._manager.ready:
            yield "the caches are not in sync yet"
        if self._settings.leader_election and not self._leadership.reachable:
            yield "the API server does not answer"

    def _refresh_metrics(self) -> None:
        if self._tls is not None:
            chains = {"serving": self._tls.certificate.pair.chain, "ca": (self._tls.ca or "").encode()}
            for name, when in ((name, expires_at(chain)) for name, chain in chains.items()):
                if when is not None:
                    metrics.CERTIFICATE_EXPIRY.labels(name).set(when)
        if self._manager is not None:
            self._manager.refresh_metrics()


async def listen(
    stack: contextlib.AsyncExitStack,
    app: web.Application,
    address: tuple[str, int],
    context: ssl.SSLContext | None = None,
) -> tuple[str, int]:
    """Serve an application until the stack is closed; return where.

    Not with aiohttp's TCPSite, which has no bound on TLS handshakes.

    Args:
        stack: closes it.
        app: the application.
        address: host and port; port 0: any.
        context: of TLS; None: plain text.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_DISCONNECT_TIMEOUT)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    protocol: Any = runner.server
    seconds = None if context is None else HANDSHAKE_SECONDS
    loop, (host, port) = asyncio.get_running_loop(), address
    server = await loop.create_server(protocol, host, port, ssl=context, ssl_handshake_timeout=seconds)
    stack.callback(server.close)
    return server.sockets[0].getsockname()[:2]


def exit_now(code: int) -> None:
    """End the process at once, with the logs written."""
    logs.flush()
    os._exit(code)


async def run(settings: Settings) -> int:
    """Connect and run one replica; return the exit code."""
    try:
        cluster = await Cluster.connect()
    except (ConfigException, OSError) as error:
        log.critical(
            "cannot connect to the API server: %s. Set KUBECONFIG, or run in a pod with a ServiceAccount.", error
        )
        return 2
    try:
        return await Operator(settings, cluster).run()
    except MetricsTokenError as error:
        log.critical("the token of /metrics cannot be used: %s", error)
        return 2
    except CertificateError as error:
        log.critical("the report endpoint cannot be served with TLS: %s", error)
        return 2
    finally:
        await cluster.close()


def main() -> None:
    """Run the operator: the console script `steno-operator`."""
    try:
        settings = Settings()  # pyright: ignore[reportCallIssue] - required fields come from the environment
    except pydantic.ValidationError as error:
        for fault in error.errors(include_input=False):
            name = "STENO_" + "_".join(str(part) for part in fault["loc"]).upper()
            sys.stderr.write(f"steno-operator: {name}: {fault['msg']}\n")
        sys.exit(2)
    logs.set_up(settings.log_level)
    sys.exit(asyncio.run(run(settings)))


if __name__ == "__main__":
    main()
