"""A live session whose gateway is killed: its client goes on through another, and no word is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from runtime.tests.serve.conftest import RunningServer, TokenIssuer, run_server
from runtime.tests.serve.scripted import WORD
from tests.support.apiserver import ApiServer
from tests.support.s3 import S3Server

from .conftest import GatewayProcess, running

pytestmark = pytest.mark.apiserver

CHUNK = b"\x01\x02" * 8_000
"""Half a second, in which the scripted engine hears five words."""
CHUNKS = 20


@contextlib.asynccontextmanager
async def operator(server: RunningServer, issuer: TokenIssuer) -> AsyncIterator[str]:
    """The operator's endpoint of session tokens; yield its URL."""

    async def token(request: web.Request) -> web.Response:
        asked = await request.json()
        url = f"ws://default-pool.team-a.svc:{server.http_port}/stt/realtime?session=team-a/{asked['name']}"
        given = issuer.token(name=asked["name"], uid=asked["uid"])
        # No name of the cluster is known here: that the gateway goes to the address of the server is the only way.
        answer = {"token": given, "url": url, "address": "127.0.0.1", "expirationTime": "2030-01-01T00:00:00Z"}
        return web.json_response(answer)

    application = web.Application()
    application.router.add_post("/v1/session-tokens", token)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def make_ready(apiserver: ApiServer, namespace: str) -> None:
    """Do what the operator does for the sessions of a namespace."""
    path = f"/apis/steno.dev/v1alpha1/namespaces/{namespace}/streamsessions"
    endpoint = {"protocol": "WebSocket", "url": "ws://elsewhere/stt/realtime", "tls": False}
    while True:
        found = await asyncio.to_thread(apiserver.request, "GET", path)
        for session in (each for each in found.body["items"] if not each.get("status")):
            status = {"phase": "Ready", "endpoints": [endpoint], "readyTime": datetime.now(UTC).isoformat()}
            await asyncio.to_thread(
                apiserver.request, "PATCH", f"{path}/{session['metadata']['name']}/status", {"status": status},
                content_type="application/merge-patch+json",
            )  # fmt: skip
        await asyncio.sleep(0.1)


class Client:
    """A client that keeps what it has heard, and comes back."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.finals: dict[int, str] = {}
        self.seq = 0

    @contextlib.asynccontextmanager
    async def session(self, gateway: GatewayProcess) -> AsyncIterator[tuple[ClientConnection, int]]:
        """Open the session; yield the connection, and how many messages were taken."""
        url = f"ws://127.0.0.1:{gateway.client.base_url.port}/stt/realtime"
        async with connect(url, additional_headers={"X-API-Key": self.key}, proxy=None) as socket:
            start = {"type": "start_session", "session_id": "call-1", "resume": {"seq": self.seq}}
            await socket.send(json.dumps(start))
            started = json.loads(await socket.recv())
            assert started["type"] == "session_started", started
            yield socket, started["resume"]["taken"]

    async def listen(self, socket: ClientConnection) -> dict[str, Any]:
        """Take what comes until the end; return the last message."""
        message: dict[str, Any] = {}
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                message = json.loads(text)
                self.seq = message.get("seq", self.seq)
                if message["type"] == "final":
                    assert message["seq"] not in self.finals
                    self.finals[message["seq"]] = message["text"]
        return message


async def test_a_client_goes_on_through_another_replica(apiserver: ApiServer, s3: S3Server, tmp_path: Path):
    issuer, namespace = TokenIssuer(), apiserver.namespace()
    server = await run_server(issuer, tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        url = await stack.enter_async_context(operator(server, issuer))
        ready = asyncio.create_task(make_ready(apiserver, namespace))
        stack.callback(ready.cancel)
        (tmp_path / "token").write_text("the gateway's own")
        settings = {"operator": {"url": url, "tokenFile": str(tmp_path / "token")}}

        async def replica(name: str) -> GatewayProcess:
            (tmp_path / name).mkdir()
            process = running(apiserver, s3, tmp_path / name, namespace, **settings)
            found = await asyncio.to_thread(process.__enter__)
            stack.push_async_callback(asyncio.to_thread, process.__exit__, None, None, None)
            return found

        lost, other = await replica("one"), await replica("two")
        client = Client((await asyncio.to_thread(lost.key)).key)
        async with client.session(lost) as (socket, taken):
            assert taken == 0
            listening = asyncio.create_task(client.listen(socket))
            for _ in range(CHUNKS // 2):
                await socket.send(CHUNK)
            await socket.send('{"type": "finalize"}')
            async with asyncio.timeout(30):
                while not client.finals:  # noqa: ASYNC110 - of the task
                    await asyncio.sleep(0.01)
            for _ in range(3):  # some of which may get nowhere
                await socket.send(CHUNK)
            lost.kill()
            await listening
        async with client.session(other) as (socket, taken):
            assert CHUNKS // 2 + 1 <= taken <= CHUNKS // 2 + 4
            listening = asyncio.create_task(client.listen(socket))
            for _ in range(CHUNKS + 1 - taken):
                await socket.send(CHUNK)
            await socket.send('{"type": "end_session"}')
            last = await listening
    assert (last["type"], last["reason"]) == ("session_ended", "ClientEnded")
    assert last["stats"]["audio_seconds"] == CHUNKS / 2
    assert " ".join(client.finals.values()).split() == [WORD] * CHUNKS * 5
