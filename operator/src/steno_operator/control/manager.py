"""The leading replica's machinery, put together: store, watches, audit, queue, workers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_operator.control.cache.store import Store
from steno_operator.control.cache.tenancy import TENANT_KIND
from steno_operator.control.kube.backoff import Backoff
from steno_operator.control.kube.client import ApiError, Cluster, UnreachableError
from steno_operator.control.kube.keys import Key
from steno_operator.control.kube.signing import Signer
from steno_operator.control.reconcile import tenant_controller
from steno_operator.control.reconcile.controller import AnyController, resource_type
from steno_operator.control.reconcile.executor import Executor
from steno_operator.control.reconcile.job_controller import JobController
from steno_operator.control.reconcile.pool_actions import PoolSteps
from steno_operator.control.reconcile.pool_controller import PoolController
from steno_operator.control.reconcile.reconciler import Reconciler
from steno_operator.control.reconcile.session_controller import SessionController
from steno_operator.control.reconcile.tenant_controller import TenantController
from steno_operator.control.reconcile.work_queue import WorkQueue
from steno_operator.control.reports.token_review import TokenVerifier
from steno_operator.control.watch.reflector import Timing
from steno_operator.control.watch.resync import Audited, Auditor
from steno_operator.control.watch.sinks import watchers
from steno_operator.plan.common.policy import Policy
from steno_operator.telemetry import metrics, probes

log = logging.getLogger(__name__)

PROFILE_KIND = RuntimeProfile.definition.kind


@dataclass(frozen=True)
class EngineOptions:
    """What the engine is told besides the policy. Times in seconds."""

    instance: str
    own_namespace: str
    """Where the operator itself is."""
    session_key: str = "steno-operator-session-key"
    """Secret with the key that signs session tokens; made there when it is missing."""
    namespaces: tuple[str, ...] = ()
    without_tenant: Literal["allow", "refuse"] = "allow"
    """Whether work in namespaces of no Tenant may start."""
    workers: int = 16
    queue_backoff: Backoff = field(default_factory=Backoff)
    watch_timing: Timing = field(default_factory=Timing)
    audit_interval: float = 60.0


class Engine:
    """Everything that runs only while leading."""

    def __init__(self, cluster: Cluster, policy: Policy, options: EngineOptions) -> None:
        self._cluster = cluster
        self._options = options
        self.queue: WorkQueue[Key] = WorkQueue(
            options.queue_backoff, expected=(ApiError, UnreachableError), about=Key.log
        )
        self.store = Store(
            self.queue.add,
            policy.progress_interval.total_seconds(),
            without_tenant=options.without_tenant,
            served=options.namespaces,
        )
        self.verifier = TokenVerifier(cluster)
        self.ready = False
        self._signer = Signer(cluster, options.own_namespace, options.session_key, self._resync)
        steps = PoolSteps(cluster, self.store, self._signer).steps
        executor = Executor(cluster, self.store, options.instance, steps)
        self._controllers = controllers(cluster, self.store, self._signer)
        self._reconciler = Reconciler(self.store, executor, self._controllers, policy)
        self._watchers = watchers(cluster, self.store, options.namespaces, options.watch_timing)
        self._auditor = Auditor(cluster, self._audited(), self._resync, options.audit_interval)

    async def run(self) -> None:
        """Runs until cancelled; ends only by an error that nothing here can mend."""
        async with asyncio.TaskGroup() as group:
            for watcher in self._watchers:
                group.create_task(watcher.run(), name=f"watch-{watcher.target.name}")
            await self._fill()
            for watcher in self._watchers:
                await watcher.synced.wait()
            log.info("everything is in view: reconciling")
            self.ready = True
            group.create_task(self._signer.run(), name="signing-key")
            group.create_task(self._auditor.run(), name="audit")
            group.create_task(self._reconciler.tell(), name="events")
            group.create_task(self.queue.run(self._reconciler.reconcile, self._options.workers), name="queue")

    async def _fill(self) -> None:
        failures = 0
        while True:
            try:
                await self._auditor.fill()
            except (ApiError, UnreachableError) as error:
                failures += 1
                delay = Backoff(0.5, 15.0).delay(failures)
                remedy = " Are the CustomResourceDefinitions installed?" if getattr(error, "status", 0) == 404 else ""
                log.warning("listing the custom resources: %s; again in %.1f s.%s", error, delay, remedy)
                await asyncio.sleep(delay)
            else:
                return

    # What kopf tells

    def observe(self, kind: str, raw: dict[str, Any], *, deleted: bool) -> None:
        """Takes in an event of a custom resource."""
        if kind == PROFILE_KIND:
            if deleted:
                self.store.drop_profile(raw["metadata"]["name"])
            else:
                self.store.put_profile(raw)
        elif deleted:
            self.store.drop_resource(Key.of(kind, raw), raw["metadata"]["uid"])
        else:
            self.store.put_resource(kind, raw)

    def _audited(self) -> list[Audited]:
        everywhere: tuple[str | None, ...] = (None,)
        profiles = Audited(
            PROFILE_KIND,
            resource_type(RuntimeProfile.definition),
            everywhere,
            self.store.profiles,
            self.store.put_profile,
            lambda raw: self.store.drop_profile(raw["metadata"]["name"]),
        )
        return [profiles] + [
            Audited(
                name,
                resource_type(controller.model.definition),
                everywhere
                if controller.model.definition.scope == "Cluster"
                else self._options.namespaces or everywhere,
                lambda name=name: [raw for key, raw in self.store.resources() if key.kind == name],
                lambda raw, name=name: self.store.put_resource(name, raw),
                lambda raw, name=name: self.store.drop_resource(Key.of(name, raw), raw["metadata"]["uid"]),
            )
            for name, controller in self._controllers.items()
        ]

    def _resync(self) -> None:
        for key, raw in self.store.resources():
            if not (raw.get("status") or {}).get("completionTime"):
                self.queue.add(key)

    # What probes read

    def problems(self) -> Iterable[str]:
        """Yields what keeps reconciling from working."""
        for watcher in self._watchers:
            yield from probes.silent(f"the watch of {watcher.target.name}", watcher.alive_at)
        for kind in self._auditor.deaf:
            yield f"the watch of {kind} tells nothing"
        busiest = self.queue.longest_running()
        if busiest is not None and busiest[1] > probes.WORKER_BUSY:
            yield f"a worker has been busy with {busiest[0]} for {busiest[1]:.0f} s"

    def refresh_metrics(self) -> None:
        """Counts the resources by phase."""
        phases = Counter(
            (key.kind, (raw.get("status") or {}).get("phase") or "New") for key, raw in self.store.resources()
        )
        metrics.JOBS.clear()
        for (kind, phase), count in phases.items():
            metrics.JOBS.labels(kind, phase).set(count)
        tenant_controller.refresh_metrics(raw for key, raw in self.store.resources() if key.kind == TENANT_KIND)


def controllers(cluster: Cluster, store: Store, signer: Signer) -> dict[str, AnyController]:
    """Return the controller of every kind that is reconciled, by the kind's name."""
    every: list[AnyController] = [
        JobController(TranscriptionJob, cluster, store),
        JobController(OCRJob, cluster, store),
        PoolController(cluster, store, signer),
        SessionController(store, signer),
        TenantController(store),
    ]
    return {controller.model.definition.kind: controller for controller in every}
