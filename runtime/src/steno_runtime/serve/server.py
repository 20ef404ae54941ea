"""The server as a whole: listens, loads its model, serves, drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import uvicorn

from steno_api.failures import FailureReason
from steno_api.server.task import PoolTask
from steno_runtime.errors import WorkError
from steno_runtime.serve.auth import Access
from steno_runtime.serve.metrics import Metrics
from steno_runtime.serve.sessions.registry import Registry
from steno_runtime.serve.sessions.reporter import Reports
from steno_runtime.serve.transports.grpc.server import GrpcServer
from steno_runtime.serve.transports.rest.app import make_app
from steno_runtime.serve.transports.websocket.endpoint import MAX_FRAME_BYTES
from steno_runtime.serve.uploads.allowed_sources import Sources
from steno_runtime.serve.uploads.documents import DocumentRest
from steno_runtime.serve.uploads.job_queue import Jobs
from steno_runtime.serve.uploads.service import Desk
from steno_runtime.serve.uploads.transcription import SpeechRest
from steno_runtime.stream.engine import EngineStatus, StreamEngine
from steno_runtime.stt.options import TranscriptionOptions

log = logging.getLogger(__name__)


class Load(Protocol):
    """Loads the model; see `StreamEngine.load`."""

    def __call__(self, options: TranscriptionOptions, *, max_sessions: int) -> StreamEngine: ...  # noqa: D102


DECODE_SHARE = 0.6
"""Of the drain's time, for decoding what was said; the rest is for publishing it."""
LAST_WORD_SECONDS = 3.0
"""After the drain, for the last report and the last answers."""
KEEP_ALIVE_SECONDS = 20.0


class Server:
    """One replica of a pool."""

    def __init__(self, task: PoolTask, load: Load = StreamEngine.load) -> None:
        """Wires everything; nothing listens yet.

        Raises:
            WorkError: `InvalidSpec`: the task cannot be served.
        """
        self._task = task
        self._load = load
        self._engine: StreamEngine | None = None
        self._stop = asyncio.Event()
        self.listening: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        """The ports, once both are open."""
        scratch = Path(task.scratch_dir)
        scratch.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(scratch)  # where forms are spooled while they come in
        access = Access(task)
        self.registry = Registry(task, changed=self._changed)
        self._jobs = Jobs(scratch)
        self._metrics = Metrics(self.registry, self._jobs, self._status)
        self.registry.on_end = self._metrics.session_ended
        self._reports = (
            Reports(task.pool, task.reporting, self.registry, self._metrics.lost_reports.inc)
            if task.reporting
            else None
        )
        sources = Sources(task.allowed_sources, task.output)
        desk = Desk(access, self.registry, self._jobs)
        documents = DocumentRest(task, desk, sources)
        speech = SpeechRest(task, desk, sources)
        self._app = make_app(task, desk, speech, documents, metrics=self._metrics, status=self._status)
        self._grpc = GrpcServer(task, self.registry, desk, documents)

    def stop(self) -> None:
        """Begins to drain."""
        self._stop.set()

    async def run(self) -> None:
        """Serves until told to stop.

        Raises:
            WorkError: the model cannot be had, or does not work; a port is taken.
        """
        http = _Http(self._http_config())
        sock = _listen(self._task.http_port)
        await self._grpc.set_ready(ready=False)
        grpc_port = _grpc_port(self._grpc, self._task.grpc_port)
        await self._grpc.server.start()
        serving = asyncio.create_task(http.serve(sockets=[sock]), name="http")
        self.listening.set_result((sock.getsockname()[1], grpc_port))
        log.info("listening", extra={"http_port": sock.getsockname()[1], "grpc_port": grpc_port})
        stopping = asyncio.create_task(self._stop.wait())
        loading = asyncio.create_task(self._make_ready(), name="load")
        reporting = asyncio.create_task(self._reports.run(), name="reports") if self._reports else None
        try:
            await asyncio.wait((stopping, loading, serving), return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                loading.result()
                await asyncio.wait((stopping, serving), return_when=asyncio.FIRST_COMPLETED)
            await self._drain(reporting)
        finally:
            for helper in (stopping, loading, *([reporting] if reporting else [])):
                helper.cancel()
            http.should_exit = True
            await self._grpc.server.stop(1.0)
            with contextlib.suppress(Exception, asyncio.CancelledError):
                async with asyncio.timeout(LAST_WORD_SECONDS):
                    await serving
            sock.close()
            if self._engine is not None:
                await asyncio.to_thread(self._engine.close)

    async def _make_ready(self) -> None:
        task = self._task
        options = TranscriptionOptions.from_task(task)
        engine = await asyncio.to_thread(self._load, options, max_sessions=task.max_sessions)
        await asyncio.to_thread(engine.warm)
        self._engine = engine
        self.registry.serve(engine)
        await self._grpc.set_ready(ready=self.registry.ready)
        status = engine.status()
        log.info("ready", extra={"model": status.model, "device": status.device, "max_sessions": task.max_sessions})

    async def _drain(self, reporting: asyncio.Task[None] | None) -> None:
        loop = asyncio.get_running_loop()
        now, seconds = loop.time(), self._task.drain_seconds
        log.info("draining", extra={"sessions": self.registry.open})
        await self._grpc.set_ready(ready=False)
        until = now + seconds
        await asyncio.gather(self.registry.drain(now + seconds * DECODE_SHARE, until), self._jobs.drain(until))
        if self._reports is not None:
            if reporting is not None:
                reporting.cancel()
            await self._reports.last(max(until, loop.time() + LAST_WORD_SECONDS))
            await self._reports.close()
        log.info("drained", extra={"seconds": round(loop.time() - now, 2)})

    def _changed(self) -> None:
        if self._reports is not None:
            self._reports.urge()

    def _status(self) -> EngineStatus | None:
        return None if self._engine is None else self._engine.status()

    def _http_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,  # a URL may hold a token
            ws_max_size=MAX_FRAME_BYTES,
            ws_per_message_deflate=False,
            # Pings keep the way open. They are no measure of life: a client's answer waits behind its audio while we
            # are slow. Silence is what ends a session.
            ws_ping_interval=KEEP_ALIVE_SECONDS,
            ws_ping_timeout=None,
            timeout_keep_alive=75,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(LAST_WORD_SECONDS),
        )


class _Http(uvicorn.Server):
    """Leaves signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("0.0.0.0", port))  # noqa: S104  (a pod's own address is known to nobody beforehand)
        sock.listen(1024)
    except OSError:
        sock.close()
        raise _taken(port) from None
    sock.setblocking(False)
    return sock


def _grpc_port(grpc: GrpcServer, port: int) -> int:
    try:
        return grpc.server.add_insecure_port(f"0.0.0.0:{port}")
    except RuntimeError:
        raise _taken(port) from None


def _taken(port: int) -> WorkError:
    return WorkError(FailureReason.INVALID_SPEC, f"Port {port} cannot be listened on: something else has it.")
