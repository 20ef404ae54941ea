"""What holds for every history of a job, however unlucky."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steno_operator.plan.common.admission import NOT_REQUIRED
from steno_operator.plan.common.conditions import holds
from steno_operator.plan.common.plan import StartAttempt, SuspendAttempt
from steno_operator.plan.common.usage import work_of_pod

from .builders import make_job, make_ocr_job
from .simulated_cluster import CALM, FATES, MOVES, SimulatedCluster, collect, end_pod, release_children

many = settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

specs = st.fixed_dictionaries(
    {
        "backoffLimit": st.integers(0, 3),
        "suspend": st.sampled_from([False] * 9 + [True]),
        "ttlPolicy": st.sampled_from(["DeleteChildren", "DeleteResource"]),
        "activeDeadlineSeconds": st.sampled_from([None, None, None, None, 30, 1000]),
    },
    optional={
        "ttlSecondsAfterFinished": st.sampled_from([0, 100]),
    },
)
clusters = st.builds(
    lambda kind, spec: SimulatedCluster(kind(**spec)), st.sampled_from([make_job, make_ocr_job]), specs
)


def happening(code: int):
    """Return a move, its number, and whether the operator reconciles after it: one draw is far cheaper than three."""
    rest, which = divmod(code, len(MOVES))
    number, looks = divmod(rest, 3)
    return MOVES[which], number, looks < 2


# Moves that do nothing at the moment are common: a history needs some length to get anywhere.
histories = st.lists(st.integers(0, 360 * len(MOVES) - 1).map(happening), min_size=10, max_size=40)


def play(cluster: SimulatedCluster, history) -> None:
    for move, number, looks in history:
        if cluster.gone:
            return
        move(cluster, number)
        if looks:
            cluster.reconcile()


def to_the_end(cluster: SimulatedCluster, fate: int) -> int:
    """Nothing goes wrong any more but the worker's fate; returns how many looks it took until nothing is left to do."""
    spec = cluster.job.spec.model_copy(update={"suspend": False})
    cluster.job = cluster.job.model_copy(update={"spec": spec})
    cluster.has_profile, cluster.conflicting, cluster.admission = True, False, NOT_REQUIRED
    release_children(cluster)
    for looks in range(1, 300):
        if cluster.gone:
            return looks
        before = cluster.copy()
        plan = cluster.reconcile()
        for move in CALM:
            move(cluster, 0)
        end_pod(cluster, fate)
        CALM[-1](cluster, 0)
        collect(cluster, 0)
        if plan.requeue_after is not None:
            cluster.now += plan.requeue_after.total_seconds()
        elif cluster == before:
            return looks
    raise AssertionError(f"does not come to rest: {cluster.status}")


@many
@given(clusters, histories)
def test_a_plan_carried_out_leaves_nothing_to_do(cluster, history):
    play(cluster, history)
    if cluster.gone:
        return
    assert cluster.plan() == cluster.plan()
    plan = cluster.reconcile()
    if plan.requeue_after == timedelta():
        # A TTL of nothing: what was found must be written down before its source is deleted.
        assert cluster.finished
        plan = cluster.reconcile()
    status = cluster.status
    if not cluster.gone:
        again = cluster.plan()
        assert again.actions == ()
        assert again.status == status


@many
@given(clusters, histories)
def test_a_finished_job_stays_finished(cluster, history):
    end = None
    for move, number, _ in history:
        if cluster.gone:
            return
        move(cluster, number)
        cluster.reconcile()
        status = cluster.status
        assert not (holds(status.conditions, "Complete") and holds(status.conditions, "Failed"))
        assert cluster.finished == (status.phase in ("Succeeded", "Failed")) == (status.completion_time is not None)
        if end is not None:
            assert without_generation(status) == without_generation(end)
        end = status if cluster.finished else None


@many
@given(clusters, histories)
def test_what_workers_did_is_recorded_once_whatever_becomes_of_them(cluster, history):
    seen: dict[str, int] = {}
    for move, number, looks in history:
        if cluster.gone:
            return
        move(cluster, number)
        if not looks:
            continue
        pods = [pod for child in cluster.jobs.values() for pod in child.pods]
        seen |= {pod.uid: work.audio_millis + work.pages for pod in pods if (work := work_of_pod(pod)) is not None}
        cluster.reconcile()
        usage = cluster.status.usage
        if not cluster.gone:
            assert (0 if usage is None else usage.audio_millis + usage.pages) == sum(seen.values())


@many
@given(clusters, histories)
def test_at_most_one_child_may_work(cluster, history):
    play(cluster, history)  # reconcile() asserts it after each single action
    if not cluster.gone:
        cluster.reconcile()
        assert len(cluster.live()) <= 1
        if cluster.finished or cluster.job.spec.suspend:
            assert all(child.suspended for child in cluster.live())


@many
@given(clusters, histories, st.integers(0, 6), st.booleans(), st.integers(0, len(FATES) - 1))
def test_a_crash_after_any_action_ends_the_same(cluster, history, prefix, collected, fate):
    play(cluster, history)
    if cluster.gone:
        return
    if collected:
        collect(cluster, 0)  # what users deleted is not the plan's to remember
    lucky, unlucky = cluster.copy(), cluster.copy()
    lucky.reconcile()
    unlucky.crash(prefix)
    for one in (lucky, unlucky):
        if collected:
            collect(one, 0)
        one.reconcile()
        to_the_end(one, fate)
    assert outcome(lucky) == outcome(unlucky)
    assert lucky.gone == unlucky.gone


@many
@given(clusters, histories, st.integers(0, len(FATES) - 1))
def test_every_job_ends_and_then_rests(cluster, history, fate):
    play(cluster, history)
    to_the_end(cluster, fate)
    assert cluster.finished
    assert cluster.status.failures <= max(cluster.job.spec.backoff_limit, 3) + 1
    if cluster.job.spec.ttl_seconds_after_finished is not None:
        assert cluster.gone or cluster.jobs == {}
    elif not cluster.gone:
        assert cluster.plan().requeue_after is None


@many
@given(clusters, histories)
def test_nothing_starts_that_its_tenant_does_not_admit(cluster, history):
    for move, number, looks in history:
        if cluster.gone:
            return
        move(cluster, number)
        plan = cluster.reconcile() if looks else cluster.plan()
        starts = [
            action
            for action in plan.actions
            if isinstance(action, StartAttempt) or (isinstance(action, SuspendAttempt) and not action.suspend)
        ]
        assert cluster.admission.open or not starts


@many
@given(clusters, histories)
def test_a_result_that_was_published_is_never_lost(cluster, history):
    for move, number, _ in history:
        if cluster.gone:
            return
        move(cluster, number)
        failed = holds(cluster.status.conditions, "Failed")
        if not cluster.gone:
            cluster.reconcile()
        if cluster.gone or failed:
            return
        if any('"Succeeded"' in pod.termination_message for child in cluster.jobs.values() for pod in child.pods):
            assert cluster.status.phase == "Succeeded"
            assert cluster.status.results is not None
            assert cluster.status.summary is not None


def without_generation(status):
    """Return a finished status without the fields that a later spec may change, or a worker that says what it did."""
    conditions = [item.model_copy(update={"observed_generation": 0}) for item in status.conditions]
    return status.model_copy(update={"observed_generation": 0, "conditions": conditions, "usage": None})


LOST = {"ImagePull", "NodeLost", "Killed", "PodLost"}


def outcome(cluster: SimulatedCluster):
    """Return how a job ended, as far as it must not depend on a crash; the rest of a stopped child may say less."""
    status = cluster.status
    reason = next(item.reason for item in status.conditions if item.type == "Failed")
    return (
        status.phase,
        "lost" if reason in LOST else reason,
        status.attempt,
        status.failures,
        status.out_of_memory,
        status.results,
        status.summary,
        status.usage and (status.usage.audio_millis, status.usage.pages),
    )
