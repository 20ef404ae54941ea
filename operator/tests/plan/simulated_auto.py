"""A small model of a job with `execution: Auto`: a pool's queue and the cluster at once, of which it uses one.

The moves are those of `simulated_queue` and, on its child Jobs, of `simulated_cluster`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from steno_api.failures import FailureReason
from steno_api.usage import Work
from steno_api.v1alpha1.meta import Condition, ConditionStatus
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.worker.termination import Failed, TerminationMessage
from steno_operator.plan.common.plan import Action, Plan, SetDeadline, StartAttempt, StopAttempt, SuspendAttempt
from steno_operator.plan.job.observed import ObservedJob, PoolLoad, carrier_of_job

from . import simulated_cluster, simulated_queue
from .builders import T0, make_job
from .simulated_cluster import SimulatedCluster
from .simulated_queue import OWNER, SimulatedQueue, make_pool

_ON_CHILDREN = (StartAttempt, StopAttempt, SuspendAttempt, SetDeadline)


def condition(kind: str, reason: str, *, holds: bool = True) -> Condition:
    status = ConditionStatus.TRUE if holds else ConditionStatus.FALSE
    return Condition(type=kind, status=status, reason=reason, message="", last_transition_time=T0)


def make_warm_pool(name: str = "fast", *, ready: int = 1, **spec: object) -> RuntimePool:
    """Return a pool that has `ready` warm servers."""
    pool = make_pool(name, **spec)
    status = pool.status.model_copy(
        update={"ready_replicas": ready, "conditions": [condition("Ready", "Serving" if ready else "Idle")]}
    )
    return pool.model_copy(update={"status": status})


@dataclass
class SimulatedAuto(SimulatedQueue):
    """The job, its pool, and the cluster for its child Jobs."""

    pool: RuntimePool | None = field(default_factory=make_warm_pool)
    cluster: SimulatedCluster = field(default_factory=lambda: SimulatedCluster(make_job()))

    @property
    def mode(self) -> str | None:
        carrier = carrier_of_job(self.job)
        return None if carrier is None else carrier.mode

    def copy(self) -> SimulatedAuto:
        again = super().copy()
        assert isinstance(again, SimulatedAuto)
        again.cluster = self.cluster.copy()
        return again

    def children(self) -> SimulatedCluster:
        """Return the cluster as of now."""
        self.cluster.job, self.cluster.now, self.cluster.admission = self.job, self.now, self.admission
        return self.cluster

    def observed(self, refusal: str = "") -> ObservedJob:
        if self.mode == "Pool":
            return super().observed(refusal)
        if self.mode == "Job":
            return replace(self.children().observed(), work=self.reports.work(OWNER), refusal=refusal)
        return ObservedJob(self.job, None, pools=() if self.pool is None else (PoolLoad(self.pool, 0),))

    def act(self, action: Action) -> bool:
        if not isinstance(action, _ON_CHILDREN):
            return super().act(action)
        assert self.mode == "Job", "the choice is written before anything is started"
        if isinstance(action, StartAttempt):
            assert action.attempt not in self.published, "no number is used twice"
        self.children().act(action)
        return True

    def wanted(self, attempt: int) -> bool | None:
        return super().wanted(attempt) if self.mode == "Pool" else False

    def reconcile(self) -> Plan:
        plan = super().reconcile()
        live = self.children().live()
        assert len(live) <= 1
        assert not live or not any(self.wanted(attempt) for attempt in self.queue), "never two that may work"
        return plan

    def settle(self) -> Plan:
        """Reconcile until no plan is due at once."""
        plan = self.reconcile()
        for _ in range(5):
            if plan.requeue_after is None or plan.requeue_after.total_seconds() > 0:
                return plan
            plan = self.reconcile()
        raise AssertionError("plans again and again")


Move = Callable[[SimulatedAuto, int], None]


def hand_back(pool: SimulatedAuto, number: int) -> None:
    """A server finds the source too long."""
    failed = Failed(reason=FailureReason.TOO_LONG_FOR_POOL, message="The audio is longer than a pool takes.")
    pool.end(TerminationMessage(result=failed, used=Work()))


def _on_children(move: simulated_cluster.Move) -> Move:
    return lambda pool, number: move(pool.children(), number)


def _on_queue(move: simulated_queue.Move) -> Move:
    return lambda pool, number: move(pool, number) if pool.mode == "Pool" else None


_CHILD_MOVES = (
    simulated_cluster.start_worker,
    simulated_cluster.end_worker,
    simulated_cluster.end_worker,
    simulated_cluster.settle,
    simulated_cluster.kill_by_memory,
    simulated_cluster.preempt,
    simulated_cluster.drop_pods,
    simulated_cluster.delete_child,
    simulated_cluster.collect,
    simulated_cluster.toggle_profile,
)
_QUEUE_MOVES = (
    simulated_queue.work,
    simulated_queue.work,
    simulated_queue.report,
    simulated_queue.succeed,
    simulated_queue.fail,
    simulated_queue.give_back,
    simulated_queue.lose_worker,
    simulated_queue.lose_messages,
    simulated_queue.bury,
    simulated_queue.restart,
    simulated_queue.toggle_queue,
)


def change_pool(pool: SimulatedAuto, number: int) -> None:
    pool.pool = (make_warm_pool(), None, make_warm_pool(ready=0), make_pool(workloads=["Streams"], queue=None))[
        number % 4
    ]


MOVES: list[Move] = [
    *map(_on_children, _CHILD_MOVES),
    *map(_on_queue, _QUEUE_MOVES),
    *[hand_back] * 4,
    *[simulated_queue.wait] * 4,
    simulated_queue.crash,
    simulated_queue.crash,
    simulated_queue.tick,
    simulated_queue.toggle_suspend,
    simulated_queue.answer,
    change_pool,
]


def to_the_end(pool: SimulatedAuto) -> None:
    """Nothing goes wrong any more: go on until the job has ended."""
    spec = pool.job.spec.model_copy(update={"suspend": False})
    pool.job = pool.job.model_copy(update={"spec": spec})
    pool.pool, pool.refused, pool.cluster.has_profile = make_warm_pool(), False, True
    simulated_queue.answer(pool, 0)
    for _ in range(200):
        if pool.finished:
            return
        plan = pool.settle()
        if pool.mode == "Pool":
            simulated_queue.work(pool, 0)
            simulated_queue.succeed(pool, 0)
        else:
            children = pool.children()
            simulated_cluster.end_worker(children, 0)
            simulated_cluster.collect(children, 0)
        if plan.requeue_after is not None:
            pool.now += plan.requeue_after.total_seconds()
    raise AssertionError(f"does not end: {pool.status}")
