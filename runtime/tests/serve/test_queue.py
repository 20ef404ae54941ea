"""Attempts of a pool's queue: servers as processes with a real model, a real Redis, S3 server and report endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
import time
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.tests.conftest import LOOPBACK, S3, Web
from runtime.tests.ocr.render import page
from steno_api.documents.manifest import Manifest
from steno_api.model import ObjectRef
from steno_api.worker.task import OCRTask, TaskOutput, TaskSource, TranscriptionTask
from steno_api.worker.termination import Succeeded
from steno_queue.interface import Queue
from steno_queue.memory import MemoryQueue
from steno_queue.message import Message
from steno_queue.redis_streams import RedisQueue
from steno_queue.settings import QueueSettings
from steno_runtime.errors import WorkError
from steno_runtime.serve import queue_worker
from tests.support import queues

from .conftest import Endpoint, StartServer, TokenIssuer, WebSocketClient, run_server
from .process import Process, pool_task
from .queue_support import SECONDS, Operator

VISIBILITY = 3.0


class Pool:
    """A pool's queue on a Redis server, and its servers."""

    def __init__(self, folder: Path, issuer: TokenIssuer, s3: S3, port: int) -> None:
        self.operator = Operator()
        self.settings = {
            "kind": "RedisStreams", "url": f"redis://127.0.0.1:{port}", "name": "steno/team-a/default",
            "visibilitySeconds": VISIBILITY,
        }  # fmt: skip
        self.s3, self.issuer, self._folder = s3, issuer, folder
        self._secret = s3.credentials(folder / "secrets" / "s3")
        (folder / "token").write_text("token")
        self.servers: list[Process] = []

    def start(self, *, ready: bool = True, **fields: Any) -> Process:
        reporting = {"url": self.operator.url, "tokenFile": str(self._folder / "token"), "intervalSeconds": 0.2}
        task = pool_task(
            self.issuer, self._folder, reporting=reporting, egress=LOOPBACK.to_wire(), drainSeconds=10,
            queue={"settings": self.settings, "credentialsRoot": str(self._folder / "secrets")}, **fields,
        )  # fmt: skip
        name = f"server-{len(self.servers)}"
        (self._folder / f"{name}.json").write_text(json.dumps(task))
        arguments = ("--task-file", str(self._folder / f"{name}.json"))
        self.servers.append(Process(self._folder / f"{name}.log", *arguments, ready=ready))
        return self.servers[-1]

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[Queue]:
        """Connect to the queue as the operator does."""
        queue = RedisQueue(QueueSettings.model_validate(self.settings))
        try:
            yield queue
        finally:
            await queue.aclose()

    async def publish(self, queue: Queue, name: str, uri: str, *, scan: bool = False) -> None:
        """Publish a message as the operator does."""
        output = TaskOutput(
            uri=f"s3://transcripts/queue/{name}",
            endpoint_url=self.s3.endpoint,
            credentials_dir=self._secret,
            formats=["json", "txt"],
        )
        job, source = ObjectRef(namespace="team-a", name=name, uid=name), TaskSource(uri=uri)
        fields = {"job": job, "attempt": 1, "tenant": "acme", "source": source, "output": output}
        speech = {"meeting_id": "m", "model": {"name": "whisper-base"}}
        task = OCRTask(document_id="d", **fields) if scan else TranscriptionTask(**speech, **fields)
        message = Message.of_attempt(task, namespace="team-a", pool="default", priority=0, time=datetime.now(UTC))
        assert await queue.publish(message)

    def manifest(self, name: str) -> Manifest:
        body = self.s3.client.get_object(Bucket="transcripts", Key=f"queue/{name}/manifest.json")["Body"].read()
        return Manifest.model_validate_json(body)


@pytest.fixture
def pool(tmp_path: Path, issuer: TokenIssuer, s3: S3) -> Iterator[Pool]:
    with queues.redis(tmp_path) as port:
        made = Pool(tmp_path, issuer, s3, port)
        yield made
        for server in made.servers:
            server.process.kill()
            server.process.wait()
        made.operator.close()


@pytest.fixture(scope="module")
def recording(sample_wav: Path) -> bytes:
    return sample_wav.read_bytes()


@pytest.fixture(scope="module")
def pcm(sample_wav: Path) -> bytes:
    with wave.open(str(sample_wav)) as file:
        return file.readframes(10 * 16_000)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("scan") / "page.png"
    page("en", 1).image.save(path)
    return path.read_bytes()


class Drip:
    """An answer that comes bit by bit, and never ends unless it is let go."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self._data)))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        sent = 0
        with contextlib.suppress(OSError):
            while sent < len(self._data) // 2 and not self.go_on.wait(0.05):
                sent += handler.wfile.write(self._data[sent : sent + 16])
                self.begun.set()
            handler.wfile.write(self._data[sent:])

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, SECONDS)


async def finals_of(server: Process, token: str, pcm: bytes) -> list[str]:
    async with server.connect(token) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(pcm)
        async with asyncio.timeout(SECONDS):
            await ws.send("end_session")
            while ws.received[-1]["type"] != "session_ended":
                ws.received.append(json.loads(await socket.recv()))
        return ws.texts()


async def metrics_of(server: Process) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://127.0.0.1:{server.probes}/metrics")).text


@pytest.mark.slow
async def test_messages_become_results_beside_a_session_that_ends_with_the_same_finals(
    pool: Pool, web: Web, recording: bytes, scan: bytes, pcm: bytes
):  # fmt: skip
    server = await asyncio.to_thread(pool.start)
    alone = await finals_of(server, pool.issuer.token(language="en"), pcm)
    async with pool.queue() as queue:
        await pool.publish(queue, "call", web.serve("/a.wav", recording))
        await pool.publish(queue, "scan", web.serve("/page.png", scan), scan=True)
        await pool.operator.until(lambda: any(report.progress for report in pool.operator.reports))
        assert await finals_of(server, pool.issuer.token(language="en"), pcm) == alone
        await pool.operator.until(lambda: len({report.job.uid for report in pool.operator.ends()}) == 2)
        async with asyncio.timeout(SECONDS):
            while (depth := await queue.depth()).waiting + depth.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await queue.dead_letters() == []
    assert alone
    ends = {report.job.uid: report.ended for report in pool.operator.ends() if report.ended}
    assert {name: ended.result.outcome for name, ended in ends.items() if ended.result} == {
        "call": "Succeeded",
        "scan": "Succeeded",
    }, ends
    for name, ended in ends.items():
        manifest = pool.manifest(name)
        assert isinstance(ended.result, Succeeded)
        assert (ended.result.artifacts, ended.result.summary) == (manifest.artifacts, manifest.summary)
        assert manifest.job.uid == name
    assert (ends["call"].used.audio_millis, ends["scan"].used.pages) == (30_000, 1)
    metrics = await metrics_of(server)
    assert 'steno_server_queue_receives_total{again="false"} 2.0' in metrics
    assert 'steno_server_attempts_total{outcome="Succeeded"} 2.0' in metrics
    assert "steno_server_attempts_open 0.0" in metrics
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, 60) == 0


@pytest.mark.slow
async def test_the_attempt_of_a_server_that_is_killed_is_taken_over_by_another(pool: Pool, web: Web, recording: bytes):
    first = Drip(recording)
    web.routes["/a.wav"] = first
    killed = await asyncio.to_thread(pool.start)
    async with pool.queue() as queue:
        await pool.publish(queue, "lost", web.url + "/a.wav")
        await first.wait()
        web.serve("/a.wav", recording)
        killed.process.kill()
        killed.process.wait()
        first.go_on.set()
        other = await asyncio.to_thread(pool.start)
        await pool.operator.until(pool.operator.ends)
    (process,) = {report.process for report in pool.operator.ends()}
    assert process not in {report.process for report in pool.operator.reports[:1]}
    assert isinstance(pool.operator.ends()[0].ended.result, Succeeded)
    assert pool.manifest("lost").job.uid == "lost"
    assert 'steno_server_queue_receives_total{again="true"} 1.0' in await metrics_of(other)


@pytest.mark.slow
async def test_a_drain_gives_back_what_it_cannot_finish_at_once(pool: Pool, web: Web, recording: bytes):
    pool.settings["visibilitySeconds"] = 3600.0
    endless = Drip(recording)
    web.routes["/a.wav"] = endless
    server = await asyncio.to_thread(pool.start)
    async with pool.queue() as queue:
        await pool.publish(queue, "long", web.url + "/a.wav")
        await endless.wait()
        server.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert await asyncio.to_thread(server.process.wait, 60) == 0
        assert time.monotonic() - begun < 30
        (delivery,) = await queue.receive()
        assert delivery.receives == 2
    (end,) = pool.operator.ends()
    assert end.ended is not None
    assert end.ended.result is None


class BrokenQueue(MemoryQueue):
    """A queue with a defect."""

    async def receive(self, *_: Any) -> list[Any]:
        raise RuntimeError("a defect")


async def test_a_consumer_that_fails_drains_the_server_and_ends_it_with_a_reason(
    issuer: TokenIssuer, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(queue_worker, "open_queue", BrokenQueue)
    queue = {"settings": {"kind": "Memory"}, "credentialsRoot": "/nowhere"}
    server = await run_server(issuer, tmp_path, reporting=endpoint.reporting, queue=queue)
    with pytest.raises(WorkError, match="its consumer failed") as failed:
        await asyncio.wait_for(server.running, 20)
    assert failed.value.reason == "Internal"
    assert server.server.readiness.draining


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"queue": {"settings": {"kind": "RedisStreams", "url": "redis://redis.example"}}}, "allowPlaintext"),
        ({"queue": {"settings": {"kind": "Kafka"}}}, "kind: Input should be"),
        ({"queue": {"settings": {"kind": "Memory"}}, "reporting": None}, "needs an operator"),
    ],
)
async def test_a_queue_that_cannot_be_used_is_said_at_the_start(
    start_server: StartServer, endpoint: Endpoint, fields: dict[str, Any], said: str
):
    fields = {"reporting": endpoint.reporting} | fields | {"queue": fields["queue"] | {"credentialsRoot": "/x"}}
    with pytest.raises(WorkError, match=said) as failed:
        await start_server(**fields)
    assert failed.value.reason == "InvalidSpec"
