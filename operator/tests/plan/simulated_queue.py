"""A small model of a pool's queue and its workers: what happens to messages, as far as the planner can see it.

As in `simulated_cluster`, each move does nothing where it does not apply, so that any list of moves is a history.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from steno_api.failures import FailureReason
from steno_api.usage import Work
from steno_api.v1alpha1.job import Progress, Stage
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.worker.termination import Failed, TerminationMessage
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.attempt_reports import AttemptReports, Server
from steno_operator.plan.common.admission import NOT_REQUIRED, Admission
from steno_operator.plan.common.conditions import is_finished
from steno_operator.plan.common.plan import Action, DeleteResource, EmitEvent, Plan, PublishAttempt
from steno_operator.plan.common.policy import QueuePolicy
from steno_operator.plan.job.message import is_over
from steno_operator.plan.job.observed import Deadline, Job, ObservedJob
from steno_operator.plan.job.planner import plan_job
from steno_queue.settings import QueueSettings

from .builders import OCR_RESULT, POLICY, RESULT, T0

OWNER = OwnerKey("team-a", "uid-1")
QUEUE = QueuePolicy(QueueSettings(kind="RedisStreams", url="redis://127.0.0.1:6379/0"))
IN_QUEUE = replace(POLICY, queue=QUEUE)
SILENCE = 180.0
"""Seconds: three times the visibility timeout."""
SERVERS = (Server("pod-1", "fast-pool-1", "node-1"), Server("pod-2", "fast-pool-2", "node-2"))
REASONS = (FailureReason.SOURCE_UNAVAILABLE, FailureReason.OUT_OF_MEMORY, FailureReason.UNSUPPORTED_MEDIA)


def make_pool(name: str = "fast", **spec: Any) -> RuntimePool:
    spec = {"workloads": ["Queue"], "queue": {"secretRefs": [{"name": "s3"}]}, **spec}
    return RuntimePool.from_wire({"metadata": {"name": name, "namespace": "team-a", "uid": "pool-1"}, "spec": spec})


@dataclass
class SimulatedQueue:
    """The job, its pool, the queue, and what this process of the operator knows."""

    job: Job
    pool: RuntimePool | None = field(default_factory=make_pool)
    now: float = 0
    admission: Admission = NOT_REQUIRED
    deadline_limit: Deadline | None = None
    refused: bool = False
    gone: bool = False
    queue: set[int] = field(default_factory=set[int])
    """Attempts whose messages are in the queue, or are worked on."""
    taken: dict[int, Server] = field(default_factory=dict[int, Server])
    published: list[int] = field(default_factory=list[int])
    reports: AttemptReports = field(default_factory=AttemptReports)
    progress: Progress | None = None
    works: int = 0

    @property
    def time(self) -> datetime:
        return T0 + timedelta(seconds=self.now)

    @property
    def status(self) -> Any:
        return self.job.status

    @property
    def finished(self) -> bool:
        return is_finished(self.status.conditions)

    def copy(self) -> SimulatedQueue:
        again = replace(self, queue=set(self.queue), taken=dict(self.taken), published=list(self.published))
        again.reports = AttemptReports()
        again.reports._known.update(self.reports._known)
        return again

    def observed(self, refusal: str = "") -> ObservedJob:
        if self.status.attempt and not self.finished:
            self.reports.resume(OWNER, self.status.attempt, self.time, None)
        return ObservedJob(
            self.job,
            None,
            pool=self.pool,
            message=self.reports.get(OWNER),
            progress=self.progress,
            admission=self.admission,
            deadline_limit=self.deadline_limit,
            work=self.reports.work(OWNER),
            refusal=refusal,
        )

    def plan(self, refusal: str = "") -> Plan:
        return plan_job(self.observed(refusal), self.time, IN_QUEUE)

    def act(self, action: Action) -> bool:
        """Carry an action out; return whether it was not refused."""
        match action:
            case PublishAttempt(_, attempt, message):
                assert message.id == f"uid-1/{attempt}"
                assert not is_over(self.job.to_wire(), attempt), "what is over is not begun again"
                assert attempt in (self.status.attempt, self.status.attempt + 1)
                if self.refused:
                    return False
                self.published.append(attempt)
                self.queue.add(attempt)
                self.reports.expect(OWNER, attempt, self.time)
            case DeleteResource():
                self.gone = True
            case EmitEvent():
                pass
            case _:
                raise AssertionError(action)
        return True

    def reconcile(self) -> Plan:
        plan = self.plan()
        if not all(self.act(action) for action in plan.actions):
            plan = self.plan(refusal="The queue is away.")
        status = type(self.job.status).model_validate_json(plan.status.to_json())
        self.job = self.job.model_copy(update={"status": status})
        return plan

    def crash(self, after: int) -> None:
        """The operator dies after some actions, before the status is written; the next process knows nothing."""
        for action in self.plan().actions[:after]:
            self.act(action)
        self.reports, self.progress = AttemptReports(), None

    # Workers

    def wanted(self, attempt: int) -> bool | None:
        """Ask as a worker does; None: the operator cannot say yet."""
        if attempt > self.status.attempt + 1:
            return False
        if is_over(self.job.to_wire(), attempt):
            return False
        return None if attempt > self.status.attempt else True

    def take(self, number: int) -> int | None:
        """A worker takes a message, and asks; return the attempt that it works on."""
        for attempt in sorted(self.queue - self.taken.keys()):
            answer = self.wanted(attempt)
            server = SERVERS[number % len(SERVERS)]
            if answer is False:
                self.queue.discard(attempt)
                continue
            self.works += 1
            self.reports.update(OWNER, attempt, server, f"process-{self.works:04}", self.time)
            if answer:
                self.taken[attempt] = server
                return attempt
        return next(iter(self.taken), None)

    def end(self, ended: TerminationMessage) -> None:
        for attempt in list(self.taken):
            self.reports.end(OWNER, attempt, f"process-{self.works:04}", ended, self.time)
            del self.taken[attempt]
            if ended.result is None and self.wanted(attempt):
                continue  # given back
            self.queue.discard(attempt)


Move = Callable[[SimulatedQueue, int], None]


def work(pool: SimulatedQueue, number: int) -> None:
    pool.take(number)


def report(pool: SimulatedQueue, number: int) -> None:
    if pool.taken:
        pool.progress = Progress(stage=Stage.DECODING, percent=number % 101)
        attempt, server = next(iter(pool.taken.items()))
        pool.reports.update(OWNER, attempt, server, f"process-{pool.works:04}", pool.time)


def succeed(pool: SimulatedQueue, number: int) -> None:
    result = OCR_RESULT if pool.job.kind == "OCRJob" else RESULT
    pool.end(TerminationMessage(result=result, used=Work(audio_millis=10, pages=1)))


def fail(pool: SimulatedQueue, number: int) -> None:
    failed = Failed(reason=REASONS[number % len(REASONS)], message="It broke.")
    pool.end(TerminationMessage(result=failed, used=Work(audio_millis=5)))


def give_back(pool: SimulatedQueue, number: int) -> None:
    pool.end(TerminationMessage(used=Work(audio_millis=2)))


def lose_worker(pool: SimulatedQueue, number: int) -> None:
    server = SERVERS[number % len(SERVERS)]
    pool.reports.disconnect(server.uid)
    pool.taken = {attempt: by for attempt, by in pool.taken.items() if by != server}


def lose_messages(pool: SimulatedQueue, number: int) -> None:
    """The queue server is emptied."""
    pool.queue.clear()
    pool.taken.clear()


def bury(pool: SimulatedQueue, number: int) -> None:
    """A message becomes a dead letter, and the operator reads it."""
    for attempt in sorted(pool.queue - pool.taken.keys()):
        pool.queue.discard(attempt)
        if not is_over(pool.job.to_wire(), attempt):
            reason = (FailureReason.KILLED, FailureReason.START_FAILED)[number % 2]
            failed = Failed(reason=reason, message="None finished it.")
            pool.reports.bury(OWNER, attempt, failed, pool.time, refused=bool(number % 2))
        return


def restart(pool: SimulatedQueue, number: int) -> None:
    pool.reports, pool.progress = AttemptReports(), None


def crash(pool: SimulatedQueue, number: int) -> None:
    pool.crash(number % 3)


def tick(pool: SimulatedQueue, number: int) -> None:
    pool.now += (1, 10, 60, 600)[number % 4]


def wait(pool: SimulatedQueue, number: int) -> None:
    again = pool.plan().requeue_after
    pool.now += again.total_seconds() if again is not None else 1


def toggle_suspend(pool: SimulatedQueue, number: int) -> None:
    spec = pool.job.spec.model_copy(update={"suspend": not pool.job.spec.suspend})
    metadata = pool.job.metadata.model_copy(update={"generation": pool.job.metadata.generation + 1})
    pool.job = pool.job.model_copy(update={"spec": spec, "metadata": metadata})


def change_pool(pool: SimulatedQueue, number: int) -> None:
    pool.pool = (make_pool(), None, make_pool(workloads=["Streams"], queue=None), make_pool())[number % 4]


def toggle_queue(pool: SimulatedQueue, number: int) -> None:
    pool.refused = not pool.refused


def answer(pool: SimulatedQueue, number: int) -> None:
    waits = Admission("Waiting", "ConcurrentJobsExhausted", "All are in use.", 3, "acme")
    pool.admission = (NOT_REQUIRED, Admission("Admitted", tenant="acme"), waits)[number % 3]
    pool.deadline_limit = Deadline(1000, "acme") if number > 20 else None


MOVES: list[Move] = [
    *[work, work, wait, wait, report, succeed, fail] * 2,
    give_back,
    lose_worker,
    lose_messages,
    bury,
    restart,
    crash,
    crash,
    tick,
    toggle_suspend,
    change_pool,
    toggle_queue,
    answer,
]
