"""Tokens that are revoked (M6): within seconds, on every protocol, in the middle of what they were good for."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import httpx
import pytest

from steno_api.pb.steno.v1 import ocr_pb2, ocr_pb2_grpc, stt_pb2
from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError
from steno_api.server.reports import PoolAnswer
from steno_runtime.ocr import pipeline as ocr_pipeline
from steno_runtime.serve import access as access_module
from steno_runtime.serve.access import SessionAccess

from .conftest import SECOND, Endpoint, RunningServer, StartServer, TokenIssuer, WebSocketClient
from .rest_support import FORM, problem
from .test_grpc import Call, Chunk

BOUND = 5.0
"""Seconds within which a token is void everywhere, with the interval of reports that pools have."""
INTERVAL = 2.0


def open_sessions(endpoint: Endpoint, revision: str, *uids: str) -> None:
    """Have the operator say which sessions are open."""
    now = datetime.now(UTC) + timedelta(minutes=1)  # later than any token of the test: its clock stands still
    endpoint.answer(end=[], known=[], revision=revision, open=list(uids), time=now.isoformat())


class Reading:
    """Replaces the OCR pipeline: reads until it is stopped."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.stopped = threading.Event()

    def __call__(self, *_: Any, check: Any, **__: Any) -> Any:
        self.begun.set()
        while True:
            try:
                check()
            except BaseException:
                self.stopped.set()
                raise
            time.sleep(0.02)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    made = Reading()
    monkeypatch.setattr(ocr_pipeline, "recognize", made)
    return made


async def status_of(call: Awaitable[Any]) -> tuple[str, str]:
    """Return the status of a gRPC call that fails, and its code."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    code = dict(caught.value.trailing_metadata() or ()).get("steno-code", "")
    return caught.value.code().name, str(code)


async def read_answer(answer: Awaitable[httpx.Response]) -> tuple[int, str]:
    return problem(await answer)


async def slow_upload(server: RunningServer, token: str) -> tuple[int, str]:
    """Send half an upload, and read the answer meanwhile, which most libraries cannot."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    head = f"POST /stt/upload HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000\r\n"
    writer.write(head.encode() + f"Content-Type: {FORM['Content-Type']}\r\n\r\n--x\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1]), json.loads(answer.partition("\r\n\r\n")[2])["code"]


async def refused_websocket(server: RunningServer, token: str) -> tuple[int, str]:
    """Return the close code of a session that cannot begin, and the code of its error."""
    async with server.connect(token) as socket:
        client = WebSocketClient(socket)
        await client.send("start_session")
        return await client.closed(), client.error()["code"]


async def test_what_is_under_way_ends_within_the_bound_and_other_sessions_go_on(  # noqa: PLR0917 - all protocols
    start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint, pipeline, reading: Reading, sample_wav
):
    open_sessions(endpoint, "1", "gone", "gone-too", "stays")
    server = await start_server(reporting=endpoint.reporting | {"intervalSeconds": INTERVAL})
    token, token_too = issuer.token(uid="gone"), issuer.token(uid="gone-too")
    pipeline.go.clear()
    staying = WebSocketClient(await server.connect(issuer.token(uid="stays")))
    await staying.start()
    live = WebSocketClient(await server.connect(token))
    await live.start()
    await live.socket.send(SECOND)
    await live.expect("partial")

    release = asyncio.Event()

    def blocked_body() -> AsyncIterator[ocr_pb2.DocumentRequest]:
        async def requests() -> AsyncIterator[ocr_pb2.DocumentRequest]:
            await release.wait()
            yield ocr_pb2.DocumentRequest()

        return requests()

    files = {"file": ("a.wav", sample_wav.read_bytes())}
    metadata = (("authorization", f"Bearer {token}"),)
    options = [("grpc.enable_http_proxy", 0)]
    async with (
        server.client(token) as client,
        grpc.aio.insecure_channel(server.grpc, options=options) as channel,
        Call(server, token_too) as call,
    ):
        documents = ocr_pb2_grpc.OCRServiceStub(channel)
        await call.send(Chunk(audio_data=SECOND))
        assert (await call.call.read()).type == stt_pb2.SESSION_STARTED
        queued = (await client.post("/stt/upload?async=true", files=files)).json()
        document = ocr_pb2.DocumentRequest(content=b"%PDF")
        batch = documents.BatchProcess(blocked_body(), metadata=metadata)
        waiting = [
            asyncio.ensure_future(each)
            for each in (
                status_of(documents.ProcessDocument(document, metadata=metadata)),
                status_of(batch.read()),
                slow_upload(server, token),
                read_answer(client.post("/stt/upload", files=files)),
            )
        ]
        await asyncio.to_thread(reading.begun.wait, 10)
        _, pending = await asyncio.wait(waiting, timeout=0.3)
        assert len(pending) == len(waiting), "all of them are under way"

        open_sessions(endpoint, "2", "stays")
        began = time.monotonic()
        ended = await asyncio.wait_for(asyncio.gather(*waiting), 20)
        assert (await live.expect("session_ended"))["reason"] == "Deleted"
        _, status, code = await call.read_all()
        took = time.monotonic() - began
        assert took < BOUND
        revoked, unauthenticated = (401, "TokenRevoked"), ("UNAUTHENTICATED", "TokenRevoked")
        assert ended == [unauthenticated, unauthenticated, revoked, revoked]
        assert (status.name, code) == ("FAILED_PRECONDITION", "SessionEnded")
        assert await asyncio.to_thread(reading.stopped.wait, 5), "nobody decodes for it any more"

        for path in ("/stt/status", queued["status_url"]):
            assert problem(await client.get(path)) in (revoked, (409, "SessionEnded"))
        other = issuer.token(uid="stays")
        async with server.client(other) as of_tenant:
            pipeline.go.set()
            async with asyncio.timeout(60):
                while (state := (await of_tenant.get(queued["status_url"])).json())["status"] != "failed":  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        assert state["error"]["code"] == "TokenRevoked"
        fresh = issuer.token(uid="never-listed")
        assert await refused_websocket(server, fresh) == (4001, "TokenRevoked")
        assert await status_of(
            documents.ProcessDocument(document, metadata=(("authorization", f"Bearer {fresh}"),))
        ) == unauthenticated  # fmt: skip
        async with Call(server, fresh) as refused:
            assert (await refused.read_all())[1:] == (grpc.StatusCode.UNAUTHENTICATED, "TokenRevoked")
        release.set()
    await staying.socket.send(SECOND)
    last, _ = await staying.end()
    assert (last["reason"], last["stats"]["audio_seconds"]) == ("ClientEnded", 1.0)


async def test_a_token_that_comes_with_the_first_message(
    start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint
):
    open_sessions(endpoint, "1", "stays")
    server = await start_server(reporting=endpoint.reporting)
    await endpoint.wait_for_report(lambda report: report.revision == "1")
    async with server.connect() as socket:
        client = WebSocketClient(socket)
        await client.send("start_session", token=issuer.token(uid="gone"))
        assert await client.closed() == 4001
        assert client.error()["code"] == "TokenRevoked"


async def test_a_batch_ends_when_its_token_expires(start_server: StartServer, issuer: TokenIssuer):
    """A call that was opened with a token would otherwise outlive it by days."""
    server = await start_server()
    now = int(time.time())
    metadata = (("authorization", f"Bearer {issuer.token(exp=now - 3)}"),)  # within the leeway for clocks
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = ocr_pb2_grpc.OCRServiceStub(channel).BatchProcess(metadata=metadata)
        await call.write(ocr_pb2.DocumentRequest())
        assert (await call.read()).error.code == "InvalidRequest"  # it is open
        async with asyncio.timeout(20):
            while time.time() <= now + 3:  # noqa: ASYNC110 - the clock of the token
                await asyncio.sleep(0.1)
        await call.write(ocr_pb2.DocumentRequest())
        assert await status_of(call.read()) == ("UNAUTHENTICATED", "TokenExpired")


async def test_an_operator_that_keeps_no_list(start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint):
    """As during an upgrade: the signature and `exp` decide."""
    server = await start_server(reporting=endpoint.reporting)
    await endpoint.wait_for_report(lambda report: report.revision == "")
    async with server.connect(issuer.token()) as socket:
        client = WebSocketClient(socket)
        await client.start()
        assert (await client.end())[0]["reason"] == "ClientEnded"


def claims(issuer: TokenIssuer, uid: str, iat: int) -> SessionClaims:
    return SessionClaims.model_validate(issuer.claims(uid=uid, iat=iat))


def answer(second: int, revision: str | None = "r", *uids: str) -> PoolAnswer:
    return PoolAnswer(revision=revision, open=list(uids), time=datetime.fromtimestamp(second, UTC))


async def test_a_session_that_is_newer_than_the_list(issuer: TokenIssuer):
    access, now = SessionAccess(), 1_800_000_000
    access.update(answer(now, "r", "known"))
    access.check(claims(issuer, "new", now))  # issued within the same second
    access.check(claims(issuer, "new", now + 3))
    with pytest.raises(ApiError, match="TokenRevoked"):
        access.check(claims(issuer, "gone", now - 1))
    access.update(PoolAnswer(revision="r", time=datetime.fromtimestamp(now + 4, UTC)))  # it is still the same list
    with pytest.raises(ApiError, match="TokenRevoked"):
        access.check(claims(issuer, "new", now + 3))


async def test_an_older_operator_takes_over(issuer: TokenIssuer):
    access, now = SessionAccess(), 1_800_000_000
    access.update(answer(now, "r"))
    access.update(PoolAnswer())
    assert access.revision == "", "the next one that keeps a list is to send it whole"
    access.check(claims(issuer, "any", now - 1))


async def test_while_the_operator_is_silent_its_latest_list_is_in_force(
    issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    access, now = SessionAccess(), 1_800_000_000
    access.update(answer(now, "r", "known"))
    monkeypatch.setattr(access_module, "SILENCE_SECONDS", -1.0)
    access.note_silence()
    access.note_silence()
    assert [record.message for record in caplog.records].count(caplog.records[-1].message) == 1
    assert "has not answered" in caplog.text
    access.check(claims(issuer, "known", now - 100))
    access.check(claims(issuer, "new", now + 100))  # the operator issued it since
    with pytest.raises(ApiError, match="TokenRevoked"):
        access.check(claims(issuer, "gone", now - 100))


async def test_holds_keep_other_timeouts_apart(issuer: TokenIssuer):
    access, now = SessionAccess(), 1_800_000_000
    with pytest.raises(TimeoutError):
        async with access.hold(claims(issuer, "a", now)):
            raise TimeoutError

    async def work() -> None:
        async with access.hold(claims(issuer, "a", now)):
            access.update(answer(now + 2, "r", "b"))
            await asyncio.Event().wait()

    with pytest.raises(ApiError, match="TokenRevoked"):
        await work()
    async with access.hold(claims(issuer, "b", now)):
        access.update(answer(now + 3, "r2", "b"))
        await asyncio.sleep(0)
