"""A pool's queue with a worker in Go and a consumer in Python, on real servers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hack import tools
from runtime.tests.conftest import S3, reply
from steno_api.documents.manifest import Manifest
from steno_api.model import ObjectRef
from steno_api.server.task import PoolTask
from steno_api.worker.task import EgressRules, OCRTask, TaskOutput, TaskReporting, TaskSource, TranscriptionTask
from steno_api.worker.termination import Failed, Succeeded
from steno_queue.connect import open_queue
from steno_queue.interface import Queue
from steno_queue.message import Message
from steno_queue.settings import QueueSettings
from steno_runtime.publishing import Proofs
from steno_runtime.storage import open_output
from steno_runtime.worker.consumer import Consumer, OperatorReports
from steno_runtime.worker.warm import WarmWorker

from .conftest import RunningServer
from .queue_support import SECONDS, Operator

KEY = bytes(range(32))
EGRESS = EgressRules(allowed_networks=["127.0.0.1/32"])
POOL = ObjectRef(namespace="team-a", name="default", uid="pool-1")
MEDIA_TYPES = {
    "pages.json": "application/json",
    "pages.md": "text/markdown; charset=utf-8",
    "pages.txt": "text/plain; charset=utf-8",
    "searchable.pdf": "application/pdf",
    "manifest.json": "application/json",
}


class Bench:
    """A pool's queue, its consumers, and where they publish."""

    def __init__(self, folder: Path, s3: S3, port: int, server: RunningServer) -> None:
        self.operator, self.s3, self.server = Operator([KEY]), s3, server
        self.settings = QueueSettings(
            kind="RedisStreams", url=f"redis://127.0.0.1:{port}", name="steno/team-a/default", visibility_seconds=30
        )
        self.queue: Queue = open_queue(self.settings)
        self._folder = folder
        self._secret = s3.credentials(folder / "secrets" / "s3")
        (folder / "token").write_text("token")
        self._processes: list[asyncio.subprocess.Process] = []

    def task(self, **fields: Any) -> PoolTask:
        """Return the task of the pool's servers."""
        reporting = TaskReporting(url=self.operator.url, token_file=str(self._folder / "token"), interval_seconds=0.2)
        queue = {"settings": self.settings.to_wire(), "credentialsRoot": str(self._folder / "secrets")}
        document = {
            "pool": POOL.to_wire(), "tenant": "acme", "model": {"name": "whisper-base"}, "maxSessions": 4,
            "scratchDir": str(self._folder / "scratch"), "tokenKeys": [], "egress": EGRESS.to_wire(),
            "modelStore": str(self._folder / "models"), "reporting": reporting.to_wire(), "queue": queue,
        }  # fmt: skip
        return PoolTask.model_validate(document | fields)

    async def start_go(self) -> asyncio.subprocess.Process:
        name = self._folder / "pool.json"
        name.write_text(self.task().to_json())
        words = ["-task-file", str(name), "-runtime", self.server.grpc, "-plaintext", "-drain", "1s"]
        log = (self._folder / f"go-{len(self._processes)}.log").open("wb")
        program = await asyncio.to_thread(tools.path, "steno-worker")
        with log:
            self._processes.append(await asyncio.create_subprocess_exec(program, *words, stderr=log))
        return self._processes[-1]

    def logged(self, number: int = 0) -> str:
        return (self._folder / f"go-{number}.log").read_text()

    @asynccontextmanager
    async def python(self) -> AsyncIterator[Consumer]:
        """Run a consumer as a server of the pool has it."""
        task, queue = self.task(), open_queue(self.settings)
        assert task.reporting is not None
        reports = OperatorReports(task.reporting)
        consumer = Consumer(
            queue, WarmWorker(task, None, at_once=2), reports, pool=POOL, heartbeat_seconds=5, report_seconds=0.2,
            wait_seconds=0.5,
        )  # fmt: skip
        running = asyncio.create_task(consumer.run())
        try:
            yield consumer
        finally:
            await consumer.drain(asyncio.get_running_loop().time())
            await running
            await queue.aclose()
            await reports.aclose()

    async def publish(self, name: str, uri: str, *, key: bytes = KEY, **fields: Any) -> None:
        """Publish the message of a job with this name and UID."""
        output = TaskOutput(
            uri=f"s3://transcripts/go/{name}",
            endpoint_url=self.s3.endpoint,
            credentials_dir=self._secret,
            formats=fields.pop("formats", ["json", "txt"]),
        )
        task = OCRTask(
            job=ObjectRef(namespace="team-a", name=name, uid=name), attempt=fields.pop("attempt", 1), tenant="beta",
            document_id="문서 <1>",
            source=TaskSource(uri=uri, **fields.pop("source", {})), output=output, metadata={"case": "7 😀"}, **fields,
        )  # fmt: skip
        await self.send(task, key)

    async def send(self, task: OCRTask | TranscriptionTask, key: bytes = KEY) -> None:
        message = Message.of_attempt(task, namespace="team-a", pool="default", priority=0, time=datetime.now(UTC))
        assert await self.queue.publish(message.with_proof(key))

    async def done(self, *names: str) -> dict[str, Succeeded | Failed]:
        """Wait until these jobs have ended, and their messages are gone; return how."""

        def ends() -> dict[str, Succeeded | Failed]:
            return {it.job.uid: it.ended.result for it in self.operator.ends() if it.ended and it.ended.result}

        await self.operator.until(lambda: set(names) <= ends().keys())
        await self.until_empty()
        return {name: ends()[name] for name in names}

    async def until_empty(self) -> None:
        """Wait until every message is acknowledged."""
        async with asyncio.timeout(SECONDS):
            while (depth := await self.queue.depth()).waiting + depth.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def object(self, name: str, artifact: str) -> bytes:
        """Return an object of a job, whose media type is that of its format."""
        answer = self.s3.client.get_object(Bucket="transcripts", Key=f"go/{name}/{artifact}")
        assert answer["ContentType"] == MEDIA_TYPES[artifact]
        return answer["Body"].read()

    def manifest(self, name: str) -> Manifest:
        """Return a job's manifest, if it and all its artifacts have the proofs that workers ask for."""
        proofs = Proofs(lambda: [KEY])
        manifest = proofs.read(self.object(name, "manifest.json"))
        output = open_output(
            TaskOutput(
                uri=f"s3://transcripts/go/{name}",
                endpoint_url=self.s3.endpoint,
                credentials_dir=self._secret,
                formats=[],
            ),
            EGRESS,
        )
        assert all(proofs.hold(output, it.name, self.object(name, it.name)) for it in manifest.artifacts)
        return manifest

    async def close(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await self.queue.aclose()
        await asyncio.to_thread(self.operator.close)


class Gate:
    """An answer that waits: until so many have asked for it, or until an event of others."""

    def __init__(self, data: bytes, wanted: int = 2, go_on: threading.Event | None = None) -> None:
        """Prepare.

        Args:
            data: of the answer.
            wanted: so many have to ask, one of a worker that is gone included.
            go_on: set by the test that lets it go; None: by the last one that asks.
        """
        self._answer, self._wanted = reply(200, data), wanted if go_on is None else None
        self.asked, self.go_on = 0, go_on or threading.Event()
        self._changed = threading.Condition()

    def __call__(self, handler: Any) -> None:
        with self._changed:
            self.asked += 1
            self._changed.notify_all()
        if self.asked == self._wanted:
            self.go_on.set()
        self.go_on.wait(SECONDS)
        self._answer(handler)

    async def wait(self) -> None:
        """Wait until it was asked."""

        def wait() -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: self.asked, SECONDS)

        assert await asyncio.to_thread(wait)
