"""What holds for every history of a job, however unlucky."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steno_operator.plan.common.admission import NOT_REQUIRED
from steno_operator.plan.common.conditions import holds
from steno_operator.plan.common.plan import StartAttempt, SuspendAttempt

from .scene import job, ocr_job
from .world import CALM, FATES, MOVES, World, collect, end_pod

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
worlds = st.builds(lambda kind, spec: World(kind(**spec)), st.sampled_from([job, ocr_job]), specs)


def happening(code: int):
    """Returns a move, its number, and whether the operator looks after it: one draw is far cheaper than three."""
    rest, which = divmod(code, len(MOVES))
    number, looks = divmod(rest, 3)
    return MOVES[which], number, looks < 2


# Moves that do nothing at the moment are common: a history needs some length to get anywhere.
histories = st.lists(st.integers(0, 360 * len(MOVES) - 1).map(happening), min_size=10, max_size=40)


def live_through(world: World, history) -> None:
    for move, number, looks in history:
        if world.gone:
            return
        move(world, number)
        if looks:
            world.reconcile()


def to_the_end(world: World, fate: int) -> int:
    """Nothing goes wrong any more but the worker's fate; returns how many looks it took until nothing is left to do."""
    spec = world.job.spec.model_copy(update={"suspend": False})
    world.job = world.job.model_copy(update={"spec": spec})
    world.has_profile, world.conflicting, world.admission = True, False, NOT_REQUIRED
    for looks in range(1, 300):
        if world.gone:
            return looks
        before = world.copy()
        plan = world.reconcile()
        for move in CALM:
            move(world, 0)
        end_pod(world, fate)
        CALM[-1](world, 0)
        collect(world, 0)
        if plan.requeue_after is not None:
            world.now += plan.requeue_after.total_seconds()
        elif world == before:
            return looks
    raise AssertionError(f"does not come to rest: {world.status}")


@many
@given(worlds, histories)
def test_a_plan_carried_out_leaves_nothing_to_do(world, history):
    live_through(world, history)
    if world.gone:
        return
    assert world.plan() == world.plan()
    plan = world.reconcile()
    if plan.requeue_after == timedelta():
        # A TTL of nothing: what was found must be written down before its source is deleted.
        assert world.finished
        plan = world.reconcile()
    status = world.status
    if not world.gone:
        again = world.plan()
        assert again.actions == ()
        assert again.status == status


@many
@given(worlds, histories)
def test_an_end_is_for_ever(world, history):
    end = None
    for move, number, _ in history:
        if world.gone:
            return
        move(world, number)
        world.reconcile()
        status = world.status
        assert not (holds(status.conditions, "Complete") and holds(status.conditions, "Failed"))
        assert world.finished == (status.phase in ("Succeeded", "Failed")) == (status.completion_time is not None)
        if end is not None:
            assert told(status) == told(end)
        end = status if world.finished else None


@many
@given(worlds, histories)
def test_at_most_one_child_may_work(world, history):
    live_through(world, history)  # reconcile() asserts it after each single action
    if not world.gone:
        world.reconcile()
        assert len(world.live()) <= 1
        if world.finished or world.job.spec.suspend:
            assert all(child.suspended for child in world.live())


@many
@given(worlds, histories, st.integers(0, 6), st.booleans(), st.integers(0, len(FATES) - 1))
def test_a_crash_after_any_action_ends_the_same(world, history, prefix, collected, fate):
    live_through(world, history)
    if world.gone:
        return
    if collected:
        collect(world, 0)  # what users deleted is not the plan's to remember
    lucky, unlucky = world.copy(), world.copy()
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
@given(worlds, histories, st.integers(0, len(FATES) - 1))
def test_every_job_ends_and_then_rests(world, history, fate):
    live_through(world, history)
    to_the_end(world, fate)
    assert world.finished
    assert world.status.failures <= max(world.job.spec.backoff_limit, 3) + 1
    if world.job.spec.ttl_seconds_after_finished is not None:
        assert world.gone or world.jobs == {}
    elif not world.gone:
        assert world.plan().requeue_after is None


@many
@given(worlds, histories)
def test_nothing_starts_that_its_tenant_does_not_let_in(world, history):
    for move, number, looks in history:
        if world.gone:
            return
        move(world, number)
        plan = world.reconcile() if looks else world.plan()
        starts = [
            action
            for action in plan.actions
            if isinstance(action, StartAttempt) or (isinstance(action, SuspendAttempt) and not action.suspend)
        ]
        assert world.admission.open or not starts


@many
@given(worlds, histories)
def test_a_result_that_was_published_is_never_lost(world, history):
    for move, number, _ in history:
        if world.gone:
            return
        move(world, number)
        failed = holds(world.status.conditions, "Failed")
        if not world.gone:
            world.reconcile()
        if world.gone or failed:
            return
        if any('"Succeeded"' in pod.termination_message for child in world.jobs.values() for pod in child.pods):
            assert world.status.phase == "Succeeded"
            assert world.status.results is not None
            assert world.status.summary is not None


def told(status):
    """Returns a finished status without what a later spec may touch."""
    conditions = [item.model_copy(update={"observed_generation": 0}) for item in status.conditions]
    return status.model_copy(update={"observed_generation": 0, "conditions": conditions})


LOST = {"ImagePull", "NodeLost", "Killed", "PodLost"}


def outcome(world: World):
    """Returns how a job ended, in what must not depend on a crash; what is left of a stopped child may tell less."""
    status = world.status
    reason = next(item.reason for item in status.conditions if item.type == "Failed")
    return (
        status.phase,
        "lost" if reason in LOST else reason,
        status.attempt,
        status.failures,
        status.out_of_memory,
        status.results,
        status.summary,
    )
