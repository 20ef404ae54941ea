"""The operator's process. The only module that knows kopf, which does no more than watch custom resources.

A standby holds nothing but its candidacy, and answers probes. A leader runs the engine and kopf until it is told to
stop, when it hands the lease over, or until it loses the lease: then it exits on the spot, before another begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import kopf
import pydantic
from aiohttp import web
from kubernetes.aio.config import ConfigException

from steno_api.v1alpha1 import RESOURCES
from steno_operator.control.cache.store import Store
from steno_operator.control.kube.backoff import Backoff
from steno_operator.control.kube.client import Cluster
from steno_operator.control.kube.leader_election import Leadership, LeaseTimes, label_pod
from steno_operator.control.manager import Engine, EngineOptions
from steno_operator.control.reports.server import ReportEndpoint
from steno_operator.control.reports.token_review import TokenVerifier
from steno_operator.control.watch.reflector import Timing
from steno_operator.settings import Settings
from steno_operator.telemetry import logs, metrics, probes

log = logging.getLogger(__name__)

_STOP_PATIENCE = 20.0
"""Seconds for the resources being worked on when told to stop; below the pod's grace period."""


class JitteredBackoffs(Iterable[float]):
    """Waits between kopf's tries of one request: no two replicas or requests in step, none for ever."""

    def __iter__(self) -> Iterator[float]:
        """Yields seconds."""
        for exponent in range(10):
            yield min(30.0, 0.5 * 2**exponent) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load


class NoEssence(kopf.DiffBaseStorage):
    """Nothing to compare: we are told of events and find the differences ourselves.

    kopf would copy every object, thoroughly and twice, whenever it changes.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Returns nothing of any object."""
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Returns that nothing was stored."""
        return None

    def store(self, **_: Any) -> None:
        """Stores nothing."""


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """Returns how kopf is to watch: nothing written, nothing posted, nothing believed to live that is silent."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.posting.level = logging.WARNING
    chosen.peering.standalone = True
    chosen.scanning.disabled = True
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 310
    chosen.watching.connect_timeout = 10
    chosen.watching.inactivity_timeout = settings.watch_inactivity_seconds
    chosen.watching.chunk_size = 500
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 10
    chosen.networking.enforce_retry_after = True
    chosen.networking.error_backoffs = JitteredBackoffs()
    chosen.queueing.worker_limit = None
    chosen.queueing.idle_timeout = 5
    chosen.persistence.diffbase_storage = NoEssence()
    chosen.persistence.finalizer = "steno.dev/unused"
    chosen.process.ultimate_exiting_timeout = None
    return chosen


def kopf_registry(observe: Callable[..., None]) -> kopf.OperatorRegistry:
    """Returns kopf's handlers: whatever happens to a custom resource goes to `observe`."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**context: Any) -> kopf.ConnectionInfo | None:  # pyright: ignore[reportUnusedFunction]
        in_cluster = not os.environ.get("KUBECONFIG") and os.environ.get("KUBERNETES_SERVICE_HOST")
        return (kopf.login_with_service_account if in_cluster else kopf.login_with_kubeconfig)(**context)

    for model in RESOURCES:
        definition = model.definition

        async def told(event: Any, kind: str = definition.kind, **_: Any) -> None:
            observe(kind, dict(event["object"]), deleted=event["type"] == "DELETED")

        kopf.on.event(definition.group, definition.version, definition.plural, registry=registry)(told)
    return registry


class Operator:
    """One replica."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._stop = asyncio.Event()
        self._engine: Engine | None = None
        self._labelling: asyncio.Task[None] | None = None
        times = LeaseTimes(settings.lease_duration_seconds, settings.lease_renew_seconds, settings.lease_retry_seconds)
        self._leadership = Leadership(
            cluster, settings.pod_namespace, settings.lease_name, f"{settings.pod_name}_{os.getpid()}", times
        )

    async def run(self) -> int:
        """Runs until told to stop, or until something ends that must not; returns the process' exit code."""
        self._catch_signals()
        async with contextlib.AsyncExitStack() as stack:
            await self._serve(stack, ReportEndpoint(self._serving).app, self._settings.report_port, "reports")
            probe_app = probes.make_app(self._problems, self._waits, self._refresh_metrics)
            await self._serve(stack, probe_app, self._settings.probe_port, "probes")
            self._label("standby")
            if self._settings.leader_election and not await self._unless_stopped(self._leadership.acquire()):
                return 0
            return await self._lead()

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    async def _unless_stopped(self, work: Any) -> bool:
        """Waits for `work`; returns False, and cancels it, if told to stop first."""
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
        options = EngineOptions(
            instance=settings.pod_name,
            own_namespace=settings.pod_namespace,
            session_key=settings.session_key_secret,
            namespaces=settings.served,
            without_tenant=settings.tenantless_namespaces,
            workers=settings.workers,
            queue_backoff=Backoff(settings.queue_backoff_base_seconds, settings.queue_backoff_max_seconds),
            watch_timing=Timing(inactivity=settings.watch_inactivity_seconds),
            audit_interval=settings.audit_interval_seconds,
        )
        self._engine = engine = Engine(self._cluster, settings.policy(), options)
        metrics.LEADER.set(1)
        self._label("leader")
        tasks = {
            asyncio.create_task(engine.run(), name="engine"),
            asyncio.create_task(self._watch(engine), name="kopf"),
        }
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        held = asyncio.create_task(self._hold(), name="lease")
        done, _ = await asyncio.wait({*tasks, stopped, held}, return_when=asyncio.FIRST_COMPLETED)
        if held in done:
            exit_now(1)  # whatever is half done must not go on: another replica may lead already
        code = 0
        for task in done & tasks:
            log.critical("%s ended: %r", task.get_name(), None if task.cancelled() else task.exception())
            code = 1
        self._engine = None  # from here on reports are answered 503
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_STOP_PATIENCE)
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

    async def _watch(self, engine: Engine) -> None:
        """Runs kopf."""
        namespaces = self._settings.served
        tasks = await kopf.spawn_tasks(
            registry=kopf_registry(engine.observe),
            settings=kopf_settings(self._settings),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
        self._catch_signals()  # kopf took them
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # Not kopf.run_tasks: on its way out that cancels every task of the process, ours too.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _label(self, role: str) -> None:
        if self._labelling is not None:
            self._labelling.cancel()
        if self._settings.label_pod:
            work = label_pod(self._cluster, self._settings.pod_namespace, self._settings.pod_name, role)
            self._labelling = asyncio.create_task(work, name=f"label-{role}")

    async def _serve(self, stack: contextlib.AsyncExitStack, app: web.Application, port: int, name: str) -> None:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, self._settings.host, port, shutdown_timeout=2.0)
        await site.start()
        log.info("%s on %s", name, runner.addresses[0])

    def _serving(self) -> tuple[Store, TokenVerifier] | None:
        engine = self._engine
        return (engine.store, engine.verifier) if engine is not None and engine.ready else None

    def _problems(self) -> Iterable[str]:
        if self._settings.leader_election:
            yield from probes.silent("leader election", self._leadership.alive_at)
        if self._engine is not None:
            yield from self._engine.problems()

    def _waits(self) -> Iterable[str]:
        if self._engine is not None and not self._engine.ready:
            yield "not everything is in view yet"
        if self._settings.leader_election and not self._leadership.reachable:
            yield "the API server does not answer"

    def _refresh_metrics(self) -> None:
        if self._engine is not None:
            self._engine.refresh_metrics()


def exit_now(code: int) -> None:
    """Ends the process here and now, logs written."""
    logs.flush()
    os._exit(code)


async def run(settings: Settings) -> int:
    """Connects and runs one replica."""
    try:
        cluster = await Cluster.connect()
    except (ConfigException, OSError) as error:
        log.critical("no way to the API server: %s. Set KUBECONFIG, or run in a pod with a ServiceAccount.", error)
        return 2
    try:
        return await Operator(settings, cluster).run()
    finally:
        await cluster.close()


def main() -> None:
    """Runs the operator: the console script `steno-operator`."""
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
