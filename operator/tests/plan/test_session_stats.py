"""What a session is billed: all that any of its servers received."""

from __future__ import annotations

from hypothesis import given, settings

from steno_api.server.reports import SessionResult
from steno_api.server.session_end import SessionEnd
from steno_operator.plan.common.admission import ADMISSION_POLICIES

from .simulated_session import POLICY, SimulatedSession, histories, make_pool, make_session, specs


def test_statistics_are_written_at_intervals():
    simulation = SimulatedSession(make_session())
    simulation.reconcile()
    simulation.report(1)
    simulation.reconcile()
    assert simulation.session.status.stats.segments == 1
    simulation.now += 1
    simulation.report(2)
    plan = simulation.reconcile()
    assert simulation.session.status.stats.segments == 1
    assert plan.requeue_after == POLICY.progress_interval
    simulation.now += 10
    simulation.reconcile()
    assert simulation.session.status.stats.segments == 3


def billed_seconds(simulation: SimulatedSession) -> float:
    return ADMISSION_POLICIES["StreamSession"].usage(simulation.session.status.to_wire(), {}).audio_seconds


def test_the_audio_of_a_lost_server_is_counted_too():
    simulation = SimulatedSession(make_session())
    simulation.reconcile()
    for half_seconds, received in ((1200, 600), (120, 660), (6, 663)):
        simulation.report(half_seconds)
        simulation.reconcile()
        assert billed_seconds(simulation) == received
        simulation.lose()
        simulation.now += 5
        simulation.reconcile()
        assert billed_seconds(simulation) == received
    simulation.report(2)
    simulation.reconcile()
    simulation.report(2, SessionResult(reason=SessionEnd.CLIENT_ENDED, time=simulation.time))
    simulation.reconcile()
    assert (billed_seconds(simulation), simulation.session.status.stats.segments) == (665, 1330)


def test_a_restarted_operator_counts_a_server_once():
    simulation = SimulatedSession(make_session())
    simulation.reconcile()
    simulation.report(100)
    simulation.reconcile()
    simulation.connection, simulation.silent = None, True
    simulation.now += 20
    simulation.reconcile()
    simulation.report(20)
    simulation.reconcile()
    assert billed_seconds(simulation) == 60


@settings(max_examples=500, deadline=None)
@given(specs, histories)
def test_statistics_never_shrink_and_never_exceed_what_servers_reported(spec, history):
    simulation, before = SimulatedSession(make_session(**spec), make_pool(output={})), 0.0
    outcome: dict[object, float] = {}
    for move, number, looks in history:
        if simulation.gone:
            return
        move(simulation, number)
        if simulation.server is not None:
            outcome[simulation.server] = max(outcome.get(simulation.server, 0), simulation.received / 2)
        if looks:
            simulation.reconcile()
        assert before <= billed_seconds(simulation) <= sum(outcome.values())
        before = billed_seconds(simulation)
