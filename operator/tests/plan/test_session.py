"""The planner of sessions: what holds for every history of one, and its single decisions."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from steno_operator.plan.common.admission import NOT_REQUIRED, Admission
from steno_operator.plan.common.conditions import find, holds
from steno_operator.plan.common.plan import IssueToken
from steno_operator.plan.session.planner import plan_session

from .session_world import POLICY, START, World, histories, live_through, pool, pools, ready, session, specs, tick

many = settings(max_examples=500, deadline=None)


@many
@given(specs, histories)
def test_a_plan_carried_out_leaves_nothing_to_do(spec, history):
    world = live_through(World(session(**spec), pool(output={})), history)
    if world.gone:
        return
    assert world.plan() == world.plan()
    made = world.pool is None
    world.reconcile()
    if made:
        world.reconcile()  # the pool is there now
    if not world.gone:
        again = world.plan()
        assert again.actions == ()
        assert again.status == world.session.status


@many
@given(specs, histories)
def test_an_end_is_for_ever(spec, history):
    world, last = World(session(**spec), pool(output={})), None
    for move, number, _ in history:
        if world.gone:
            return
        move(world, number)
        world.reconcile()
        status = world.session.status
        assert not (holds(status.conditions, "Complete") and holds(status.conditions, "Failed"))
        assert world.ended == (status.phase in ("Succeeded", "Failed"))
        if last is not None:
            late = last.results is None and status.results is not None
            assert status == (last.model_copy(update={"results": status.results}) if late else last)
        last = status if world.ended else None


@many
@given(specs, histories)
def test_a_client_that_may_connect_has_a_token_that_holds(spec, history):
    world = World(session(**spec), pool(output={}))
    for move, number, _ in history:
        move(world, number)
        plan = world.reconcile()
        status = world.session.status
        if status.phase == "Ready":
            assert world.token is not None
            key, expires = world.token
            assert (key, status.token_key_id) == (world.key, world.key)
            assert expires == int(status.token_expiration_time.timestamp())
            assert expires - world.time.timestamp() >= POLICY.session_token.total_seconds() / 3
            assert plan.requeue_after is not None, "the token is to be replaced"
        assert bool(status.endpoints) == (status.phase in ("Ready", "Active")) or world.pool is None


def told(world: World) -> dict[str, object]:
    """The status but for since when conditions hold."""
    status = world.session.status.to_wire()
    conditions = [{**each, "lastTransitionTime": ""} for each in status["conditions"]]
    return {**status, "conditions": conditions}


@many
@example({}, [(tick, 0, True), (pools, 0, False), (tick, 0, False)], 1)
@given(specs, histories, st.integers(0, 4))
def test_a_crash_after_any_action_ends_the_same(spec, history, prefix):
    lucky = live_through(World(session(**spec), pool(output={})), history)
    if lucky.gone:
        return
    unlucky, made = lucky.copy(), lucky.pool is None
    unlucky.crash(prefix)
    for world in (lucky, unlucky):
        for _ in range(3):
            world.reconcile()
    # That there was no pool one has seen for a moment, the other never; nothing else may differ.
    assert told(lucky) == told(unlucky)
    assert made or lucky.session.status == unlucky.session.status
    assert (lucky.gone, lucky.token) == (unlucky.gone, unlucky.token)


@many
@given(specs, histories)
def test_every_session_ends(spec, history):
    world = live_through(World(session(**spec), pool(output={})), history)
    world.pool, world.ahead, world.key, world.admission = pool(output={}), 0, "k1", NOT_REQUIRED
    for _ in range(60):
        if world.gone or (world.ended and world.plan().requeue_after is None):
            return
        again = world.reconcile().requeue_after
        assert world.gone or again is not None or world.ended
        world.now += again.total_seconds() if again is not None else 0
    raise AssertionError(f"it does not end: {world.session.status}")


def test_the_ladder_of_a_session_that_waits():
    world = World(session(), None)
    assert (ready(world).reason, world.pool is not None) == ("PoolNotFound", True)
    assert ready(world).reason == "PoolNotReady"
    world.pool = pool(1, sessionsPerReplica=1)
    world.ahead = 3
    assert ready(world).reason == "PoolFull"
    assert world.session.status.queue.position == 3
    world.ahead, world.key = 0, ""
    assert ready(world).reason == "SigningKeyMissing"
    world.key = "k"
    assert ready(world).reason == "EndpointReady"
    assert world.session.status.queue is None


def test_a_refused_session_fails_and_a_waiting_one_waits():
    world = World(session(), admission=Admission("Waiting", "StreamLimit", "2 of 2 streams.", 1))
    assert ready(world).reason == "StreamLimit"
    assert world.session.status.queue.position == 1
    assert not holds(world.session.status.conditions, "Admitted")
    world.admission = Admission("Refused", "StreamLimit", "The tenant takes no streams.")
    world.reconcile()
    failed = find(world.session.status.conditions, "Failed")
    assert (failed.reason, failed.message) == ("QuotaExceeded", "The tenant takes no streams.")


def test_who_was_admitted_stays_so():
    world = World(session(), admission=Admission("Admitted"))
    world.reconcile()
    world.admission = Admission("Refused", "StreamLimit", "No.")
    assert ready(world).reason == "EndpointReady"


def test_the_claims_say_everything():
    world = World(session(tenantRef={"name": "acme"}, output={"uri": "s3://t/p/", "formats": ["srt"]}), pool(output={}))
    [issued] = [action for action in world.plan().actions if isinstance(action, IssueToken)]
    claims = issued.claims
    assert claims.output_uri == "s3://t/p/ns/call/0123456789"
    assert (claims.tenant, claims.meeting_id, list(claims.formats)) == ("acme", "call", ["srt"])
    assert claims.exp - claims.iat == 3600
    assert "data" not in issued.secret


def test_the_pool_that_one_without_an_output_made_serves_those_with_one():
    first = World(session(), None)
    first.reconcile()
    assert first.pool.spec.output is not None
    first.pool = first.pool.model_copy(update={"status": pool(1).status})
    assert ready(World(session(output={"uri": "s3://t"}), first.pool)).reason == "EndpointReady"
    other = World(session(output={"uri": "s3://t", "secretRef": {"name": "keys"}}), first.pool)
    told = ready(other)
    assert told.reason == "OutputNotOfPool"
    patch = """--type=merge -p '{"spec":{"output":{"secretRef":{"name":"keys"}}}}'"""
    assert f"kubectl patch runtimepool default -n ns {patch}" in told.message
    other.pool = pool(1, output={"secretRef": {"name": "keys"}})
    assert ready(other).reason == "EndpointReady"


def test_what_is_to_be_pasted_into_a_shell_is_quoted():
    world = World(session(output={"uri": "s3://t", "region": "x'; reboot; '"}), pool(output={}))
    command = ready(world).message.partition("`")[2].rpartition("`")[0]
    *_, patch = shlex.split(command)
    assert json.loads(patch) == {"spec": {"output": {"region": "x'; reboot; '"}}}


def test_an_output_is_compared_with_the_pools():
    given = {"uri": "s3://t", "secretRef": {"name": "a"}, "region": "x"}
    for output, fits in (
        (None, False),
        ({}, False),
        ({"secretRef": {"name": "a"}}, False),
        ({"secretRef": {"name": "a"}, "region": "x", "endpointURL": "http://s3:1"}, True),
    ):
        world = World(session(output=given), pool(**({} if output is None else {"output": output})))
        assert (ready(world).reason == "EndpointReady") is fits
    refused = replace(world.observed(), refusal="quota")
    assert find(plan_session(refused, START, POLICY).status.conditions, "Accepted").status == "True"
