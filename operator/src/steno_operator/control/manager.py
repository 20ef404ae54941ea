"""Manager: the leading replica's caches, sources, queue, controllers and workers, put together and run."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.runtimeprofile import RuntimeProfile
from steno_api.v1alpha1.tenantquota import TenantQuota
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_kube.backoff import Backoff
from steno_kube.client import ApiError, Cluster, UnreachableError
from steno_kube.keys import Key
from steno_kube.reflector import Source, Timing
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.resource_records import BY_KIND, PROFILE_KIND, TENANT_KIND
from steno_operator.control.cache.subscriptions import Subscriptions
from steno_operator.control.kube.event_recorder import EventRecorder
from steno_operator.control.kube.signing import Signer
from steno_operator.control.reconcile import tenant_controller
from steno_operator.control.reconcile.controller import AnyController, resource_type
from steno_operator.control.reconcile.dead_letters import DeadLetters
from steno_operator.control.reconcile.executor import Executor
from steno_operator.control.reconcile.job_attempts import JobAttempts
from steno_operator.control.reconcile.job_controller import AttemptsBy, JobController
from steno_operator.control.reconcile.message_attempts import MessageAttempts
from steno_operator.control.reconcile.pool_actions import PoolActions
from steno_operator.control.reconcile.pool_controller import PoolController
from steno_operator.control.reconcile.queue_clients import QueueClients
from steno_operator.control.reconcile.reconciler import Reconciler
from steno_operator.control.reconcile.session_controller import SessionController
from steno_operator.control.reconcile.tenant_controller import QuotaActions, TenantController
from steno_operator.control.reconcile.work_queue import WorkQueue
from steno_operator.control.reports.token_review import TokenVerifier
from steno_operator.control.watch.kopf_source import KopfSource
from steno_operator.control.watch.resync import ResyncCheck, WatchedKind
from steno_operator.control.watch.sources import reflectors
from steno_operator.plan.common.policy import Policy
from steno_operator.telemetry import metrics, probes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ManagerOptions:
    """Settings of the manager besides the policy. Times in seconds."""

    instance: str
    own_namespace: str
    """Where the operator itself is."""
    session_key: str = "steno-operator-session-key"
    """Secret with the key that signs session tokens; created there when it is missing."""
    namespaces: tuple[str, ...] = ()
    """The namespaces served; empty: all."""
    without_tenant: Literal["allow", "refuse"] = "allow"
    """Whether work in namespaces of no Tenant may start."""
    workers: int = 16
    queue_backoff: Backoff = field(default_factory=Backoff)
    watch_timing: Timing = field(default_factory=Timing)
    resync_interval: float = 60.0
    dead_letters_interval: float = 15.0


class Manager:
    """Everything that runs only while leading."""

    def __init__(
        self,
        cluster: Cluster,
        policy: Policy,
        options: ManagerOptions,
        on_watching: Callable[[], None] = lambda: None,
    ) -> None:
        """Put everything together; nothing runs yet.

        Args:
            cluster: the API server.
            policy: what plans are made with.
            options: everything else.
            on_watching: called once kopf has started; see `KopfSource`.
        """
        self._options = options
        self.queue: WorkQueue[Key] = WorkQueue(
            options.queue_backoff,
            expected=(ApiError, UnreachableError),
            about=Key.log,
            group=lambda key: key.namespace,  # Tenants and other cluster-scoped resources take turns as one more
        )
        self.state = ClusterState(
            policy.progress_interval.total_seconds(),
            tenant_required=options.without_tenant == "refuse",
            served_namespaces=options.namespaces,
        )
        Subscriptions(self.state, self.queue.add)
        self.verifier = TokenVerifier(cluster)
        self.ready = False
        self._signer = Signer(cluster, options.own_namespace, options.session_key, self._keys_changed)
        self._recorder = EventRecorder(cluster, options.instance)
        queues = QueueClients(policy.queue)
        self._dead_letters = DeadLetters(queues, self.state, options.dead_letters_interval)
        jobs, messages = JobAttempts(cluster, self.state), MessageAttempts(queues, self.state)
        pools, quotas = PoolActions(cluster, self.state, self._signer), QuotaActions(cluster, self.state)
        handlers = {**jobs.handlers, **messages.handlers, **pools.handlers, **quotas.handlers}
        executor = Executor(cluster, self.state, handlers)
        served = controllers(cluster, self.state, {"Job": jobs, "Pool": messages})
        self._reconciler = Reconciler(self.state, executor, self._recorder, served, policy)
        watched = watched_kinds(self.state, served.values(), options.namespaces)
        self._sources: list[Source] = [
            KopfSource(cluster, watched, options.namespaces, options.watch_timing.inactivity, on_started=on_watching),
            *reflectors(cluster, self.state, options.namespaces, options.watch_timing),
        ]
        self._resync_check = ResyncCheck(cluster, watched, self._resync, options.resync_interval)

    async def run(self) -> None:
        """Run until cancelled; ends only by an error that cannot be recovered from here."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(source.run(), name=f"watch-{source.name}")
            for source in self._sources:
                await source.synced.wait()
            log.info("all caches are in sync: reconciling")
            self.ready = True
            group.create_task(self._signer.run(), name="signing-key")
            group.create_task(self._resync_check.run(), name="resync-check")
            group.create_task(self._recorder.run(), name="events")
            group.create_task(self._dead_letters.run(), name="dead-letters")
            group.create_task(self.queue.run(self._reconciler.reconcile, self._options.workers), name="queue")

    def _keys_changed(self) -> None:
        self.state.token_keys = self._signer.store
        self._resync()

    def _resync(self) -> None:
        for entry in self.state.resources:
            if not entry.value.finished:
                self.queue.add(entry.value.key)

    # What probes read

    def problems(self) -> Iterable[str]:
        """Yield what keeps reconciling from working."""
        for source in self._sources:
            yield from probes.silent(f"the watch of {source.name}", source.alive_at)
        for kind in self._resync_check.stale_watches:
            yield f"the watch of {kind} is stale"
        busiest = self.queue.longest_running()
        if busiest is not None and busiest[1] > probes.WORKER_BUSY:
            yield f"a worker has been busy with {busiest[0]} for {busiest[1]:.0f} s"

    def refresh_metrics(self) -> None:
        """Count the resources by phase, and the usage of Tenants."""
        resources = [entry.value for entry in self.state.resources]
        phases = Counter((each.key.kind, (each.raw.get("status") or {}).get("phase") or "New") for each in resources)
        metrics.JOBS.clear()
        for (kind, phase), count in phases.items():
            metrics.JOBS.labels(kind, phase).set(count)
        tenant_controller.refresh_metrics(each.raw for each in resources if each.key.kind == TENANT_KIND)


def watched_kinds(state: ClusterState, served: Iterable[AnyController], namespaces: Sequence[str]) -> list[WatchedKind]:
    """Return every kind of custom resource with its cache.

    Args:
        state: has the caches.
        served: the controllers of all kinds that are reconciled.
        namespaces: the namespaces served; empty: all.
    """
    everywhere: tuple[str | None, ...] = (None,)
    found = [
        WatchedKind(
            PROFILE_KIND,
            resource_type(RuntimeProfile.definition),
            everywhere,
            state.profiles,
            lambda: [entry.value for entry in state.profiles],
        ),
        WatchedKind(
            TenantQuota.definition.kind,
            resource_type(TenantQuota.definition),
            everywhere,
            state.quotas,
            lambda: [{"metadata": entry.value.quota.metadata.to_wire()} for entry in state.quotas],
        ),
    ]
    for controller in served:
        definition = controller.model.definition
        found.append(
            WatchedKind(
                definition.kind,
                resource_type(definition),
                everywhere if definition.scope == "Cluster" else tuple(namespaces) or everywhere,
                state.resources,
                lambda kind=definition.kind: [entry.value.raw for entry in state.resources.by_index(BY_KIND, kind)],
            )
        )
    return found


def controllers(cluster: Cluster, state: ClusterState, attempts: AttemptsBy) -> dict[str, AnyController]:
    """Return the controller of every kind that is reconciled, by the kind's name.

    Args:
        cluster: the API server.
        state: what snapshots are made from.
        attempts: what starts, observes and stops the attempts of jobs, by what carries them out.
    """
    every: list[AnyController] = [
        JobController(TranscriptionJob, state, attempts),
        JobController(OCRJob, state, attempts),
        PoolController(cluster, state),
        SessionController(state),
        TenantController(state),
    ]
    return {controller.model.definition.kind: controller for controller in every}
