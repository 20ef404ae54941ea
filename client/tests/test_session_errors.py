"""Every way a stream can end, against the codes, messages and reasons of Steno's server."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from steno_api.failures import FailureReason
from steno_api.server.errors import ErrorCode
from steno_api.server.session_end import SessionEnd
from steno_client.session_errors import AFTER_START, BEFORE_START

from .server import Server, Session, assert_refused, stream

URL = "/stt/realtime?session=team-a/standup"
REST = "the final text so far was printed; create another StreamSession for the rest"
NOT_OF_SESSIONS = {
    ErrorCode.KEY_MISSING,
    ErrorCode.KEY_INVALID,
    ErrorCode.KEY_EXPIRED,
    ErrorCode.KEY_NOT_USABLE,
    ErrorCode.SCOPE_MISSING,
    ErrorCode.RATE_LIMITED,
    ErrorCode.IDEMPOTENCY_CONFLICT,
    ErrorCode.RESULT_NOT_FOUND,
    ErrorCode.STORE_UNAVAILABLE,
    ErrorCode.MALWARE_FOUND,
    ErrorCode.SCANNER_UNAVAILABLE,
    ErrorCode.QUOTA_EXCEEDED,
    ErrorCode.SOURCE_NOT_ALLOWED,
    ErrorCode.HOST_NOT_ALLOWED,
    ErrorCode.QUEUE_FULL,
    ErrorCode.JOB_NOT_FOUND,
    ErrorCode.JOB_NOT_ENDED,
    ErrorCode.JOB_TIMEOUT,
    ErrorCode.UPLOAD_OFFSET_MISMATCH,
    ErrorCode.TUS_VERSION_UNSUPPORTED,
    ErrorCode.CONTENT_TYPE_UNSUPPORTED,
    ErrorCode.NOT_SUPPORTED,
    ErrorCode.NOT_FOUND,
    ErrorCode.METHOD_NOT_ALLOWED,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.UPLOAD_TIMEOUT,
}
REFUSALS = {
    ErrorCode.TOKEN_MISSING: (77, "read the token again"),
    ErrorCode.TOKEN_INVALID: (77, "read the token again"),
    ErrorCode.TOKEN_EXPIRED: (77, "read the token again"),
    ErrorCode.TOKEN_REVOKED: (77, "the token was revoked (as the server says): create another StreamSession"),
    ErrorCode.TENANT_MISMATCH: (77, "use the token of this session"),
    ErrorCode.SESSION_MISMATCH: (77, "use the token of this session"),
    ErrorCode.SESSION_CONNECTED: (1, ": create another StreamSession"),
    ErrorCode.SESSION_ENDED: (1, ": create another StreamSession"),
    ErrorCode.SERVER_FULL: (75, "try again later, or raise the RuntimePool's maxReplicas"),
    ErrorCode.NOT_READY: (75, "or not ready yet (as the server says): try again later"),
    ErrorCode.DRAINING: (75, "try again, another server takes over"),
    ErrorCode.START_TIMEOUT: (
        75,
        "the server did not receive start_session in time (as the server says): try again",
    ),
    ErrorCode.INVALID_MESSAGE: (70, "update steno-client"),
    ErrorCode.INVALID_AUDIO: (70, "update steno-client"),
    ErrorCode.LANGUAGE_UNKNOWN: (64, "give another with --language, or auto"),
    ErrorCode.TOO_LARGE: (70, "update steno-client"),
    ErrorCode.INTERNAL: (75, "see its log, and try again"),
}
ENDS = {
    SessionEnd.IDLE_TIMEOUT: "create another StreamSession with a longer maxDurationSeconds or idleTimeoutSeconds",
    SessionEnd.MAX_DURATION: "create another StreamSession with a longer maxDurationSeconds or idleTimeoutSeconds",
    SessionEnd.NO_CLIENT: "create another StreamSession with a longer maxDurationSeconds or idleTimeoutSeconds",
    SessionEnd.DRAINED: REST,
    SessionEnd.DELETED: ": create another StreamSession",
    SessionEnd.DUPLICATE: ": create another StreamSession",
}
"""Reasons of sessions that the server ends."""


def say(one: Session) -> None:
    one.send("final", seq=1, utterance_id="u1", text="Hello.", words=[], start_ms=0, end_ms=300)


def test_the_codes_are_those_of_the_server():
    assert set(BEFORE_START) == {code.value.close for code in ErrorCode}
    mid_session = {
        ErrorCode.INVALID_MESSAGE.value.close,
        ErrorCode.TOO_LARGE.value.close,
        ErrorCode.INTERNAL.value.close,
    }
    assert set(AFTER_START) == mid_session | {reason.close_code for reason in ENDS}
    assert {reason for reason in SessionEnd if reason.close_code} == {*ENDS, SessionEnd.CLIENT_ENDED}


@pytest.mark.parametrize("code", [code for code in ErrorCode if code not in NOT_OF_SESSIONS])
def test_a_refusal(server: Server, wav: Path, code: ErrorCode):
    def refuse(one: Session) -> None:
        one.socket.recv()
        one.refuse(code)

    server.script = refuse
    exit_code, remedy = REFUSALS[code]
    assert_refused(stream(str(wav), "--url", server.url), exit_code, "(as the server says)", remedy)


@pytest.mark.parametrize("code", [ErrorCode.INVALID_MESSAGE, ErrorCode.TOO_LARGE, ErrorCode.INTERNAL])
def test_a_refusal_in_the_middle(server: Server, wav: Path, code: ErrorCode):
    def refuse(one: Session) -> None:
        one.accept()
        say(one)
        one.refuse(code)

    server.script = refuse
    done = stream(str(wav), "--url", server.url)
    assert done.stdout == "Hello.\n"
    if code is ErrorCode.INTERNAL:  # no trying again: a session whose server gave up has ended
        assert_refused(done, 1, f"the server failed, which ended the session (as the server says): see its log; {REST}")
    else:
        assert_refused(done, *REFUSALS[code])


@pytest.mark.parametrize("reason", ENDS)
def test_a_session_that_the_server_ends(server: Server, wav: Path, reason: SessionEnd):
    def end(one: Session) -> None:
        one.accept()
        say(one)
        one.end(reason)

    server.script = end
    done = stream(str(wav), "--url", server.url)
    assert done.stdout == "Hello.\n"
    assert_refused(done, 1, f"({reason})", ENDS[reason])
    assert "again" not in done.stderr


def test_a_session_that_ends_before_the_audio(server: Server, wav: Path):
    def enough(one: Session) -> None:
        one.accept()
        one.end(SessionEnd.CLIENT_ENDED)

    server.script = enough
    assert_refused(
        stream(str(wav), "--url", server.url), 1, "the session ended before the audio did (ClientEnded)", REST
    )


def vanish(one: Session) -> None:
    one.socket.socket.shutdown(socket.SHUT_RDWR)


def fall_silent(one: Session) -> None:
    one.socket.close(1000)


@pytest.mark.parametrize("leave", [vanish, fall_silent])
@pytest.mark.parametrize("listens", [True, False], ids=["after-the-audio", "amid-the-audio"])
def test_a_connection_that_breaks(server: Server, wav: Path, leave, listens: bool):
    """The server ends the session of a lost client; a session whose server was lost can go on."""

    def script(one: Session) -> None:
        one.accept()
        say(one)
        if listens:
            one.listen()
        leave(one)

    server.script = script
    done = stream(str(wav), "--url", f"{server.url}{URL}", "--speed", "20")
    assert done.stdout == "Hello.\n"
    assert_refused(
        done,
        75,
        "the connection to ws://127.0.0.1",
        " was lost: the final text so far was printed; run `steno status ss/standup -n team-a`: if the session is "
        "Ready again (its server was lost), stream the rest to it; if it has ended, create another StreamSession for "
        "the rest",
    )


@pytest.mark.parametrize("leave", [vanish, fall_silent])
def test_a_connection_that_breaks_before_the_session(server: Server, wav: Path, leave):
    server.script = leave
    assert_refused(stream(str(wav), "--url", server.url), 75, " was lost before the session started: ", "try again")


FAILURE = {"failure": FailureReason.OUTPUT_UNAVAILABLE, "message": "The bucket transcripts does not exist."}
UNPUBLISHED = "the transcript was not published"


@pytest.mark.parametrize("form", ["--partials", "--json"])
def test_a_transcript_that_could_not_be_published(server: Server, wav: Path, form: str):
    def end(one: Session) -> None:
        one.accept()
        one.listen()
        say(one)
        one.end(**FAILURE)

    server.script = end
    done = stream(str(wav), "--url", server.url, "--speed", "20", form)
    assert "Hello." in done.stdout
    assert_refused(
        done, 1, f"{UNPUBLISHED} (OutputUnavailable: The bucket transcripts does not exist.): ", "check spec.output"
    )


def test_a_transcript_not_published_after_the_server_ended_the_session(server: Server, wav: Path):
    def end(one: Session) -> None:
        one.accept()
        one.end(SessionEnd.DRAINED, **FAILURE)

    server.script = end
    done = stream(str(wav), "--url", server.url)
    assert_refused(
        done, 1, f"(Drained; {UNPUBLISHED}: OutputUnavailable: The bucket transcripts does not exist.): ", REST
    )


def test_where_the_transcript_is_published(server: Server, wav: Path):
    uri = "s3://transcripts/team-a/standup/uid-1/manifest.json"

    def end(one: Session) -> None:
        one.accept()
        one.listen()
        say(one)
        one.end(manifest=uri)

    server.script = end
    done = stream(str(wav), "--url", server.url, "--speed", "20")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "Hello.\n", f"published: {uri}\n")
    events = stream(str(wav), "--url", server.url, "--speed", "20", "--json")
    assert uri in events.stdout  # as part of the event
    assert events.stderr == ""
