"""What a session is billed: all that any of its servers heard."""

from __future__ import annotations

from hypothesis import given, settings

from steno_api.server.reports import SessionResult
from steno_api.server.session_end import SessionEnd
from steno_operator.plan.common.admission import ADMISSION_POLICIES

from .session_world import POLICY, World, histories, pool, session, specs


def test_figures_are_written_now_and_then():
    world = World(session())
    world.reconcile()
    world.report(1)
    world.reconcile()
    assert world.session.status.figures.segments == 1
    world.now += 1
    world.report(2)
    plan = world.reconcile()
    assert world.session.status.figures.segments == 1
    assert plan.requeue_after == POLICY.progress_interval
    world.now += 10
    world.reconcile()
    assert world.session.status.figures.segments == 3


def bill(world: World) -> float:
    return ADMISSION_POLICIES["StreamSession"].usage(world.session.status.to_wire()).audio_seconds


def test_what_a_lost_server_heard_is_counted_too():
    world = World(session())
    world.reconcile()
    for half_seconds, heard in ((1200, 600), (120, 660), (6, 663)):
        world.report(half_seconds)
        world.reconcile()
        assert bill(world) == heard
        world.lose()
        world.now += 5
        world.reconcile()
        assert bill(world) == heard
    world.report(2)
    world.reconcile()
    world.report(2, SessionResult(reason=SessionEnd.CLIENT_ENDED, time=world.time))
    world.reconcile()
    assert (bill(world), world.session.status.figures.segments) == (665, 1330)


def test_an_operator_that_was_started_anew_counts_a_server_once():
    world = World(session())
    world.reconcile()
    world.report(100)
    world.reconcile()
    world.connection, world.silent = None, True
    world.now += 20
    world.reconcile()
    world.report(20)
    world.reconcile()
    assert bill(world) == 60


@settings(max_examples=500, deadline=None)
@given(specs, histories)
def test_what_was_heard_never_shrinks_and_never_exceeds_what_servers_told(spec, history):
    world, before = World(session(**spec), pool(output={})), 0.0
    told: dict[object, float] = {}
    for move, number, looks in history:
        if world.gone:
            return
        move(world, number)
        if world.server is not None:
            told[world.server] = max(told.get(world.server, 0), world.heard / 2)
        if looks:
            world.reconcile()
        assert before <= bill(world) <= sum(told.values())
        before = bill(world)
