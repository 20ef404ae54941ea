"""What a session leaves in a real object store."""

from __future__ import annotations

import asyncio
import hashlib
import uuid

import pytest

from runtime.tests.conftest import S3
from steno_api.documents.manifest import Manifest
from steno_api.documents.transcript import Segment, Transcript, Word
from steno_api.failures import FailureReason
from steno_api.server.claims import SessionClaims
from steno_api.server.session_end import SessionEnd
from steno_api.server.task import PoolOutput
from steno_runtime.errors import WorkError
from steno_runtime.serve.sessions import publish as publishing
from steno_runtime.serve.sessions.publish import SessionRecord, open_session_output, publish_session

from .conftest import SECOND, Operator, Serve, Talk
from .scripted import WORD
from .test_ends import ended


@pytest.fixture
def place(s3: S3, tmp_path) -> dict:
    return {"endpointURL": s3.endpoint, "credentialsDir": s3.credentials(tmp_path / "secret")}


def read(s3: S3, key: str) -> bytes:
    return s3.client.get_object(Bucket="transcripts", Key=key)["Body"].read()


async def test_a_transcript_in_every_format_and_the_manifest_last(serve: Serve, operator: Operator, s3: S3, place):
    server = await serve(output=place)
    report = asyncio.create_task(ended(server))
    prefix = f"team-a/standup/{uuid.uuid4()}"
    claims = {"outputURI": f"s3://transcripts/{prefix}", "formats": ["txt", "json", "srt", "vtt"], "name": "standup"}
    token = operator.token(**claims, uid="uid-1")
    async with server.connect(token) as socket:
        talk = Talk(socket)
        await talk.start(meeting_id="not the session's")
        await socket.send(SECOND)
        await talk.say("finalize")
        await socket.send(SECOND[:3_200])
        last, code = await talk.end()
    assert code == 1000
    assert last["manifest"] == f"s3://transcripts/{prefix}/manifest.json"
    manifest = Manifest.model_validate_json(read(s3, f"{prefix}/manifest.json"))
    assert (manifest.job.uid, manifest.job.name, manifest.tenant) == ("uid-1", "standup", "acme")
    assert [artifact.format for artifact in manifest.artifacts] == ["json", "srt", "txt", "vtt"]
    for artifact in manifest.artifacts:
        data = read(s3, f"{prefix}/{artifact.name}")
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (artifact.sha256, artifact.bytes)
    told = Transcript.model_validate_json(read(s3, f"{prefix}/transcript.json"))
    assert (told.meeting_id, told.tenant_id, told.model, told.language) == ("standup-42", "acme", "whisper-base", "en")
    assert [segment.text for segment in told.segments] == talk.texts() == [" ".join([WORD] * 10), WORD]
    assert (told.duration, told.total_segments, told.confidence, told.has_diarization) == (1.1, 2, 0.9, False)
    result = (await report).result
    assert (result.reason, result.manifest, result.failure) == (SessionEnd.CLIENT_ENDED, last["manifest"], None)
    assert result.artifacts == manifest.artifacts


async def test_a_client_that_vanishes_is_published(serve: Serve, operator: Operator, s3: S3, place):
    server = await serve(output=place)
    report = asyncio.create_task(ended(server))
    prefix = str(uuid.uuid4())
    socket = await server.connect(operator.token(outputURI=f"s3://transcripts/{prefix}"))
    talk = Talk(socket)
    await talk.start()
    await socket.send(SECOND)
    await talk.hear("partial")
    socket.transport.abort()
    assert (await report).result.manifest == f"s3://transcripts/{prefix}/manifest.json"
    assert WORD in Transcript.model_validate_json(read(s3, f"{prefix}/transcript.json")).transcript


async def test_what_a_drain_drops_is_told_and_the_rest_is_published(serve: Serve, operator: Operator, s3: S3, place):
    server = await serve(engine={"stuck": True}, output=place, drainSeconds=1)
    report = asyncio.create_task(ended(server))
    prefix = str(uuid.uuid4())
    async with server.connect(operator.token(outputURI=f"s3://transcripts/{prefix}")) as socket:
        talk = Talk(socket)
        await talk.start()
        await socket.send(SECOND)
        await talk.say("finalize")
        await talk.hear("final")
        await socket.send(SECOND[:16_000])
        await talk.hear("partial")
        server.server.stop()
        last = await talk.hear("session_ended")
        assert await talk.closed() == 1012
    result = (await report).result
    assert (result.reason, result.failure) == (SessionEnd.DRAINED, FailureReason.PREEMPTED)
    assert "last 0.5 s of audio" in result.message
    assert last["failure"] == {"reason": "Preempted", "message": result.message}
    assert last["manifest"] == result.manifest == f"s3://transcripts/{prefix}/manifest.json"
    told = Transcript.model_validate_json(read(s3, f"{prefix}/transcript.json"))
    assert [segment.text for segment in told.segments] == [" ".join([WORD] * 10)]


@pytest.mark.parametrize(
    ("uri", "reason"),
    [("s3://no-such-bucket/x", "OutputNotFound"), ("pvc://claim/x", "InvalidSpec"), ("/etc", "InvalidSpec")],
)
async def test_an_output_that_is_none(serve: Serve, operator: Operator, place, uri: str, reason: str):
    server = await serve(output=place)
    report = asyncio.create_task(ended(server))
    async with server.connect(operator.token(outputURI=uri)) as socket:
        talk = Talk(socket)
        await talk.start()
        await socket.send(SECOND)
        last, _ = await talk.end()
    assert (len(talk.texts()), last["failure"]["reason"]) == (1, reason)
    assert ((await report).result.failure, (await report).result.manifest) == (reason, None)


async def test_a_store_that_is_away_for_a_while(
    serve: Serve, operator: Operator, s3: S3, place, monkeypatch: pytest.MonkeyPatch
):
    """The first tries find nobody; the session's transcript stands in the end all the same."""
    monkeypatch.setattr(publishing, "INITIAL_BACKOFF_SECONDS", 0.05)
    tries = 0

    def failing(output, told):
        nonlocal tries
        tries += 1
        if tries < 3:
            raise WorkError(FailureReason.OUTPUT_UNAVAILABLE, "The store does not answer.")
        return publish_session(output, told)

    monkeypatch.setattr(publishing, "publish_session", failing)
    server = await serve(output=place)
    prefix = str(uuid.uuid4())
    async with server.connect(operator.token(outputURI=f"s3://transcripts/{prefix}")) as socket:
        talk = Talk(socket)
        await talk.start()
        last, _ = await talk.end()
    assert (tries, last["manifest"]) == (3, f"s3://transcripts/{prefix}/manifest.json")


async def test_a_store_that_stays_away_does_not_hold_up_the_drain(serve: Serve, operator: Operator, place):
    away = place | {"endpointURL": "http://127.0.0.1:9"}
    server = await serve(output=away, drainSeconds=2)
    report = asyncio.create_task(ended(server))
    async with server.connect(operator.token(outputURI="s3://transcripts/x")) as socket:
        talk = Talk(socket)
        await talk.start()
        await socket.send(SECOND)
        await talk.hear("partial")
        server.server.stop()
        await talk.hear("final")
        await asyncio.wait_for(server.running, 10)
    result = (await report).result
    assert (result.reason, result.failure) == (SessionEnd.DRAINED, "OutputUnavailable")


def told(uid: str, uri: str, text: str) -> SessionRecord:
    claims = SessionClaims.model_validate(
        {"aud": "x", "sub": "team-a/standup", "iat": 0, "exp": 0, "uid": uid, "tenant": "acme", "meetingID": "m",
         "outputURI": uri, "formats": ["json", "txt"]}
    )  # fmt: skip
    words = [Word(word=text, start=0, end=1, confidence=0.5)]
    return SessionRecord(
        claims, [Segment(start=0, end=1, text=text, confidence=0.5, words=words)], 1.0, 1.0, "en", "base", "cpu"
    )


def test_publishing_again_changes_nothing(s3: S3, place):
    uri = f"s3://transcripts/{uuid.uuid4()}"
    first = told("uid-1", uri, "one")
    output = open_session_output(first.claims, PoolOutput.from_wire(place))
    manifest = publish_session(output, first)
    assert publish_session(output, first) == manifest
    assert publish_session(output, told("uid-1", uri, "another server's")) == manifest
    with pytest.raises(WorkError) as caught:
        publish_session(output, told("uid-2", uri, "another session's"))
    assert caught.value.reason == "OutputForbidden"


def test_what_a_server_left_that_died_while_publishing_is_kept(s3: S3, place):
    uri = f"s3://transcripts/{uuid.uuid4()}"
    second = told("uid-1", uri, "two")
    output = open_session_output(second.claims, PoolOutput.from_wire(place))
    output.create("transcript.json", b"the first part", "application/json")
    manifest = publish_session(output, second)
    assert output.read("transcript.json") == b"the first part"
    assert [artifact.name for artifact in manifest.artifacts] == ["transcript-2.json", "transcript-2.txt"]
    assert output.read("transcript-2.txt") == b"two\n"
