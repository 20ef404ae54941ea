"""Pools that take jobs from a queue: how many servers they have for them, and what keeps one from its work."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from steno_operator.manifests.deployment import digest_of
from steno_operator.plan.common.admission import ADMISSION_POLICIES, Demand
from steno_operator.plan.common.plan import ApplyChild
from steno_operator.plan.pool.observed import ObservedDeployment, ObservedPool
from steno_operator.plan.pool.planner import plan_pool

from .builders import POLICY, PROFILE, after, make_job
from .simulated_queue import IN_QUEUE, QUEUE, make_pool


def planned(jobs: int, sessions: int = 0, replicas: int = 0, *, policy=IN_QUEUE, at: float = 0, status=None, **spec):
    pool = make_pool(**{"maxReplicas": 5, "sessionsPerReplica": 4, "workloads": ["Streams", "Queue"], **spec})
    if status is not None:
        pool = pool.model_copy(update={"status": status})
    deployment = ObservedDeployment(digest="", replicas=replicas, total=replicas)
    observed = ObservedPool(pool, PROFILE, deployment, sessions=sessions, jobs=jobs, token_keys=("key",))
    return plan_pool(observed, after(at), policy)


def replicas_of(plan) -> int:
    [manifest] = [
        each.manifest for each in plan.actions if isinstance(each, ApplyChild) and each.manifest["kind"] == "Deployment"
    ]
    return manifest["spec"]["replicas"]


@pytest.mark.parametrize(
    ("jobs", "sessions", "servers"), [(0, 0, 0), (1, 0, 1), (2, 0, 1), (3, 0, 2), (99, 0, 5), (3, 9, 3), (5, 1, 3)]
)
def test_a_server_makes_two_attempts_at_a_time_beside_its_sessions(jobs, sessions, servers):
    plan = planned(jobs, sessions)
    assert replicas_of(plan) == servers
    assert (plan.status.queued_jobs, plan.status.sessions) == (jobs, sessions)


def test_servers_stay_while_a_job_is_queued_and_a_while_longer():
    assert replicas_of(planned(1, replicas=3)) == 3
    idle = planned(0, replicas=3)
    assert (replicas_of(idle), idle.status.idle_since) == (3, after(0))
    assert idle.requeue_after == timedelta(seconds=300)
    assert replicas_of(planned(0, replicas=3, at=300, status=idle.status)) == 0


def test_a_pool_without_the_workload_does_not_grow_for_jobs():
    assert replicas_of(planned(9, workloads=["Streams"], queue=None)) == 0


def test_without_a_queue_server_the_pool_says_so_and_is_left_as_it_is():
    plan = planned(1, policy=POLICY)
    assert [each for each in plan.actions if isinstance(each, ApplyChild)] == []
    accepted = next(item for item in plan.status.conditions if item.type == "Accepted")
    assert (accepted.status, accepted.reason) == ("False", "QueueNotConfigured")
    assert replicas_of(planned(0, policy=POLICY, workloads=["Streams"], queue=None, minReplicas=1)) == 1


def test_the_queue_is_part_of_what_servers_are_made_from():
    settings = QUEUE.settings.model_copy(update={"url": "redis://127.0.0.2:6379/0"})
    moved = replace(IN_QUEUE, queue=replace(QUEUE, settings=settings))
    one, other = (
        digest_of(next(each.manifest for each in planned(1, policy=policy).actions if isinstance(each, ApplyChild)
                       and each.manifest["kind"] == "Deployment"))
        for policy in (IN_QUEUE, moved)
    )  # fmt: skip
    assert one != other


def test_a_job_in_a_pool_counts_as_a_job_and_the_accelerators_are_the_pools():
    policy = ADMISSION_POLICIES["TranscriptionJob"]
    in_pool = make_job(execution="Pool").to_wire()["spec"]
    assert policy.demand(None, policy.max_pods(in_pool, {})) == Demand(jobs=1)
    own = make_job().to_wire()["spec"]
    assert policy.demand(2, policy.max_pods(own, {})) == Demand(gpus=2, jobs=1)
    assert policy.demand(None, policy.max_pods(own, {})) is None
    pools = ADMISSION_POLICIES["RuntimePool"]
    assert pools.is_active({}, {"queuedJobs": 1})
    assert not pools.is_active({}, {"queuedJobs": 0})
