"""The planner of sessions: what holds for every history of one, and its single decisions."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steno_operator.plan.common.admission import NOT_REQUIRED, Admission
from steno_operator.plan.common.conditions import find, holds
from steno_operator.plan.common.plan import IssueToken
from steno_operator.plan.session.planner import plan_session

from .simulated_session import (
    POLICY,
    START,
    SimulatedSession,
    end,
    histories,
    make_pool,
    make_session,
    play,
    pools,
    ready,
    specs,
    tick,
)

many = settings(max_examples=500, deadline=None)


@many
@given(specs, histories)
def test_a_plan_carried_out_leaves_nothing_to_do(spec, history):
    simulation = play(SimulatedSession(make_session(**spec), make_pool(output={})), history)
    if simulation.gone:
        return
    assert simulation.plan() == simulation.plan()
    again = simulation.pool is None or simulation.session.status.completion_time is None
    simulation.reconcile()
    if again and not simulation.gone:
        simulation.reconcile()  # the pool is there now, or its time to live has passed
    if not simulation.gone:
        again = simulation.plan()
        assert again.actions == ()
        assert again.status == simulation.session.status


@many
@given(specs, histories)
@example(
    {}, [(tick, 0, False), *[(tick, 3, False)] * 3, (end, 0, False)]
)  # nobody came, and a server reports no manifest
def test_a_finished_session_stays_finished(spec, history):
    simulation, last = SimulatedSession(make_session(**spec), make_pool(output={})), None
    for move, number, _ in history:
        if simulation.gone:
            return
        move(simulation, number)
        simulation.reconcile()
        status = simulation.session.status
        assert not (holds(status.conditions, "Complete") and holds(status.conditions, "Failed"))
        assert simulation.ended == (status.phase in ("Succeeded", "Failed"))
        if last is not None:
            late = last.results is None and status.results is not None
            published = {"results": status.results, "warnings": status.warnings}
            assert status == (last.model_copy(update=published) if late else last)
        last = status if simulation.ended else None


@many
@given(specs, histories)
def test_a_client_that_may_connect_has_a_valid_token(spec, history):
    simulation = SimulatedSession(make_session(**spec), make_pool(output={}))
    for move, number, _ in history:
        move(simulation, number)
        plan = simulation.reconcile()
        status = simulation.session.status
        if status.phase == "Ready":
            assert simulation.token is not None
            key, expires = simulation.token
            assert (key, status.token_key_id) == (simulation.key, simulation.key)
            assert expires == int(status.token_expiration_time.timestamp())
            assert expires - simulation.time.timestamp() >= POLICY.session_token.total_seconds() / 3
            assert plan.requeue_after is not None, "the token is to be replaced"
        assert bool(status.endpoints) == (status.phase in ("Ready", "Active")) or simulation.pool is None


def outcome(simulation: SimulatedSession) -> dict[str, object]:
    """The status but for since when conditions hold."""
    status = simulation.session.status.to_wire()
    conditions = [{**each, "lastTransitionTime": ""} for each in status["conditions"]]
    return {**status, "conditions": conditions}


@many
@example({}, [(tick, 0, True), (pools, 0, False), (tick, 0, False)], 1)
@given(specs, histories, st.integers(0, 4))
def test_a_crash_after_any_action_ends_the_same(spec, history, prefix):
    lucky = play(SimulatedSession(make_session(**spec), make_pool(output={})), history)
    if lucky.gone:
        return
    unlucky, made = lucky.copy(), lucky.pool is None
    unlucky.crash(prefix)
    for simulation in (lucky, unlucky):
        for _ in range(3):
            simulation.reconcile()
    # That there was no pool one has seen for a moment, the other never; nothing else may differ.
    assert outcome(lucky) == outcome(unlucky)
    assert made or lucky.session.status == unlucky.session.status
    assert (lucky.gone, lucky.token) == (unlucky.gone, unlucky.token)


@many
@given(specs, histories)
def test_every_session_ends(spec, history):
    simulation = play(SimulatedSession(make_session(**spec), make_pool(output={})), history)
    simulation.pool, simulation.ahead, simulation.key, simulation.admission = (
        make_pool(output={}),
        0,
        "k1",
        NOT_REQUIRED,
    )
    for _ in range(60):
        if simulation.gone or (simulation.ended and simulation.plan().requeue_after is None):
            return
        again = simulation.reconcile().requeue_after
        assert simulation.gone or again is not None or simulation.ended
        simulation.now += again.total_seconds() if again is not None else 0
    raise AssertionError(f"it does not end: {simulation.session.status}")


def test_what_a_waiting_session_waits_for_in_order():
    simulation = SimulatedSession(make_session(), None)
    assert (ready(simulation).reason, simulation.pool is not None) == ("PoolNotFound", True)
    assert ready(simulation).reason == "PoolNotReady"
    simulation.pool = make_pool(1, sessionsPerReplica=1)
    simulation.ahead = 3
    assert ready(simulation).reason == "PoolFull"
    assert simulation.session.status.queue.position == 3
    simulation.ahead, simulation.key = 0, ""
    assert ready(simulation).reason == "SigningKeyMissing"
    simulation.key = "k"
    assert ready(simulation).reason == "EndpointReady"
    assert simulation.session.status.queue is None


def test_a_refused_session_fails_and_a_waiting_one_waits():
    simulation = SimulatedSession(make_session(), admission=Admission("Waiting", "StreamLimit", "2 of 2 streams.", 1))
    assert ready(simulation).reason == "StreamLimit"
    assert simulation.session.status.queue.position == 1
    assert not holds(simulation.session.status.conditions, "Admitted")
    simulation.admission = Admission("Refused", "StreamLimit", "The tenant takes no streams.")
    simulation.reconcile()
    failed = find(simulation.session.status.conditions, "Failed")
    assert (failed.reason, failed.message) == ("QuotaExceeded", "The tenant takes no streams.")


def test_a_session_that_was_admitted_stays_admitted():
    simulation = SimulatedSession(make_session(), admission=Admission("Admitted"))
    simulation.reconcile()
    simulation.admission = Admission("Refused", "StreamLimit", "No.")
    assert ready(simulation).reason == "EndpointReady"


def test_the_claims_say_everything():
    simulation = SimulatedSession(
        make_session(
            tenantRef={"name": "acme"},
            output={"uri": "s3://t/p/", "formats": ["srt"]},
            metadata={"session_id": "회의 1"},
        ),
        make_pool(output={}),
    )
    [issued] = [action for action in simulation.plan().actions if isinstance(action, IssueToken)]
    claims = issued.claims
    assert claims.output_uri == "s3://t/p/ns/call/0123456789"
    assert (claims.tenant, claims.meeting_id, list(claims.formats)) == ("acme", "call", ["srt"])
    assert claims.metadata == {"session_id": "회의 1"}
    assert claims.exp - claims.iat == 3600
    assert "data" not in issued.secret


def test_the_pool_that_one_without_an_output_made_serves_those_with_one():
    first = SimulatedSession(make_session(), None)
    first.reconcile()
    assert first.pool.spec.output is not None
    first.pool = first.pool.model_copy(update={"status": make_pool(1).status})
    assert ready(SimulatedSession(make_session(output={"uri": "s3://t"}), first.pool)).reason == "EndpointReady"
    other = SimulatedSession(make_session(output={"uri": "s3://t", "secretRef": {"name": "keys"}}), first.pool)
    outcome = ready(other)
    assert outcome.reason == "OutputNotOfPool"
    patch = """--type=merge -p '{"spec":{"output":{"secretRef":{"name":"keys"}}}}'"""
    assert f"kubectl patch runtimepool default -n ns {patch}" in outcome.message
    other.pool = make_pool(1, output={"secretRef": {"name": "keys"}})
    assert ready(other).reason == "EndpointReady"


@pytest.mark.parametrize("field", ["endpointURL", "secretRef"])
def test_l4_nobody_inherits_where_another_sessions_transcripts_go(field: str):
    given = {"endpointURL": "https://s3.example", "secretRef": {"name": "keys"}, "region": "x"}
    first = SimulatedSession(make_session(output={"uri": "s3://mine", **given}), None)
    first.reconcile()
    pool = first.pool.model_copy(update={"status": make_pool(1).status})
    assert ready(SimulatedSession(make_session(output={"uri": "s3://t", **given}), pool)).reason == "EndpointReady"
    assert ready(SimulatedSession(make_session(), pool)).reason == "EndpointReady"
    others = {key: value for key, value in given.items() if key not in (field, "region")}
    outcome = ready(SimulatedSession(make_session(output={"uri": "s3://t", **others}), pool))
    assert outcome.reason == "OutputNotOfPool"
    assert f"the spec.output.{field} of that one" in outcome.message
    assert "kubectl label runtimepool default -n ns app.kubernetes.io/managed-by-" in outcome.message
    released = pool.model_copy(update={"metadata": pool.metadata.model_copy(update={"labels": {}})})
    assert ready(SimulatedSession(make_session(output={"uri": "s3://t"}), released)).reason == "EndpointReady"


def test_what_is_to_be_pasted_into_a_shell_is_quoted():
    url = "http://s3';reboot;'"
    simulation = SimulatedSession(make_session(output={"uri": "s3://t", "endpointURL": url}), make_pool(output={}))
    command = ready(simulation).message.partition("`")[2].rpartition("`")[0]
    *_, patch = shlex.split(command)
    assert json.loads(patch) == {"spec": {"output": {"endpointURL": url}}}


def test_an_output_is_compared_with_the_pools():
    given = {"uri": "s3://t", "secretRef": {"name": "a"}, "region": "x"}
    for output, fits in (
        (None, False),
        ({}, False),
        ({"secretRef": {"name": "a"}}, False),
        ({"secretRef": {"name": "a"}, "region": "x", "endpointURL": "http://s3:1"}, True),
    ):
        simulation = SimulatedSession(
            make_session(output=given), make_pool(**({} if output is None else {"output": output}))
        )
        assert (ready(simulation).reason == "EndpointReady") is fits
    refused = replace(simulation.observed(), refusal="quota")
    assert find(plan_session(refused, START, POLICY).status.conditions, "Accepted").status == "True"


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("holder", [None, "other"])
def test_m6_a_session_ends_with_its_tenants_hold_on_the_namespace(holder, connected):
    """Its token is void then, wherever it is used."""
    admitted = Admission("Admitted", tenant="acme", reserved=True)
    simulation = SimulatedSession(make_session(), admission=admitted, holder="acme")
    simulation.reconcile()
    assert simulation.session.status.tenant == "acme"
    if connected:
        simulation.report(4)
        simulation.reconcile()
    simulation.holder = holder
    simulation.reconcile()
    status = simulation.session.status
    failed = find(status.conditions, "Failed")
    assert failed is not None
    assert (failed.reason, status.token_secret_name) == ("QuotaExceeded", None)
    assert 'Tenant "acme"' in failed.message
    assert simulation.ended


def test_m6_a_session_of_no_tenant_outlives_the_coming_of_one():
    simulation = SimulatedSession(make_session())
    simulation.reconcile()
    simulation.holder = "acme"
    simulation.reconcile()
    assert not simulation.ended
