"""How sessions end that nobody ends: no client came, the server was lost, their time is over, nothing fits them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings

from steno_api.documents.manifest import PublishedArtifact
from steno_api.failures import FailureReason
from steno_api.server.reports import PUBLISH_TIMEOUT_SECONDS, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_operator.plan.common.admission import Admission
from steno_operator.plan.common.conditions import find
from steno_operator.plan.session.expiry import ACCEPT_TIMEOUT, FINAL_REPORT_GRACE, RECONNECT_GRACE, RESTART_TIMEOUT

from .session_world import World, histories, pool, ready, session, specs

GRACE = RECONNECT_GRACE.total_seconds()
OUTPUT = {"output": {"uri": "s3://t"}}


def begun(**spec: object) -> World:
    """Returns a session that a client was connected to, and whose server was lost."""
    world = World(session(**spec), pool(output={}))
    world.reconcile()
    world.report(1)
    world.reconcile()
    world.lose()
    return world


@pytest.mark.parametrize(
    ("spoke", "reason"), [(False, SessionEnd.NO_CLIENT), (True, SessionEnd.MAX_DURATION)], ids=["never", "once"]
)
def test_a_session_nobody_speaks_in_ends(spoke, reason):
    world = World(session(maxDurationSeconds=100))
    world.reconcile()
    if spoke:
        world.report(1)
        world.reconcile()
        world.now += 100
        world.reconcile()
        assert not world.ended, "its server has the last word"
        world.lose()
    world.now += 100 + FINAL_REPORT_GRACE.total_seconds()
    assert ready(world).reason == reason


def test_a_lost_transcript_is_a_failure():
    world = begun(**OUTPUT)
    assert ready(world).reason == "EndpointReady"
    world.now += GRACE
    world.reconcile()
    failed = find(world.session.status.conditions, "Failed")
    assert (world.session.status.phase, failed.status, failed.reason) == ("Failed", "True", "Killed")
    assert "was not published" in failed.message
    assert "Create another" in failed.message


def test_without_an_output_there_is_nothing_to_lose():
    world = begun()
    world.reconcile()
    world.now += GRACE
    assert (ready(world).reason, world.session.status.phase) == (SessionEnd.CLIENT_GONE, "Succeeded")
    assert "server was lost" in ready(world).message


def test_a_client_has_a_short_while_to_come_back():
    world = begun(**OUTPUT, idleTimeoutSeconds=200)
    assert world.reconcile().requeue_after == timedelta(seconds=200)
    world.now += 199
    world.reconcile()
    assert not world.ended
    world.report(1)
    world.reconcile()
    world.now += 500
    world.reconcile()
    world.lose()
    assert world.reconcile().requeue_after == timedelta(seconds=200), "of the second loss"
    assert not world.ended


def test_it_has_so_long_from_when_there_is_a_server_again():
    world = begun(**OUTPUT)
    world.pool = pool(0, output={})
    assert ready(world).reason == "PoolNotReady"
    world.now += RESTART_TIMEOUT.total_seconds() / 2
    world.reconcile()
    world.pool = pool(1, output={})
    assert ready(world).reason == "EndpointReady"
    world.now += GRACE - 1
    world.reconcile()
    assert not world.ended
    world.now += 1
    assert ready(world).reason == "Killed"


def test_no_server_comes_back():
    world = begun(**OUTPUT)
    world.pool = pool(0, output={})
    world.reconcile()
    world.now += RESTART_TIMEOUT.total_seconds() + GRACE
    assert ready(world).reason == "Killed"


def test_the_end_of_its_time_is_no_excuse():
    world = begun(**OUTPUT, maxDurationSeconds=30, idleTimeoutSeconds=30)
    world.reconcile()
    world.now += 30
    assert ready(world).reason == "Killed"


def test_a_server_publishes_as_long_as_it_tries():
    assert timedelta(seconds=PUBLISH_TIMEOUT_SECONDS + 60) < FINAL_REPORT_GRACE
    world = World(session(**OUTPUT, maxDurationSeconds=100), pool(output={}))
    world.reconcile()
    world.report(1)
    world.reconcile()
    world.now += 100 + PUBLISH_TIMEOUT_SECONDS + 60
    world.reconcile()
    assert not world.ended
    world.report(1, SessionResult(reason=SessionEnd.MAX_DURATION, time=world.time, manifest="s3://t/m/manifest.json"))
    assert ready(world).reason == SessionEnd.MAX_DURATION
    assert world.session.status.results is not None


def test_a_server_that_never_says_how_it_ended():
    world = World(session(**OUTPUT, maxDurationSeconds=100), pool(output={}))
    world.reconcile()
    world.report(1)
    world.reconcile()
    world.now += 100 + FINAL_REPORT_GRACE.total_seconds()
    assert (ready(world).reason, world.session.status.phase) == ("NodeLost", "Failed")


def test_results_that_come_late_are_taken_and_the_end_stays():
    world = World(session(**OUTPUT, maxDurationSeconds=100), pool(output={}))
    world.reconcile()
    world.report(1)
    world.reconcile()
    world.now += 100 + FINAL_REPORT_GRACE.total_seconds()
    world.reconcile()
    before = world.session.status
    world.report(1, SessionResult(reason=SessionEnd.MAX_DURATION, time=world.time, manifest="s3://t/m/manifest.json"))
    world.reconcile()
    status = world.session.status
    assert status.results is not None
    assert status.results.manifest == "s3://t/m/manifest.json"
    assert (status.phase, status.conditions) == ("Failed", before.conditions)


def test_a_connection_that_came_late_is_not_over_before_it_began():
    world = World(session(maxDurationSeconds=100))
    world.reconcile()
    world.now += 100 + FINAL_REPORT_GRACE.total_seconds()  # of an operator that was away
    world.report(1)
    assert ready(world).reason == "EndpointReady"


@pytest.mark.parametrize(
    ("what", "words"),
    [({"poolRef": {"name": "typo"}}, 'RuntimePool "typo" does not exist'), (OUTPUT, "has no spec.output")],
    ids=["no pool", "output not of the pool"],
)
def test_what_fits_no_pool_does_not_hold_its_tenants_stream_for_long(what, words):
    world = World(session(**what), None if "poolRef" in what else pool(), admission=Admission("Admitted"))
    assert world.reconcile().requeue_after <= ACCEPT_TIMEOUT
    world.now += ACCEPT_TIMEOUT.total_seconds() - 1
    world.reconcile()
    assert not world.ended
    world.now += 1
    failed = ready(world)
    assert (world.session.status.phase, failed.reason) == ("Failed", "InvalidSpec")
    assert words in failed.message


def test_what_holds_no_stream_waits_for_its_pool_from_when_it_does():
    world = World(session(poolRef={"name": "typo"}), None, admission=Admission("Refused", "NoTenant", "None has it."))
    world.reconcile()
    world.now += 10 * ACCEPT_TIMEOUT.total_seconds()
    world.reconcile()
    assert not world.ended
    world.admission = Admission("Admitted")
    world.reconcile()
    world.now += ACCEPT_TIMEOUT.total_seconds() - 1
    world.reconcile()
    assert not world.ended
    world.pool = pool()
    assert ready(world).reason == "EndpointReady"


@settings(max_examples=500, deadline=None)
@given(specs, histories)
def test_what_was_to_be_published_and_is_not_never_passes_for_a_success(spec, history):
    world = World(session(**spec), pool(output={}))
    for move, number, _ in history:
        if world.gone:
            return
        before = world.ended
        move(world, number)
        world.reconcile()
        status, said = world.session.status, world.connection and world.connection.report.result
        if world.ended and not before and "output" in spec and status.start_time is not None and said is None:
            assert status.phase == "Failed"


def test_a_session_that_lost_audio_fails_and_shows_what_was_published():
    world = World(session(**OUTPUT), pool(output={}))
    world.reconcile()
    artifact = PublishedArtifact(format="json", name="transcript.json", bytes=2, sha256="a" * 64)
    world.report(
        1,
        SessionResult(
            reason=SessionEnd.DRAINED, time=world.time, manifest="s3://t/x/manifest.json", artifacts=[artifact],
            failure=FailureReason.PREEMPTED, message="The last 3 s of audio were not decoded.",
        ),
    )  # fmt: skip
    world.reconcile()
    status = world.session.status
    failed = find(status.conditions, "Failed")
    assert (failed.reason, failed.message) == ("Preempted", "The last 3 s of audio were not decoded.")
    assert status.results.manifest == "s3://t/x/manifest.json"
    assert [each.uri for each in status.results.artifacts] == ["s3://t/x/transcript.json"]
