"""Attempts in a pool's queue: what is published when, and what holds for every history of a message."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steno_api.failures import FailureReason
from steno_api.v1alpha1.transcriptionjob import SpeechModel
from steno_api.worker.termination import Failed, TerminationMessage
from steno_operator.plan.common.admission import NOT_REQUIRED, Admission
from steno_operator.plan.common.plan import PublishAttempt
from steno_operator.plan.job.planner import plan_job

from .builders import POLICY, RESULT, actions_of, event_reasons, make_job, make_ocr_job
from .simulated_queue import (
    IN_QUEUE,
    MOVES,
    OWNER,
    SILENCE,
    SimulatedQueue,
    bury,
    crash,
    fail,
    give_back,
    lose_messages,
    lose_worker,
    make_pool,
    report,
    restart,
    succeed,
    toggle_suspend,
    work,
)

many = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
IN_POOL = {"execution": "Pool", "poolRef": {"name": "fast"}}


def queued(make=make_job, **spec) -> SimulatedQueue:
    return SimulatedQueue(make(**{**IN_POOL, **spec}))


def reason(pool: SimulatedQueue) -> str:
    return pool.status.queue.reason if pool.status.queue is not None else ""


def condition(pool: SimulatedQueue, kind: str):
    return next(item for item in pool.status.conditions if item.type == kind)


def test_a_job_goes_from_the_queue_to_its_results():
    pool = queued(source={"uri": "s3://in/a.wav", "secretRef": {"name": "s3"}}, priority=7)
    plan = pool.reconcile()
    [publish] = [action for action in plan.actions if isinstance(action, PublishAttempt)]
    message = publish.message
    assert (message.id, message.source, message.subject) == ("uid-1/1", "/steno/team-a/fast", "team-a/standup")
    assert (message.priority, message.tenant) == (7, "team-a")
    task = message.task()
    assert task.source.credentials_dir == "/etc/steno/queue-credentials/s3"
    assert (task.output.credentials_dir, task.reporting) == (None, None)
    assert (pool.status.phase, pool.status.attempt, reason(pool)) == ("Waiting", 1, "WaitingForWorker")
    assert condition(pool, "Accepted").message == 'The spec is valid and RuntimePool "fast" exists.'
    assert "AttemptStarted" in event_reasons(plan)
    assert work(pool, 0) is None
    pool.reconcile()
    assert (pool.status.phase, pool.status.pod_name, pool.status.node_name) == ("Running", "fast-pool-1", "node-1")
    report(pool, 40)
    pool.reconcile()
    assert pool.status.progress.percent == 40
    succeed(pool, 0)
    pool.reconcile()
    assert pool.status.phase == "Succeeded"
    assert pool.status.results.manifest.endswith("/uid-1/manifest.json")
    assert (pool.status.usage.audio_millis, pool.status.usage.pages) == (10, 1)
    assert pool.wanted(1) is False


def test_an_attempt_is_of_the_tenant_that_pays_whatever_label_its_pool_has():
    pool = queued()
    pool.pool = make_pool(tenantRef={"name": "label"})
    pool.admission = Admission("Admitted", tenant="acme")
    [publish] = [action for action in pool.reconcile().actions if isinstance(action, PublishAttempt)]
    assert (publish.message.tenant, publish.message.task().tenant) == ("acme", "acme")


def test_without_a_tenant_an_attempt_is_of_the_one_that_its_job_names():
    pool = queued(tenantRef={"name": "team-red"})
    [publish] = [action for action in pool.reconcile().actions if isinstance(action, PublishAttempt)]
    assert (publish.message.tenant, publish.message.task().tenant) == ("team-red", "team-red")


@pytest.mark.parametrize(
    ("spec", "pool", "policy", "why"),
    [
        ({}, None, IN_QUEUE, "PoolNotFound"),
        ({}, make_pool(), POLICY, "QueueNotConfigured"),
        ({}, make_pool(workloads=["Streams"], queue=None), IN_QUEUE, "WorkloadNotServed"),
        ({"model": SpeechModel(name="base")}, make_pool(), IN_QUEUE, "ModelNotOfPool"),
        (
            {"source": {"uri": "s3://in/a.wav", "secretRef": {"name": "other"}}},
            make_pool(),
            IN_QUEUE,
            "SecretNotOfPool",
        ),
    ],
)
def test_what_the_pool_cannot_do_is_not_published(spec, pool, policy, why):
    job = queued(**spec)
    job.pool = pool
    plan = plan_job(job.observed(), job.time, policy)
    assert actions_of(plan) == []
    assert plan.status.queue is not None
    assert plan.status.queue.reason == why
    accepted = next(item for item in plan.status.conditions if item.type == "Accepted")
    assert (accepted.status, accepted.reason) == ("False", why)


def test_a_queue_that_is_away_is_tried_again():
    pool = queued()
    pool.refused = True
    plan = pool.reconcile()
    assert (pool.status.attempt, reason(pool), pool.status.queue.message) == (
        0,
        "QueueUnavailable",
        "The queue is away.",
    )
    assert plan.requeue_after == timedelta(seconds=10)
    pool.refused = False
    pool.reconcile()
    assert pool.published == [1]


def test_a_message_that_is_lost_is_published_again_after_a_silence():
    pool = queued()
    pool.reconcile()
    lose_messages(pool, 0)
    pool.now = SILENCE - 1
    assert actions_of(pool.reconcile()) == []
    pool.now = SILENCE
    pool.reconcile()
    assert (pool.published, pool.status.attempt, pool.status.failures) == ([1, 1], 1, 0)
    pool.refused, pool.now = True, 2 * SILENCE
    assert pool.reconcile().requeue_after == timedelta(seconds=10)
    assert reason(pool) == "QueueUnavailable"


def test_a_message_whose_worker_reports_is_not_published_again():
    pool = queued()
    pool.reconcile()
    work(pool, 0)
    for pool.now in (100, 200, 300):
        report(pool, 0)
        pool.reconcile()
    assert pool.published == [1]


def test_a_lost_worker_leaves_its_message_to_another():
    pool = queued()
    pool.reconcile()
    work(pool, 0)
    pool.reconcile()
    lose_worker(pool, 0)
    pool.reconcile()
    assert (pool.status.phase, reason(pool), pool.status.failures) == ("Waiting", "WaitingForWorker", 0)
    work(pool, 1)
    pool.reconcile()
    assert (pool.status.phase, pool.status.pod_name, pool.status.attempt) == ("Running", "fast-pool-2", 1)
    give_back(pool, 0)
    pool.reconcile()
    assert (pool.status.phase, pool.status.usage.audio_millis) == ("Waiting", 2)


def test_failures_are_retried_by_their_class():
    pool = queued(backoffLimit=1)
    pool.reconcile()
    work(pool, 0)
    fail(pool, 1)
    pool.reconcile()
    assert (pool.status.phase, pool.status.last_failure.reason) == ("Retrying", FailureReason.OUT_OF_MEMORY)
    assert pool.wanted(1) is False
    pool.now = 10
    plan = pool.reconcile()
    [publish] = actions_of(plan)
    assert (publish.attempt, publish.message.task().batch_divisor) == (2, 2)
    work(pool, 0)
    fail(pool, 2)
    pool.reconcile()
    assert (pool.status.phase, pool.status.last_failure.reason) == ("Failed", FailureReason.UNSUPPORTED_MEDIA)


def test_a_dead_letter_is_the_failure_of_its_attempt():
    pool = queued(backoffLimit=1)
    pool.reconcile()
    bury(pool, 0)
    pool.reconcile()
    assert (pool.status.phase, pool.status.last_failure.reason) == ("Retrying", FailureReason.KILLED)
    pool.now = 10
    pool.reconcile()
    bury(pool, 0)
    pool.reconcile()
    assert (pool.status.phase, pool.status.failures) == ("Failed", 2)


def test_a_message_that_servers_refuse_twice_ends_the_job():
    pool = queued(backoffLimit=5)
    for pool.now in (0, 10):
        pool.reconcile()
        bury(pool, 1)
        pool.reconcile()
    assert (pool.status.phase, pool.status.last_failure.reason) == ("Failed", FailureReason.START_FAILED)


def test_results_count_even_of_an_attempt_that_was_given_up():
    pool = queued()
    pool.reconcile()
    work(pool, 0)
    dead = Failed(reason=FailureReason.KILLED, message="None finished it.")
    pool.reports.bury(OWNER, 1, dead, pool.time, refused=False)
    pool.reconcile()
    assert pool.status.phase == "Retrying"
    succeed(pool, 0)
    pool.reconcile()
    assert pool.status.phase == "Succeeded"


def test_a_suspended_job_goes_on_with_the_next_number():
    pool = queued()
    pool.reconcile()
    work(pool, 0)
    pool.reconcile()
    toggle_suspend(pool, 0)
    assert pool.wanted(1), "as long as the status does not say so, the worker is not stopped"
    assert actions_of(pool.reconcile()) == []
    assert (pool.status.phase, pool.wanted(1)) == ("Suspended", False)
    toggle_suspend(pool, 0)
    pool.pool = None
    pool.reconcile()
    assert reason(pool) == "PoolNotFound"
    pool.pool = make_pool()
    pool.reconcile()
    assert (pool.published, pool.status.attempt, pool.status.failures) == ([1, 2], 2, 0)


def test_a_job_is_not_begun_twice_by_a_crash_and_its_worker_is_not_turned_away():
    pool = queued()
    crash(pool, 1)
    assert (pool.published, pool.status.attempt, pool.wanted(1)) == ([1], 0, None)
    work(pool, 0)
    pool.reconcile()
    assert (pool.published, pool.status.attempt, pool.wanted(1)) == ([1], 1, True)
    restart(pool, 0)
    pool.now = SILENCE - 1
    assert actions_of(pool.reconcile()) == []


def test_the_deadline_ends_a_job_that_waits():
    pool = queued(activeDeadlineSeconds=30)
    pool.reconcile()
    pool.now = 30
    pool.reconcile()
    assert (pool.status.phase, pool.wanted(1)) == ("Failed", False)


def test_a_report_of_another_directory_is_not_believed():
    pool = queued()
    pool.reconcile()
    work(pool, 0)
    result = RESULT.model_copy(update={"manifest": "s3://transcripts/else/manifest.json"})
    pool.end(TerminationMessage(result=result))
    pool.reconcile()
    assert (pool.status.phase, pool.status.results) == ("Failed", None)


specs = st.fixed_dictionaries(
    {
        "backoffLimit": st.integers(0, 3),
        "activeDeadlineSeconds": st.sampled_from([None, None, None, 30, 1000]),
        "ttlSecondsAfterFinished": st.sampled_from([None, None, 0, 100]),
        "ttlPolicy": st.sampled_from(["DeleteChildren", "DeleteResource"]),
    }
)
pools = st.builds(lambda make, spec: queued(make, **spec), st.sampled_from([make_job, make_ocr_job]), specs)
histories = st.lists(
    st.tuples(st.sampled_from(MOVES), st.integers(0, 23), st.sampled_from([True, True, False])), max_size=40
)


def play(pool: SimulatedQueue, history) -> None:
    for move, number, looks in history:
        if pool.gone:
            return
        move(pool, number)
        if looks:
            pool.reconcile()


def to_the_end(pool: SimulatedQueue) -> None:
    """Nothing goes wrong any more."""
    spec = pool.job.spec.model_copy(update={"suspend": False})
    pool.job = pool.job.model_copy(update={"spec": spec})
    pool.pool, pool.admission, pool.refused = make_pool(), NOT_REQUIRED, False
    for _ in range(50):
        plan = pool.reconcile()
        if pool.gone or (pool.finished and plan.requeue_after is None):
            return
        work(pool, 0)
        pool.reconcile()
        succeed(pool, 0)
        plan = pool.reconcile()
        if plan.requeue_after is not None:
            pool.now += plan.requeue_after.total_seconds()
    raise AssertionError(f"does not come to rest: {pool.status}")


@many
@given(pools, histories)
def test_a_plan_carried_out_leaves_nothing_to_do(pool, history):
    play(pool, history)
    if pool.gone or pool.refused:
        return
    pool.reconcile()
    pool.reconcile()
    status = pool.status
    if not pool.gone:
        again = pool.plan()
        assert actions_of(again) == []
        assert again.status == status
        assert pool.finished or again.requeue_after is None or again.requeue_after.total_seconds() > 0


@many
@given(pools, histories)
def test_every_job_ends_and_then_rests(pool, history):
    play(pool, history)
    to_the_end(pool)
    assert pool.finished
    assert pool.status.failures <= pool.job.spec.backoff_limit + 1


@many
@given(pools, histories, st.integers(0, 3))
def test_a_crash_after_any_action_ends_the_same(pool, history, prefix):
    play(pool, history)
    if pool.gone:
        return
    lucky, unlucky = pool.copy(), pool.copy()
    restart(lucky, 0)
    lucky.reconcile()
    restart(lucky, 0)
    restart(unlucky, 0)
    unlucky.crash(prefix)
    for one in (lucky, unlucky):
        to_the_end(one)
    assert (lucky.status.phase, lucky.status.failures) == (unlucky.status.phase, unlucky.status.failures)
    assert lucky.status.results == unlucky.status.results


@many
@given(pools, histories)
def test_a_result_that_was_reported_is_never_lost(pool, history):
    for move, number, _ in history:
        if pool.gone or pool.finished:
            return
        wanted = [attempt for attempt in pool.taken if pool.wanted(attempt)]
        move(pool, number)
        if move is succeed and wanted:
            pool.reconcile()
            assert pool.gone or pool.status.phase == "Succeeded"
            return
        pool.reconcile()
