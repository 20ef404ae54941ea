"""A small model of the cluster: what Kubernetes does to child Jobs and pods, as far as the planner can see it.

The operator's half (`act`, `reconcile`, `crash`) carries plans out; the cluster's half is a set of moves, each of which
does nothing where it does not apply, so that any list of moves is a history.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from steno_api.failures import EXIT_CODES, FailureReason
from steno_api.usage import Work
from steno_api.v1alpha1.job import JobStatus, Progress, Stage
from steno_operator.plan.common.admission import NOT_REQUIRED, Admission
from steno_operator.plan.common.conditions import is_finished
from steno_operator.plan.common.plan import (
    Action,
    DeleteResource,
    EmitEvent,
    Plan,
    SetDeadline,
    StartAttempt,
    StopAttempt,
    SuspendAttempt,
)
from steno_operator.plan.common.pods import ObservedPod, ended
from steno_operator.plan.job.child_job import is_live
from steno_operator.plan.job.observed import Deadline, Job, ObservedChild, ObservedJob
from steno_operator.plan.job.planner import plan_job

from .builders import POLICY, PROFILE, SUCCESSES, T0, failure_message

PUBLISHED = "published"
"""Placeholder for the termination message of the kind's worker that published."""

FATES: list[tuple[int, str]] = [
    *[(0, PUBLISHED)] * 4,
    *[(75, failure_message(FailureReason.SOURCE_UNAVAILABLE)), (71, failure_message(FailureReason.OUT_OF_MEMORY))] * 8,
    (137, PUBLISHED),
    (0, "{"),
    *(
        (EXIT_CODES[reason.failure_class], failure_message(reason, used=Work(audio_millis=1000, pages=2)))
        for reason in FailureReason
    ),
    (143, ""),
    (137, '{"used": {"audioMillis": 500}}'),
    (137, ""),
    (64, ""),
    (70, "Traceback"),
]
"""Exit codes and termination messages of workers."""


@dataclass
class SimulatedCluster:
    """The job, its children, and the time."""

    job: Job
    now: float = 0
    has_profile: bool = True
    conflicting: bool = False
    admission: Admission = NOT_REQUIRED
    deadline_limit: Deadline | None = None
    gone: bool = False
    jobs: dict[str, ObservedChild] = field(default_factory=dict)
    progress: Progress | None = None
    serial: int = 0

    def copy(self) -> SimulatedCluster:
        return replace(self, jobs=dict(self.jobs))

    # The operator's half

    @property
    def status(self) -> JobStatus:
        return self.job.status

    @property
    def finished(self) -> bool:
        return is_finished(self.status.conditions)

    def live(self) -> list[ObservedChild]:
        return [child for child in self.jobs.values() if is_live(child, self.time)]

    @property
    def time(self):
        return T0 + timedelta(seconds=self.now)

    def observed(self) -> ObservedJob:
        children = tuple(sorted(self.jobs.values(), key=lambda child: child.attempt))
        taken = frozenset(f"{self.job.metadata.name}-{n}" for n in range(1, 30)) if self.conflicting else frozenset()
        return ObservedJob(
            self.job,
            PROFILE if self.has_profile else None,
            children,
            conflicting=taken - set(self.jobs),
            progress=self.progress,
            admission=self.admission,
            deadline_limit=self.deadline_limit,
        )

    def plan(self) -> Plan:
        return plan_job(self.observed(), self.time, POLICY)

    def act(self, action: Action) -> None:
        match action:
            case StartAttempt(attempt, manifest):
                name = manifest["metadata"]["name"]
                self.serial += 1
                assert name not in self.jobs, "an attempt is started once"
                self.jobs[name] = ObservedChild(
                    name,
                    f"job-{self.serial}",
                    attempt,
                    created=self.time,
                    deadline=manifest["spec"].get("activeDeadlineSeconds"),
                )
                self.progress = None
            case StopAttempt(name, uid):
                if name in self.jobs and self.jobs[name].uid == uid:
                    self.jobs[name] = replace(self.jobs[name], deleting=True)
            case SuspendAttempt(name, uid, suspend):
                if name in self.jobs and self.jobs[name].uid == uid:
                    self.jobs[name] = replace(self.jobs[name], suspended=suspend, held=False)
            case SetDeadline(name, uid, seconds):
                if name in self.jobs and self.jobs[name].uid == uid:
                    self.jobs[name] = replace(self.jobs[name], deadline=seconds)
            case DeleteResource():
                self.gone = True
                self.jobs = {}
            case EmitEvent():
                pass

    def write(self, plan: Plan) -> None:
        status = type(self.job.status).model_validate_json(plan.status.to_json())
        self.job = self.job.model_copy(update={"status": status})

    def reconcile(self) -> Plan:
        plan = self.plan()
        for action in plan.actions:
            self.act(action)
            assert len(self.live()) <= 1, "never two children that may work"
        self.write(plan)
        return plan

    def crash(self, after: int) -> None:
        """The operator dies after some actions of its plan, before the status is written."""
        for action in self.plan().actions[:after]:
            self.act(action)

    # The cluster's half

    def change(self, name: str, *pods: ObservedPod, **fields: object) -> None:
        self.jobs[name] = replace(self.jobs[name], **({"pods": pods} if pods else {}), **fields)

    def worker(self) -> tuple[str, ObservedPod] | None:
        """Return the pod that is running or about to run."""
        for name, child in self.jobs.items():
            for pod in child.pods:
                if not ended(pod):
                    return name, pod
        return None

    def replace_worker(self, **fields: object) -> None:
        worker = self.worker()
        if worker is not None:
            name, old = worker
            pods = tuple(replace(pod, **fields) if pod is old else pod for pod in self.jobs[name].pods)
            self.jobs[name] = replace(self.jobs[name], pods=pods)


Move = Callable[[SimulatedCluster, int], None]
"""One thing that happens; the number chooses among its forms."""


def tick(cluster: SimulatedCluster, number: int) -> None:
    cluster.now += (1, 5, 10, 60, 600, 5000)[number % 6]


def make_pod(cluster: SimulatedCluster, number: int) -> None:
    for name, child in cluster.jobs.items():
        if child.done or child.deleting or child.suspended or any(not ended(pod) for pod in child.pods):
            continue
        if any(pod.disruption is None for pod in child.pods):
            continue
        cluster.serial += 1
        pod = ObservedPod(f"{name}-{cluster.serial}", f"pod-{cluster.serial}", child.uid, created=cluster.time)
        cluster.change(name, *child.pods, pod)


def hang_pod(cluster: SimulatedCluster, number: int) -> None:
    hang = number % 4
    if hang == 0:
        cluster.replace_worker(unschedulable="0/1 nodes are available")
    elif hang == 1:
        cluster.replace_worker(
            node="n", waiting_reason=("ErrImagePull", "ImagePullBackOff")[number % 2], waiting_message="no such host"
        )
    elif hang == 2:
        cluster.replace_worker(deleting=True, gone_by=cluster.time)
    else:
        cluster.replace_worker(unreachable_since=cluster.time)


def start_pod(cluster: SimulatedCluster, number: int) -> None:
    cluster.replace_worker(phase="Running", node="n", started=True, waiting_reason=None, unschedulable=None)


def report(cluster: SimulatedCluster, number: int) -> None:
    stage = list(Stage)[number % len(Stage)]
    cluster.progress = Progress(stage=stage, percent=number % 101, eta_seconds=number / 7)


def forget_reports(cluster: SimulatedCluster, number: int) -> None:
    cluster.progress = None


def end_pod(cluster: SimulatedCluster, number: int) -> None:
    worker = cluster.worker()
    if worker is None or not worker[1].started:
        return
    code, message = FATES[number % len(FATES)]
    message = SUCCESSES[cluster.job.kind] if message == PUBLISHED else message
    phase = "Failed" if code else "Succeeded"
    cluster.replace_worker(phase=phase, exit_code=code, termination_message=message, finished=cluster.time)


def outlast_worker(cluster: SimulatedCluster, number: int) -> None:
    """The worker ends, and a sidecar of its pod does not."""
    end_pod(cluster, number)
    for name, child in cluster.jobs.items():
        if child.pods and not child.done and ended(child.pods[-1]) and child.pods[-1].disruption is None:
            cluster.change(name, *child.pods[:-1], replace(child.pods[-1], phase="Running"))
            return


def kill_by_memory(cluster: SimulatedCluster, number: int) -> None:
    worker = cluster.worker()
    if worker is not None and worker[1].started:
        cluster.replace_worker(phase="Failed", exit_code=137, oom_killed=True, finished=cluster.time)


def preempt(cluster: SimulatedCluster, number: int) -> None:
    reason = ("PreemptionByScheduler", "TerminationByKubelet")[number % 2]
    cluster.replace_worker(disruption=reason, phase="Failed", exit_code=143, finished=cluster.time)


def drop_pods(cluster: SimulatedCluster, number: int) -> None:
    """Pods vanish, as by a force deletion; Kubernetes counts one that did not end as failed."""
    for name, child in cluster.jobs.items():
        if child.pods:
            failed = not child.done and any(pod.works for pod in child.pods)
            gone = (
                {"failed": True, "failure_reason": "BackoffLimitExceeded", "finished": cluster.time} if failed else {}
            )
            cluster.jobs[name] = replace(child, pods=(), **gone)
            return


def settle(cluster: SimulatedCluster, number: int) -> None:
    """The Job controller draws its conclusions."""
    for name, child in cluster.jobs.items():
        if child.done or child.deleting:
            continue
        if child.suspended:
            cluster.jobs[name] = replace(child, pods=tuple(pod for pod in child.pods if ended(pod)))
        elif any(pod.works for pod in child.pods):
            continue
        elif any(pod.exit_code == 0 for pod in child.pods):
            cluster.jobs[name] = replace(child, succeeded=True, finished=cluster.time)
        elif any(ended(pod) and pod.disruption is None for pod in child.pods):
            cluster.jobs[name] = replace(
                child, failed=True, failure_reason="BackoffLimitExceeded", finished=cluster.time
            )


def collect(cluster: SimulatedCluster, number: int) -> None:
    """The garbage collector removes what is being deleted."""
    cluster.jobs = {name: child for name, child in cluster.jobs.items() if not child.deleting}


def delete_child(cluster: SimulatedCluster, number: int) -> None:
    """A user deletes a child, in the foreground or by force."""
    if cluster.jobs:
        name = sorted(cluster.jobs)[number % len(cluster.jobs)]
        if number % 2:
            del cluster.jobs[name]
        else:
            cluster.jobs[name] = replace(cluster.jobs[name], deleting=True)


def edit(cluster: SimulatedCluster, number: int) -> None:
    changes: list[dict[str, object]] = [
        {"suspend": not cluster.job.spec.suspend},
        {"suspend": not cluster.job.spec.suspend},
        {"backoff_limit": number % 4},
        {"active_deadline_seconds": (None, 30, 1000)[number % 3]},
        {"ttl_seconds_after_finished": (None, 0, 700)[number % 3]},
        {"ttl_policy": ("DeleteChildren", "DeleteResource")[number % 2]},
    ]
    spec = cluster.job.spec.model_copy(update=changes[number % len(changes)])
    generation = cluster.job.metadata.generation + 1
    metadata = cluster.job.metadata.model_copy(update={"generation": generation})
    cluster.job = cluster.job.model_copy(update={"spec": spec, "metadata": metadata})


def toggle_profile(cluster: SimulatedCluster, number: int) -> None:
    cluster.has_profile = not cluster.has_profile


ANSWERS = (
    NOT_REQUIRED,
    NOT_REQUIRED,
    Admission("Admitted", tenant="acme"),
    Admission("Waiting", "GPUsExhausted", "All are in use.", 12, "acme"),
    Admission("Waiting", "GPUsExhausted", "All are in use.", 3, "acme"),
    Admission("Refused", "NoTenant", "No Tenant has it."),
)


def answer(cluster: SimulatedCluster, number: int) -> None:
    """The Tenant says something else."""
    cluster.admission = ANSWERS[number % len(ANSWERS)]
    cluster.deadline_limit = Deadline((30, 1000)[number % 2], "acme") if number % 5 == 0 else None


def hold_child(cluster: SimulatedCluster, number: int) -> None:
    """Another controller suspends a child, or resumes one that it suspended."""
    for name, child in cluster.jobs.items():
        if not child.done and not child.deleting and child.suspended == child.held:
            cluster.change(name, suspended=not child.held, held=not child.held)
            return


def release_children(cluster: SimulatedCluster) -> None:
    """Other controllers hold nothing any more."""
    cluster.jobs = {
        name: replace(child, suspended=False, held=False) if child.held else child
        for name, child in cluster.jobs.items()
    }


def toggle_conflict(cluster: SimulatedCluster, number: int) -> None:
    cluster.conflicting = not cluster.conflicting


def crash(cluster: SimulatedCluster, number: int) -> None:
    cluster.crash(number % 4)


def start_worker(cluster: SimulatedCluster, number: int) -> None:
    make_pod(cluster, number)
    start_pod(cluster, number)


def end_worker(cluster: SimulatedCluster, number: int) -> None:
    start_worker(cluster, number)
    end_pod(cluster, number)
    settle(cluster, number)


def wait(cluster: SimulatedCluster, number: int) -> None:
    """Time passes until the plan wants to look again."""
    again = cluster.plan().requeue_after
    cluster.now += again.total_seconds() if again is not None else 1


CALM: list[Move] = [make_pod, start_pod, settle]
"""What the cluster does by itself when nothing goes wrong."""

COMMON: list[Move] = [*CALM, start_worker, end_worker, end_worker, wait, wait, wait]
RARE: list[Move] = [
    tick,
    report,
    forget_reports,
    hang_pod,
    end_pod,
    outlast_worker,
    kill_by_memory,
    preempt,
    drop_pods,
    collect,
    delete_child,
    edit,
    toggle_profile,
    toggle_conflict,
    hold_child,
    answer,
    crash,
]
MOVES: list[Move] = [*COMMON, *COMMON, *RARE]
