"""Ends of sessions by timeouts and losses: no client, a lost server, the time limit, no suitable pool."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings

from steno_api.documents.manifest import PublishedArtifact
from steno_api.documents.warnings import WarningSummary
from steno_api.failures import FailureReason
from steno_api.server.reports import PUBLISH_TIMEOUT_SECONDS, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_operator.plan.common.admission import Admission
from steno_operator.plan.common.conditions import find, holds
from steno_operator.plan.common.plan import EmitEvent
from steno_operator.plan.session.expiry import ACCEPT_TIMEOUT, FINAL_REPORT_GRACE, RECONNECT_GRACE, RESTART_TIMEOUT

from .simulated_session import SimulatedSession, histories, make_pool, make_session, ready, specs

GRACE = RECONNECT_GRACE.total_seconds()
OUTPUT = {"output": {"uri": "s3://t"}}
MANIFEST = "s3://t/ns/call/0123456789/manifest.json"


def begun(**spec: object) -> SimulatedSession:
    """Return a session that a client was connected to, and whose server was lost."""
    simulation = SimulatedSession(make_session(**spec), make_pool(output={}))
    simulation.reconcile()
    simulation.report(1)
    simulation.reconcile()
    simulation.lose()
    return simulation


@pytest.mark.parametrize(
    ("spoke", "reason"), [(False, SessionEnd.NO_CLIENT), (True, SessionEnd.MAX_DURATION)], ids=["never", "once"]
)
def test_a_session_without_a_client_ends(spoke, reason):
    simulation = SimulatedSession(make_session(maxDurationSeconds=100))
    simulation.reconcile()
    if spoke:
        simulation.report(1)
        simulation.reconcile()
        simulation.now += 100
        simulation.reconcile()
        assert not simulation.ended, "its server has the last word"
        simulation.lose()
    simulation.now += 100 + FINAL_REPORT_GRACE.total_seconds()
    assert ready(simulation).reason == reason


def test_a_lost_transcript_is_a_failure():
    simulation = begun(**OUTPUT)
    assert ready(simulation).reason == "EndpointReady"
    simulation.now += GRACE
    simulation.reconcile()
    failed = find(simulation.session.status.conditions, "Failed")
    assert (simulation.session.status.phase, failed.status, failed.reason) == ("Failed", "True", "Killed")
    assert "was not published" in failed.message
    assert "Create another" in failed.message


def test_without_an_output_there_is_nothing_to_lose():
    simulation = begun()
    simulation.reconcile()
    simulation.now += GRACE
    assert (ready(simulation).reason, simulation.session.status.phase) == (SessionEnd.CLIENT_GONE, "Succeeded")
    assert "server was lost" in ready(simulation).message


def test_a_client_has_a_short_while_to_come_back():
    simulation = begun(**OUTPUT, idleTimeoutSeconds=200)
    assert simulation.reconcile().requeue_after == timedelta(seconds=200)
    simulation.now += 199
    simulation.reconcile()
    assert not simulation.ended
    simulation.report(1)
    simulation.reconcile()
    simulation.now += 500
    simulation.reconcile()
    simulation.lose()
    assert simulation.reconcile().requeue_after == timedelta(seconds=200), "of the second loss"
    assert not simulation.ended


def test_the_grace_begins_when_there_is_a_server_again():
    simulation = begun(**OUTPUT)
    simulation.pool = make_pool(0, output={})
    assert ready(simulation).reason == "PoolNotReady"
    simulation.now += RESTART_TIMEOUT.total_seconds() / 2
    simulation.reconcile()
    simulation.pool = make_pool(1, output={})
    assert ready(simulation).reason == "EndpointReady"
    simulation.now += GRACE - 1
    simulation.reconcile()
    assert not simulation.ended
    simulation.now += 1
    assert ready(simulation).reason == "Killed"


def test_no_server_comes_back():
    simulation = begun(**OUTPUT)
    simulation.pool = make_pool(0, output={})
    simulation.reconcile()
    simulation.now += RESTART_TIMEOUT.total_seconds() + GRACE
    assert ready(simulation).reason == "Killed"


def test_the_end_of_its_time_is_no_excuse():
    simulation = begun(**OUTPUT, maxDurationSeconds=30, idleTimeoutSeconds=30)
    simulation.reconcile()
    simulation.now += 30
    assert ready(simulation).reason == "Killed"


def test_a_server_publishes_as_long_as_it_tries():
    assert timedelta(seconds=PUBLISH_TIMEOUT_SECONDS + 60) < FINAL_REPORT_GRACE
    simulation = SimulatedSession(make_session(**OUTPUT, maxDurationSeconds=100), make_pool(output={}))
    simulation.reconcile()
    simulation.report(1)
    simulation.reconcile()
    simulation.now += 100 + PUBLISH_TIMEOUT_SECONDS + 60
    simulation.reconcile()
    assert not simulation.ended
    simulation.report(1, SessionResult(reason=SessionEnd.MAX_DURATION, time=simulation.time, manifest=MANIFEST))
    assert ready(simulation).reason == SessionEnd.MAX_DURATION
    assert simulation.session.status.results is not None


def overdue() -> SimulatedSession:
    """Return a session whose server has not said in time how it ended."""
    simulation = SimulatedSession(make_session(**OUTPUT, maxDurationSeconds=100), make_pool(output={}))
    simulation.reconcile()
    simulation.report(1)
    simulation.reconcile()
    simulation.now += 100 + FINAL_REPORT_GRACE.total_seconds()
    return simulation


def test_a_server_that_never_reports_how_the_session_ended():
    simulation = overdue()
    assert (ready(simulation).reason, simulation.session.status.phase) == ("NodeLost", "Failed")


def test_results_that_come_late_are_taken_and_the_end_stays():
    simulation = overdue()
    simulation.reconcile()
    before = simulation.session.status
    simulation.report(1, SessionResult(reason=SessionEnd.MAX_DURATION, time=simulation.time, manifest=MANIFEST))
    simulation.reconcile()
    status = simulation.session.status
    assert status.results is not None
    assert status.results.manifest == MANIFEST
    assert (status.phase, status.conditions) == ("Failed", before.conditions)


def test_a_connection_that_came_late_is_not_over_before_it_began():
    simulation = SimulatedSession(make_session(maxDurationSeconds=100))
    simulation.reconcile()
    simulation.now += 100 + FINAL_REPORT_GRACE.total_seconds()  # of an operator that was away
    simulation.report(1)
    assert ready(simulation).reason == "EndpointReady"


@pytest.mark.parametrize(
    ("what", "words"),
    [({"poolRef": {"name": "typo"}}, 'RuntimePool "typo" does not exist'), (OUTPUT, "has no spec.output")],
    ids=["no pool", "output not of the pool"],
)
def test_what_fits_no_pool_does_not_hold_its_tenants_stream_for_long(what, words):
    simulation = SimulatedSession(
        make_session(**what), None if "poolRef" in what else make_pool(), admission=Admission("Admitted")
    )
    assert simulation.reconcile().requeue_after <= ACCEPT_TIMEOUT
    simulation.now += ACCEPT_TIMEOUT.total_seconds() - 1
    simulation.reconcile()
    assert not simulation.ended
    simulation.now += 1
    failed = ready(simulation)
    assert (simulation.session.status.phase, failed.reason) == ("Failed", "InvalidSpec")
    assert words in failed.message


def test_a_session_waits_for_its_pool_only_from_its_admission():
    simulation = SimulatedSession(
        make_session(poolRef={"name": "typo"}), None, admission=Admission("Refused", "NoTenant", "None has it.")
    )
    simulation.reconcile()
    simulation.now += 10 * ACCEPT_TIMEOUT.total_seconds()
    simulation.reconcile()
    assert not simulation.ended
    simulation.admission = Admission("Admitted")
    simulation.reconcile()
    simulation.now += ACCEPT_TIMEOUT.total_seconds() - 1
    simulation.reconcile()
    assert not simulation.ended
    simulation.pool = make_pool()
    assert ready(simulation).reason == "EndpointReady"


@settings(max_examples=500, deadline=None)
@given(specs, histories)
def test_what_was_to_be_published_and_is_not_never_passes_for_a_success(spec, history):
    simulation = SimulatedSession(make_session(**spec), make_pool(output={}))
    for move, number, _ in history:
        if simulation.gone:
            return
        before = simulation.ended
        move(simulation, number)
        simulation.reconcile()
        status, said = simulation.session.status, simulation.connection and simulation.connection.report.result
        if simulation.ended and not before and "output" in spec and status.start_time is not None and said is None:
            assert status.phase == "Failed"


def test_a_session_that_lost_audio_fails_and_shows_what_was_published():
    simulation = SimulatedSession(make_session(**OUTPUT), make_pool(output={}))
    simulation.reconcile()
    artifact = PublishedArtifact(format="json", name="transcript.json", bytes=2, sha256="a" * 64)
    simulation.report(
        1,
        SessionResult(
            reason=SessionEnd.DRAINED, time=simulation.time, manifest=MANIFEST, artifacts=[artifact],
            failure=FailureReason.PREEMPTED, message="The last 3 s of audio were not decoded.",
        ),
    )  # fmt: skip
    simulation.reconcile()
    status = simulation.session.status
    failed = find(status.conditions, "Failed")
    assert (failed.reason, failed.message) == ("Preempted", "The last 3 s of audio were not decoded.")
    assert status.results.manifest == MANIFEST
    assert [each.uri for each in status.results.artifacts] == [MANIFEST.replace("manifest", "transcript")]


WARNINGS = [
    WarningSummary(reason="NoSpeech", message="No speech was found."),
    WarningSummary(reason="DamagedSource", message="Audio could not be read (2 times).", count=2),
]


def ended_with(**result: object) -> tuple[SimulatedSession, list[tuple[str, str]]]:
    """Return a session whose server reported a result, and the Events of it."""
    simulation = SimulatedSession(make_session(**OUTPUT), make_pool(output={}))
    simulation.reconcile()
    simulation.report(1)
    simulation.reconcile()
    simulation.report(0, SessionResult(reason=SessionEnd.CLIENT_ENDED, time=simulation.time, **result))
    plan = simulation.reconcile()
    return simulation, [(each.type, each.reason) for each in plan.actions if isinstance(each, EmitEvent)]


def test_warnings_of_a_transcript_are_in_the_status_a_condition_and_events():
    simulation, events = ended_with(manifest=MANIFEST, warnings=WARNINGS)
    status = simulation.session.status
    assert (status.phase, status.warnings) == ("Succeeded", WARNINGS)
    condition = find(status.conditions, "HasWarnings")
    assert (condition.status, condition.reason) == ("True", "NoSpeech")
    assert condition.message == "No speech was found. Audio could not be read (2 times)."
    assert events == [("Normal", "ClientEnded"), ("Warning", "NoSpeech"), ("Warning", "DamagedSource")]
    assert simulation.reconcile().actions == ()


def test_a_transcript_without_warnings_has_no_such_condition():
    simulation, events = ended_with(manifest=MANIFEST)
    assert find(simulation.session.status.conditions, "HasWarnings") is None
    assert (simulation.session.status.warnings, events) == (None, [("Normal", "ClientEnded")])


def test_warnings_of_a_session_that_failed_are_kept():
    simulation, events = ended_with(failure=FailureReason.OUTPUT_FORBIDDEN, message="No.", warnings=WARNINGS)
    status = simulation.session.status
    assert (status.phase, status.warnings) == ("Failed", WARNINGS)
    assert not holds(status.conditions, "HasWarnings")
    assert events == [("Warning", "OutputForbidden")]


@pytest.mark.parametrize("uri", ["s3://attacker/manifest.json", MANIFEST.replace("call", "other"), f"{MANIFEST}/.."])
def test_m9_a_manifest_elsewhere_fails_the_session_and_says_where_it_belongs(uri):
    simulation, events = ended_with(manifest=uri)
    status = simulation.session.status
    assert (status.phase, status.results) == ("Failed", None)
    assert "s3://t/ns/call/0123456789/" in find(status.conditions, "Failed").message
    assert events == [("Warning", "Internal")]


def test_m9_a_late_manifest_elsewhere_is_not_taken():
    simulation = overdue()
    simulation.reconcile()
    said = SessionResult(reason=SessionEnd.MAX_DURATION, time=simulation.time, manifest="s3://attacker/manifest.json")
    simulation.report(1, said)
    simulation.reconcile()
    assert simulation.session.status.results is None


def test_m9_a_session_without_an_output_has_no_manifest():
    simulation = SimulatedSession(make_session(), make_pool(output={}))
    simulation.reconcile()
    simulation.report(0, SessionResult(reason=SessionEnd.CLIENT_ENDED, time=simulation.time, manifest=MANIFEST))
    simulation.reconcile()
    assert (simulation.session.status.phase, simulation.session.status.results) == ("Failed", None)
