"""Reports to the operator, and its answers, over a real HTTP endpoint."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runtime.tests.conftest import S3, reply
from steno_api.documents.manifest import PublishedArtifact
from steno_api.failures import FailureReason
from steno_api.model import ObjectRef
from steno_api.server.reports import PoolReport, SessionReport, SessionResult
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.streamsession import SessionStats
from steno_api.v1alpha1.transcriptionjob import TranscriptFormat
from steno_runtime.serve.sessions import registry

from .conftest import PATH, SECOND, Endpoint, RunningServer, StartServer, TokenIssuer, WebSocketClient, wait_until

OPERATOR_MAX_BODY = 1024 * 1024
"""`steno_operator.control.reports.pools.MAX_BODY`."""


async def connected(server: RunningServer, issuer: TokenIssuer, uid: str, **claims: Any) -> WebSocketClient:
    socket = await server.connect(issuer.token(uid=uid, name="standup", **claims))
    ws = WebSocketClient(socket)
    await ws.start()
    return ws


async def test_a_session_from_start_to_end(start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint):
    server = await start_server(reporting=endpoint.reporting)
    await endpoint.wait_for_report(lambda report: report.sessions == [])
    ws = await connected(server, issuer, "uid-1")
    begun = await endpoint.wait_for_report(lambda report: report.sessions[0].result is None)
    assert (begun.pool.name, begun.pool.uid) == ("default", "pool-1")
    assert begun.sessions[0].session.to_wire() == {"namespace": "team-a", "name": "standup", "uid": "uid-1"}
    assert endpoint.web.requests[0][1]["authorization"] == "Bearer report-token"
    endpoint.token.write_text("another-token")  # the kubelet renews it
    await ws.socket.send(SECOND)
    await ws.end()
    over = await endpoint.wait_for_report(lambda report: report.sessions[0].result is not None)
    assert over.sessions[0].result.reason is SessionEnd.CLIENT_ENDED
    assert over.sessions[0].stats.audio_seconds == 1.0
    assert endpoint.web.requests[-1][1]["authorization"] == "Bearer another-token"
    count = len(endpoint.reports)
    await endpoint.wait_for_report(lambda _: len(endpoint.reports) > count + 2)
    assert endpoint.reports[-1].sessions[0].result is not None  # again and again, until it is known
    endpoint.answer(end=[], known=["uid-1", "never-seen"])
    await endpoint.wait_for_report(lambda _: endpoint.reports[-1].sessions == [])


async def test_the_operator_ends_a_session(start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint):
    server = await start_server(reporting=endpoint.reporting)
    ws = await connected(server, issuer, "uid-1")
    other = await connected(server, issuer, "uid-2")
    await ws.socket.send(SECOND)
    await ws.expect("partial")
    endpoint.answer(end=[{"uid": "uid-1", "reason": "Deleted"}, {"uid": "unknown", "reason": "Deleted"}], known=[])
    assert (await ws.expect("session_ended"))["reason"] == "Deleted"
    assert await ws.closed() == 4009
    assert len(ws.texts()) == 1
    assert (await other.end())[0]["reason"] == "ClientEnded"


async def test_the_second_of_two_connections_publishes_nothing(
    start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint, s3: S3, tmp_path: Path
):
    place = {"endpointURL": s3.endpoint, "credentialsDir": s3.credentials(tmp_path / "secret")}
    server = await start_server(reporting=endpoint.reporting, output=place)
    prefix = f"twice/{uuid.uuid4()}"
    ws = await connected(server, issuer, "uid-1", outputURI=f"s3://transcripts/{prefix}")
    await ws.socket.send(SECOND)
    await ws.expect("partial")
    endpoint.answer(end=[{"uid": "uid-1", "reason": "Duplicate"}], known=[])
    assert (await ws.expect("session_ended"))["reason"] == "Duplicate"
    assert await ws.closed() == 4009
    await endpoint.wait_for_report(lambda _: endpoint.reports[-1].sessions[0].result is not None)
    result = endpoint.reports[-1].sessions[0].result
    assert result is not None
    assert (result.reason, result.manifest, result.failure) == (SessionEnd.DUPLICATE, None, None)
    assert s3.client.list_objects_v2(Bucket="transcripts", Prefix=prefix)["KeyCount"] == 0


@pytest.mark.parametrize("answer", ["unreachable", "error", "garbage", "endless"])
async def test_a_failing_operator_does_not_disturb_sessions(
    start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint, answer: str
):
    routes = {
        "error": reply(500, b"no"), "garbage": reply(200, b"{"), "endless": reply(200, b" " * 2_000_000),
    }  # fmt: skip
    if answer in routes:
        endpoint.web.routes[PATH] = routes[answer]
    reporting = endpoint.reporting | ({"url": "http://127.0.0.1:9"} if answer == "unreachable" else {})
    server = await start_server(reporting=reporting, drainSeconds=1)
    ws = await connected(server, issuer, "uid-1")
    await ws.socket.send(SECOND)
    last, code = await ws.end()
    assert (last["reason"], code, len(ws.texts())) == ("ClientEnded", 1000, 1)
    async with server.prober() as client:
        async with asyncio.timeout(15):
            while "steno_server_reports_lost_total 0.0" in (await client.get("/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    if answer in routes:  # it recovers, and learns what it missed
        endpoint.answer(end=[], known=[])
        await endpoint.wait_for_report(lambda _: endpoint.reports[-1].sessions[0].result is not None)


async def test_the_last_report_has_the_drained_sessions(
    start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint
):
    server = await start_server(reporting=endpoint.reporting | {"intervalSeconds": 60})
    ws = await connected(server, issuer, "uid-1")
    await ws.socket.send(SECOND)
    await ws.expect("partial")
    endpoint.answer(end=[], known=["uid-1"])
    server.server.stop()
    await asyncio.wait_for(server.running, 10)
    ended = [session for report in endpoint.reports for session in report.sessions if session.result]
    assert ended[-1].result.reason is SessionEnd.DRAINED


async def test_many_ends_are_reported_in_parts(
    start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(registry, "MAX_ENDS_PER_REPORT", 2)
    endpoint.web.routes[PATH] = reply(500, b"no")
    server = await start_server(reporting=endpoint.reporting)
    uids = [f"uid-{number}" for number in range(5)]
    for uid in uids:
        await (await connected(server, issuer, uid)).end()
    await wait_until(lambda: not server.server.registry.open_sessions)

    def reported() -> tuple[list[str], list[str]]:
        sessions = endpoint.reports[-1].sessions
        over = [each.session.uid for each in sessions if each.result is not None]
        return over, [each.session.uid for each in sessions if each.result is None]

    endpoint.answer(end=[], known=[])
    await endpoint.wait_for_report(lambda _: reported() == (uids[:2], uids[2:]))  # the others as open
    endpoint.answer(end=[], known=uids[:2])
    await endpoint.wait_for_report(lambda _: reported() == (uids[2:4], uids[4:]))
    endpoint.answer(end=[], known=uids[2:])
    await endpoint.wait_for_report(lambda _: reported() == ([], []))


def test_the_largest_report_fits_the_operators_limit():
    long = {"namespace": "n" * 63, "name": "s" * 253, "uid": "u" * 36}
    stats = SessionStats(
        audio_seconds=123456.789, segments=123456, partial_latency_millis=12345, final_latency_millis=12345,
        language="yue",
    )  # fmt: skip
    artifacts = [PublishedArtifact(format=fmt, name=f"transcript-12.{fmt}", sha256="a" * 64, bytes=10**9)
                 for fmt in TranscriptFormat]  # fmt: skip
    now = datetime.now(UTC)
    result = SessionResult(
        reason=SessionEnd.DRAINED, time=now, failure=FailureReason.OUTPUT_UNAVAILABLE, artifacts=artifacts,
        manifest="s3://" + "m" * 1000, message="x" * 1000,
    )  # fmt: skip
    ref = ObjectRef.model_validate(long)
    over = SessionReport(session=ref, started=now, stats=stats, result=result)
    unreported = over.model_copy(update={"result": None})
    largest = [over] * registry.MAX_ENDS_PER_REPORT + [unreported] * (
        registry.MAX_UNREPORTED - registry.MAX_ENDS_PER_REPORT
    )
    assert len(PoolReport(pool=ref, sessions=largest).to_json()) < OPERATOR_MAX_BODY
