"""Jobs with `execution: Auto`: what is chosen and why, what a pool hands back, and what holds for every history."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steno_api.v1alpha1.job import ExecutionChoice
from steno_operator.plan.common.admission import ADMISSION_POLICIES, Demand
from steno_operator.plan.common.plan import PublishAttempt, StartAttempt
from steno_operator.plan.job.choice import choose
from steno_operator.plan.job.observed import ObservedJob, PoolLoad

from .builders import POLICY, actions_of, event_reasons, make_job, make_ocr_job
from .simulated_auto import MOVES, SimulatedAuto, condition, hand_back, make_warm_pool, to_the_end
from .simulated_cluster import end_worker
from .simulated_queue import IN_QUEUE, crash, make_pool, restart, toggle_suspend, work

many = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def auto(make=make_job, **spec) -> SimulatedAuto:
    return SimulatedAuto(make(execution="Auto", **spec))


def chosen(job, *pools, policy=IN_QUEUE) -> ExecutionChoice:
    loads = [each if isinstance(each, PoolLoad) else PoolLoad(each, 0) for each in pools]
    return choose(ObservedJob(job, None, pools=tuple(loads)), policy)


def not_ready(reason: str, name: str = "fast"):
    pool = make_warm_pool(name, ready=0)
    status = pool.status.model_copy(update={"conditions": [condition("Ready", reason, holds=False)]})
    return pool.model_copy(update={"status": status})


S3 = {"source": {"uri": "s3://in/a.wav", "secretRef": {"name": "other"}}}
SHORT = "PoolChosen"


@pytest.mark.parametrize(
    ("job", "pool", "why", "said"),
    [
        (make_job(), make_warm_pool(), SHORT, 'RuntimePool "fast"'),
        (make_job(), make_warm_pool(ready=0), SHORT, 'RuntimePool "fast"'),  # it has no server, and makes one
        (make_job(), not_ready("LoadingModel"), SHORT, 'RuntimePool "fast"'),
        (make_job(), make_warm_pool(ready=0, replicas=0), "NoPool", "can make the attempts now"),
        (make_job(), not_ready("ImagePullBackOff"), "NoPool", "can make the attempts now"),
        (make_job(), make_pool(), "NoPool", "can make the attempts now"),  # nothing is known of it yet
        (make_job(), make_warm_pool(workloads=["Streams"], queue=None), "NoPool", "add Queue to its spec.workloads"),
        (make_job(model={"name": "base"}), make_warm_pool(), "NoPool", "serves the model large-v3"),
        (make_job(**S3), make_warm_pool(), "NoPool", 'The Secret "other" is not listed'),
        (make_job(poolRef={"name": "slow"}), make_warm_pool(), "NoPool", 'RuntimePool "slow" is not there.'),
        (make_job(model={"name": "base"}, poolRef={"name": "fast"}), make_warm_pool(), "NoPool", '"fast" cannot make'),
        (make_job(poolRef={"name": "fast"}), make_warm_pool(), SHORT, 'RuntimePool "fast"'),
        (make_job(source={"uri": "pvc://c/a.wav"}), make_warm_pool(), "NeedsOwnPod", "source.uri is on a volume"),
        (make_job(output={"uri": "pvc://c/a"}), make_warm_pool(), "NeedsOwnPod", "output.uri is on a volume"),
        (make_job(source={"uriSecretRef": {"name": "u"}}), make_warm_pool(), "NeedsOwnPod", "source.uriSecretRef"),
        (make_job(diarization={"tokenSecretRef": {"name": "h"}}), make_warm_pool(), "NeedsOwnPod", "tokenSecretRef"),
        (make_ocr_job(model=None), make_warm_pool(model={"name": "base"}), SHORT, 'RuntimePool "fast"'),
        (make_ocr_job(pages="1-20"), make_warm_pool(), SHORT, 'RuntimePool "fast"'),
        (make_ocr_job(pages="5-"), make_warm_pool(), SHORT, 'RuntimePool "fast"'),  # what that comes to, nothing says
        (make_ocr_job(pages="-20,30"), make_warm_pool(), "NotShort", "21 pages are to be read"),
    ],
)
def test_what_is_chosen_and_why(job, pool, why, said):
    choice = chosen(job, pool)
    assert (choice.reason, choice.mode) == (why, "Pool" if why == SHORT else "Job")
    assert said in choice.message
    assert choice.pool == ("fast" if why == SHORT else None)


def test_without_a_queue_server_there_is_no_pool_to_choose():
    assert (chosen(make_job(), make_warm_pool(), policy=POLICY).reason) == "NoPool"


@pytest.mark.parametrize(
    ("loads", "pool"),
    [
        ([("b", 1, 0), ("a", 1, 0)], "a"),
        ([("a", 1, 3), ("b", 1, 2)], "b"),
        ([("a", 1, 2), ("b", 4, 6)], "b"),
        ([("a", 0, 0), ("b", 1, 9)], "b"),
    ],
    ids=["the name decides between equals", "the one with less to do", "by its servers", "a warm one first"],
)
def test_the_least_loaded_pool_is_chosen(loads, pool):
    pools = [PoolLoad(make_warm_pool(name, ready=ready), jobs) for name, ready, jobs in loads]
    assert chosen(make_job(), *pools).pool == pool
    assert chosen(make_job(), *reversed(pools)).pool == pool


def test_the_choice_is_written_before_anything_is_started():
    pool = auto()
    plan = pool.reconcile()
    assert (actions_of(plan), event_reasons(plan), plan.requeue_after) == ([], ["PoolChosen"], timedelta())
    assert pool.status.execution.to_wire() == {
        "mode": "Pool",
        "pool": "fast",
        "reason": "PoolChosen",
        "message": 'RuntimePool "fast" makes the attempts: of the pools that can, it has the least to do for its size.',
    }
    assert pool.status.attempt == 0
    [publish] = actions_of(pool.reconcile())
    assert isinstance(publish, PublishAttempt)
    assert publish.pool == "fast"
    assert publish.message.task().only_short is not None


def test_the_choice_does_not_follow_the_pools():
    pool = auto()
    pool.reconcile()
    pool.pool = None
    pool.reconcile()
    assert (pool.mode, pool.status.queue.reason) == ("Pool", "PoolNotFound")
    other = auto()
    other.pool = None
    other.reconcile()
    other.pool = make_warm_pool()
    [start] = actions_of(other.settle())
    assert isinstance(start, StartAttempt)
    assert (other.mode, other.status.execution.reason) == ("Job", "NoPool")


def test_what_is_too_long_for_the_pool_goes_on_at_once_in_a_pod():
    pool = auto(backoffLimit=0)
    pool.settle()
    work(pool, 0)
    pool.settle()
    hand_back(pool, 0)
    plan = pool.reconcile()
    assert (actions_of(plan), plan.requeue_after) == ([], timedelta())
    choice = pool.status.execution
    assert (choice.mode, choice.pool, choice.reason) == ("Job", None, "NotShort")
    assert choice.message.endswith("The audio is longer than a pool takes.")
    assert pool.wanted(1) is False
    [start] = actions_of(pool.reconcile())
    assert isinstance(start, StartAttempt)
    assert (start.attempt, start.manifest["metadata"]["name"]) == (2, "standup-2")
    assert (pool.status.failures, pool.status.last_failure.reason) == (0, "TooLongForPool")
    end_worker(pool.children(), 0)
    pool.settle()
    assert pool.status.phase == "Succeeded"


def test_a_job_that_names_a_pool_alone_has_no_pod_to_go_on_in():
    pool = SimulatedAuto(make_job(execution="Pool", poolRef={"name": "fast"}))
    [publish] = actions_of(pool.reconcile())
    assert publish.message.task().only_short is None


def test_a_suspended_job_that_is_handed_back_goes_on_in_a_pod():
    pool = auto()
    pool.settle()
    work(pool, 0)
    hand_back(pool, 0)
    toggle_suspend(pool, 0)
    pool.settle()
    assert (pool.status.phase, pool.mode) == ("Suspended", "Pool")
    restart(pool, 0)
    toggle_suspend(pool, 0)
    [start] = actions_of(pool.settle())
    assert isinstance(start, StartAttempt)
    assert (start.attempt, pool.mode) == (2, "Job")


def test_nothing_is_asked_of_a_tenant_before_the_choice():
    policy, spec = ADMISSION_POLICIES["TranscriptionJob"], {"execution": "Auto"}
    in_pool, own = ({"execution": {"mode": "Pool", "pool": "fast"}}, {"execution": {"mode": "Job"}})
    assert not policy.is_active(spec, {})
    assert policy.is_active(spec, in_pool)
    assert policy.demand(None, policy.max_pods(spec, in_pool)) == Demand(jobs=1)
    assert policy.demand(2, policy.max_pods(spec, own)) == Demand(gpus=2, jobs=1)


specs = st.fixed_dictionaries(
    {
        "backoffLimit": st.integers(0, 3),
        "suspend": st.sampled_from([False] * 9 + [True]),
        "activeDeadlineSeconds": st.sampled_from([None, None, None, 1000]),
    }
)
pools = st.builds(lambda make, spec: auto(make, **spec), st.sampled_from([make_job, make_ocr_job]), specs)


def happening(code: int):
    rest, which = divmod(code, len(MOVES))
    number, looks = divmod(rest, 3)
    return MOVES[which], number, looks < 2


histories = st.lists(st.integers(0, 36 * len(MOVES) - 1).map(happening), min_size=10, max_size=40)


def play(pool: SimulatedAuto, history) -> None:
    for move, number, looks in history:
        move(pool, number)
        if looks:
            pool.reconcile()  # asserts that never two attempts may work


@many
@given(pools, histories)
def test_a_plan_carried_out_leaves_nothing_to_do(pool, history):
    play(pool, history)
    pool.settle()
    status, again = pool.status, pool.plan()
    if not pool.refused:
        assert actions_of(again) == []
        assert again.status == status


@many
@given(pools, histories)
def test_the_choice_is_made_once_and_changes_once_at_most(pool, history):
    choices = []
    for move, number, _ in history:
        move(pool, number)
        pool.reconcile()
        if not choices or pool.status.execution != choices[-1]:
            choices.append(pool.status.execution)
    assert None not in choices
    assert [each.mode for each in choices] in (["Pool"], ["Job"], ["Pool", "Job"])


@many
@given(pools, histories)
def test_every_job_ends(pool, history):
    play(pool, history)
    to_the_end(pool)
    pool.settle()
    assert pool.finished
    assert pool.status.failures <= pool.job.spec.backoff_limit + 1


@many
@given(pools, histories, st.integers(0, 3))
def test_a_status_that_could_not_be_written_is_planned_again(pool, history, prefix):
    play(pool, history)
    lucky, unlucky = pool.copy(), pool.copy()
    lucky.reconcile()
    for action in unlucky.plan().actions[:prefix]:
        unlucky.act(action)
    unlucky.reconcile()
    for one in (lucky, unlucky):
        to_the_end(one)
    ends = [
        (one.status.phase, one.status.execution, one.status.attempt, one.status.failures) for one in (lucky, unlucky)
    ]
    assert ends[0] == ends[1]


@many
@given(pools, histories)
def test_an_operator_that_knows_nothing_keeps_the_choice(pool, history):
    play(pool, history)
    pool.reconcile()
    choice = pool.status.execution
    crash(pool, 0)
    to_the_end(pool)
    assert pool.status.execution == choice or (choice.mode, pool.mode) == ("Pool", "Job")
