"""What a session leaves in a real object store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from pathlib import Path

import pytest

from runtime.tests.conftest import LOOPBACK, S3, reply
from steno_api.documents.manifest import Manifest
from steno_api.documents.transcript import Segment, Transcript, Word
from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_api.server.claims import SessionClaims
from steno_api.server.session_end import SessionEnd
from steno_api.server.task import PoolOutput
from steno_runtime.errors import WorkError
from steno_runtime.serve.sessions import publish as publishing
from steno_runtime.serve.sessions.publish import SessionRecord, open_session_output, publish_session

from .conftest import SECOND, StartServer, TokenIssuer, WebSocketClient
from .scripted import WORD
from .test_session_endings import next_ended


@pytest.fixture
def place(s3: S3, tmp_path) -> dict:
    return {"endpointURL": s3.endpoint, "credentialsDir": s3.credentials(tmp_path / "secret")}


def read(s3: S3, key: str) -> bytes:
    return s3.client.get_object(Bucket="transcripts", Key=key)["Body"].read()


async def test_a_transcript_in_every_format_and_the_manifest_last(
    start_server: StartServer, issuer: TokenIssuer, s3: S3, place
):
    server = await start_server(output=place)
    report = asyncio.create_task(next_ended(server))
    prefix = f"team-a/standup/{uuid.uuid4()}"
    claims = {"outputURI": f"s3://transcripts/{prefix}", "formats": ["txt", "json", "srt", "vtt"], "name": "standup"}
    claims["metadata"] = {"tenant_id": "회의" * 150, "session_id": "😀" * 150}
    token = issuer.token(**claims, uid="uid-1")
    async with server.connect(token) as socket:
        ws = WebSocketClient(socket)
        await ws.start(meeting_id="not the session's")
        await socket.send(SECOND)
        await ws.send("finalize")
        await socket.send(SECOND[:3_200])
        last, code = await ws.end()
    assert code == 1000
    assert last["manifest"] == f"s3://transcripts/{prefix}/manifest.json"
    manifest = Manifest.model_validate_json(read(s3, f"{prefix}/manifest.json"))
    assert (manifest.job.uid, manifest.job.name, manifest.tenant) == ("uid-1", "standup", "acme")
    assert manifest.metadata == claims["metadata"]
    assert [artifact.format for artifact in manifest.artifacts] == ["json", "srt", "txt", "vtt"]
    for artifact in manifest.artifacts:
        data = read(s3, f"{prefix}/{artifact.name}")
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (artifact.sha256, artifact.bytes)
    transcript = Transcript.model_validate_json(read(s3, f"{prefix}/transcript.json"))
    assert (transcript.meeting_id, transcript.tenant_id, transcript.model, transcript.language) == (
        "standup-42",
        "acme",
        "whisper-base",
        "en",
    )
    assert transcript.metadata == claims["metadata"]
    assert [segment.text for segment in transcript.segments] == ws.texts() == [" ".join([WORD] * 10), WORD]
    assert (transcript.duration, transcript.total_segments, transcript.confidence, transcript.has_diarization) == (
        1.1,
        2,
        0.9,
        False,
    )
    result = (await report).result
    assert (result.reason, result.manifest, result.failure) == (SessionEnd.CLIENT_ENDED, last["manifest"], None)
    assert result.artifacts == manifest.artifacts


async def test_a_manifest_that_somebody_else_wrote_is_not_the_sessions_result(
    start_server: StartServer, issuer: TokenIssuer, s3: S3, place, web
):
    """Its server has the keys of the session from the operator; what it publishes itself is proven by them."""
    web.routes["/v1/result-keys"] = reply(200, json.dumps({"keys": ["11" * 32]}).encode())
    token_file = Path(place["credentialsDir"]) / "token"
    token_file.write_text("tok")
    server = await start_server(output=place, reporting={"url": web.url, "tokenFile": str(token_file)})

    async def last_of(prefix: str, uid: str) -> dict:
        async with server.connect(issuer.token(outputURI=f"s3://transcripts/{prefix}", uid=uid)) as socket:
            ws = WebSocketClient(socket)
            await ws.start()
            await socket.send(SECOND)
            return (await ws.end())[0]

    mine, forged = f"team-a/mine/{uuid.uuid4()}", f"team-a/forged/{uuid.uuid4()}"
    assert (await last_of(mine, "uid-1"))["manifest"] == f"s3://transcripts/{mine}/manifest.json"
    document = json.loads(read(s3, f"{mine}/manifest.json"))
    assert len(document.pop("proof")) == 64
    document["job"]["uid"] = "uid-2"
    s3.client.put_object(Bucket="transcripts", Key=f"{forged}/manifest.json", Body=json.dumps(document).encode())
    last = await last_of(forged, "uid-2")
    assert "manifest" not in last
    assert last["failure"]["reason"] == "OutputForbidden"


async def test_s22_what_could_not_be_read_is_a_warning(start_server: StartServer, issuer: TokenIssuer, s3: S3, place):
    server = await start_server(output=place)
    report = asyncio.create_task(next_ended(server))
    prefix = f"team-a/unreadable/{uuid.uuid4()}"
    async with server.connect(issuer.token(outputURI=f"s3://transcripts/{prefix}")) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND)
        await ws.send("audio_chunk", audio_data="!!")
        await ws.send("audio_chunk", audio_data="AAA")
        await socket.send(SECOND)
        assert (await ws.end())[1] == 1000
    (warning,) = Transcript.model_validate_json(read(s3, f"{prefix}/transcript.json")).warnings
    assert (warning.reason, warning.start, warning.end) == (WarningReason.DAMAGED_SOURCE, 1.0, 1.0)
    assert "(2 times)" in warning.message
    (summary,) = Manifest.model_validate_json(read(s3, f"{prefix}/manifest.json")).warnings
    assert summary.reason == "DamagedSource"
    assert (await report).result.warnings == [summary]


async def test_a_session_without_speech_says_so(start_server: StartServer, issuer: TokenIssuer, s3: S3, place):
    server = await start_server(output=place)
    prefix = f"team-a/silent/{uuid.uuid4()}"
    async with server.connect(issuer.token(outputURI=f"s3://transcripts/{prefix}")) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(bytes(1_600))  # less than a word of the scripted engine
        await ws.end()
    transcript = Transcript.model_validate_json(read(s3, f"{prefix}/transcript.json"))
    assert (transcript.transcript, [warning.reason for warning in transcript.warnings]) == (
        "",
        [WarningReason.NO_SPEECH],
    )


async def test_a_session_that_publishes_nothing_reports_its_warnings_too(
    start_server: StartServer, issuer: TokenIssuer
):
    server = await start_server()
    report = asyncio.create_task(next_ended(server))
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(bytes(1_600))
        last, _ = await ws.end()
    (warning,) = (await report).result.warnings
    assert (warning.reason, warning.count) == ("NoSpeech", 1)
    assert last["warnings"] == [{"reason": "NoSpeech", "message": warning.message, "count": 1}]


async def test_s16_what_a_language_asked_for_in_vain_is_reported(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        session = next(iter(server.engine.sessions.values()))
        session.language_warnings = (ResultWarning(reason=WarningReason.LANGUAGE_UNCERTAIN, message="No Latn."),)
        await socket.send(SECOND)
        last, _ = await ws.end()
    assert [warning["message"] for warning in last["warnings"]] == ["No Latn."]


async def test_the_session_of_a_lost_client_is_published(start_server: StartServer, issuer: TokenIssuer, s3: S3, place):
    server = await start_server(output=place)
    report = asyncio.create_task(next_ended(server))
    prefix = str(uuid.uuid4())
    socket = await server.connect(issuer.token(outputURI=f"s3://transcripts/{prefix}"))
    ws = WebSocketClient(socket)
    await ws.start()
    await socket.send(SECOND)
    await ws.expect("partial")
    socket.transport.abort()
    assert (await report).result.manifest == f"s3://transcripts/{prefix}/manifest.json"
    assert WORD in Transcript.model_validate_json(read(s3, f"{prefix}/transcript.json")).transcript


async def test_audio_dropped_by_a_drain_is_reported_and_the_rest_is_published(
    start_server: StartServer, issuer: TokenIssuer, s3: S3, place
):
    server = await start_server(engine={"stuck": True}, output=place, drainSeconds=4)
    report = asyncio.create_task(next_ended(server))
    prefix = str(uuid.uuid4())
    async with server.connect(issuer.token(outputURI=f"s3://transcripts/{prefix}")) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND)
        await ws.send("finalize")
        await ws.expect("final")
        await socket.send(SECOND[:16_000])
        await ws.expect("partial")
        server.server.stop()
        last = await ws.expect("session_ended")
        assert await ws.closed() == 1012
    result = (await report).result
    assert (result.reason, result.failure) == (SessionEnd.DRAINED, FailureReason.PREEMPTED), result.message
    assert "last 0.5 s of audio" in result.message
    assert last["failure"] == {"reason": "Preempted", "message": result.message}
    assert last["manifest"] == result.manifest == f"s3://transcripts/{prefix}/manifest.json"
    transcript = Transcript.model_validate_json(read(s3, f"{prefix}/transcript.json"))
    assert [segment.text for segment in transcript.segments] == [" ".join([WORD] * 10)]


@pytest.mark.parametrize(
    ("uri", "reason"),
    [("s3://no-such-bucket/x", "OutputNotFound"), ("pvc://claim/x", "InvalidSpec"), ("/etc", "InvalidSpec")],
)
async def test_an_invalid_output(start_server: StartServer, issuer: TokenIssuer, place, uri: str, reason: str):
    server = await start_server(output=place)
    report = asyncio.create_task(next_ended(server))
    async with server.connect(issuer.token(outputURI=uri)) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND)
        last, _ = await ws.end()
    assert (len(ws.texts()), last["failure"]["reason"]) == (1, reason)
    assert ((await report).result.failure, (await report).result.manifest) == (reason, None)


async def test_publishing_is_retried_while_the_store_is_unavailable(
    start_server: StartServer, issuer: TokenIssuer, s3: S3, place, monkeypatch: pytest.MonkeyPatch
):
    """The first attempts fail; the transcript is published in the end."""
    monkeypatch.setattr(publishing, "INITIAL_BACKOFF_SECONDS", 0.05)
    tries = 0

    def failing(output, record, proofs):
        nonlocal tries
        tries += 1
        if tries < 3:
            raise WorkError(FailureReason.OUTPUT_UNAVAILABLE, "The store does not answer.")
        return publish_session(output, record, proofs)

    monkeypatch.setattr(publishing, "publish_session", failing)
    server = await start_server(output=place)
    prefix = str(uuid.uuid4())
    async with server.connect(issuer.token(outputURI=f"s3://transcripts/{prefix}")) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        last, _ = await ws.end()
    assert (tries, last["manifest"]) == (3, f"s3://transcripts/{prefix}/manifest.json")


async def test_an_unavailable_store_does_not_delay_the_drain(start_server: StartServer, issuer: TokenIssuer, place):
    away = place | {"endpointURL": "http://127.0.0.1:9"}
    (Path(place["credentialsDir"]) / "allowedPrefix").write_text(away["endpointURL"])
    server = await start_server(output=away, drainSeconds=2)
    report = asyncio.create_task(next_ended(server))
    async with server.connect(issuer.token(outputURI="s3://transcripts/x")) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND)
        await ws.expect("partial")
        server.server.stop()
        await ws.expect("final")
        await asyncio.wait_for(server.running, 10)
    result = (await report).result
    assert (result.reason, result.failure) == (SessionEnd.DRAINED, "OutputUnavailable")


def make_record(uid: str, uri: str, text: str) -> SessionRecord:
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
    first = make_record("uid-1", uri, "one")
    output = open_session_output(first.claims, PoolOutput.from_wire(place), LOOPBACK)
    manifest = publish_session(output, first)
    assert publish_session(output, first) == manifest
    assert publish_session(output, make_record("uid-1", uri, "another server's")) == manifest
    with pytest.raises(WorkError) as caught:
        publish_session(output, make_record("uid-2", uri, "another session's"))
    assert caught.value.reason == "OutputForbidden"


def test_files_of_a_server_that_died_while_publishing_are_kept(s3: S3, place):
    uri = f"s3://transcripts/{uuid.uuid4()}"
    second = make_record("uid-1", uri, "two")
    output = open_session_output(second.claims, PoolOutput.from_wire(place), LOOPBACK)
    output.create("transcript.json", b"the first part", "application/json")
    manifest = publish_session(output, second)
    assert output.read("transcript.json") == b"the first part"
    assert [artifact.name for artifact in manifest.artifacts] == ["transcript-2.json", "transcript-2.txt"]
    assert output.read("transcript-2.txt") == b"two\n"
