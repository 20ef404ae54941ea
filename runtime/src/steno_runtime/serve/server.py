"""Server of one pool replica: wires services and transports, listens, loads the model, serves, drains."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import uvicorn
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp

from steno_api.failures import FailureReason
from steno_api.gateway.key_files import KeyFile, KeyFileError
from steno_api.server.task import PoolTask
from steno_api.tls import HANDSHAKE_SECONDS, CertificateError, ServingCertificate, read_key_pair
from steno_runtime import sandbox
from steno_runtime.errors import WorkError
from steno_runtime.media.sandboxed import MODULES
from steno_runtime.ocr.open import DECODERS
from steno_runtime.serve.access import SessionAccess
from steno_runtime.serve.auth import Authenticator
from steno_runtime.serve.metering import UploadMeter
from steno_runtime.serve.metrics import Metrics
from steno_runtime.serve.queue_worker import QueueWorker
from steno_runtime.serve.readiness import Readiness
from steno_runtime.serve.sessions.driver import MAX_AUDIO_BYTES, SessionDriver
from steno_runtime.serve.sessions.registry import SessionRegistry
from steno_runtime.serve.sessions.reporter import PoolReporter
from steno_runtime.serve.transports.grpc.server import GrpcServer
from steno_runtime.serve.transports.http_connection import AllowedHosts, Authentication, http_options
from steno_runtime.serve.transports.rest.app import make_app, make_probe_app
from steno_runtime.serve.transports.rest.routes import StatusRoutes, UploadRoutes
from steno_runtime.serve.transports.websocket.endpoint import WebSocketEndpoint
from steno_runtime.serve.unauthenticated import UnauthenticatedClients, is_loopback
from steno_runtime.serve.uploads.allowed_sources import AllowedSources
from steno_runtime.serve.uploads.documents import DocumentService
from steno_runtime.serve.uploads.job_queue import JobQueue
from steno_runtime.serve.uploads.mounted_files import MountedFiles
from steno_runtime.serve.uploads.service import UploadService
from steno_runtime.serve.uploads.transcription import TranscriptionService
from steno_runtime.stream.engine import StreamEngine
from steno_runtime.stt.options import TranscriptionOptions

log = logging.getLogger(__name__)


class EngineLoader(Protocol):
    """Loads the model; see `StreamEngine.load`."""

    def __call__(self, options: TranscriptionOptions, *, max_sessions: int) -> StreamEngine: ...  # noqa: D102


DECODE_SHARE = 0.6
"""Of the drain's time, for decoding audio that was accepted; the rest is for publishing."""
FINAL_REPORT_SECONDS = 3.0
"""After the drain, for the last report and the last answers."""
KEEP_ALIVE_SECONDS = 20.0


class Ports(NamedTuple):
    """The ports of a server: those of clients, and that of the kubelet and of Prometheus."""

    http: int
    grpc: int
    probe: int


class Server:
    """One replica of a pool."""

    def __init__(self, task: PoolTask, load: EngineLoader = StreamEngine.load, *, hf_token: str | None = None) -> None:
        """Wire everything; nothing listens yet.

        Args:
            task: what is served, and how.
            load: loads the model.
            hf_token: Hugging Face token with which community-1 identifies uploads' speakers; None: by the
                models of the store.

        Raises:
            WorkError: `InvalidSpec`: the task cannot be served, or its certificate or file of keys.
        """
        self._task = task
        self._load = load
        self._certificate = None if task.tls_dir is None else _certificate(Path(task.tls_dir))
        self._stop = asyncio.Event()
        self.listening: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
        """The ports, once all are open."""
        scratch = Path(task.scratch_dir)
        scratch.mkdir(parents=True, exist_ok=True)
        self.readiness = Readiness()
        self._keys = None if task.api_keys is None else _key_file(Path(task.api_keys))
        authenticator = Authenticator(task, None if self._keys is None else self._keys.keys)
        self._access = access = SessionAccess(
            enforced=authenticator.verifier is not None, revoked=authenticator.key_revocation
        )
        self.registry = SessionRegistry(task, self.readiness, access, on_change=self._on_sessions_change)
        meter = UploadMeter(reported=task.reporting is not None and not authenticator.allows_anonymous)
        self._queue = JobQueue(scratch, access, meter)
        self._attempts = None if task.queue is None else QueueWorker(task, task.queue)
        metrics = Metrics(
            self.readiness, self.registry, self._queue, access, certificate=self._certificate, attempts=self._attempts
        )
        self.registry.on_end = metrics.session_ended
        self._reporter = None
        if task.reporting is not None:
            self._reporter = PoolReporter(
                task.pool,
                task.reporting,
                self.registry,
                access=access,
                uploads=meter,
                verifier=authenticator.verifier,
                on_lost=metrics.lost_reports.inc,
            )
        self._unauthenticated = UnauthenticatedClients(task.unauthenticated)
        driver = SessionDriver(self.registry, authenticator)
        files = None if task.audio_root is None else MountedFiles(Path(task.audio_root))
        sources = AllowedSources(
            task.allowed_sources, task.output, task.egress, files, least_rate=task.min_source_bytes_per_second
        )
        uploads = UploadService(authenticator, self.readiness, access, self._queue)
        documents = DocumentService(task, uploads, sources)
        transcriptions = TranscriptionService(task, uploads, sources, hf_token=hf_token)
        status = StatusRoutes(task, uploads, self.registry, metrics)
        local = authenticator.allows_anonymous and is_loopback(task.host)
        hosts = [Middleware(AllowedHosts, is_loopback)] if local else []
        self._probes = make_probe_app(status, hosts)
        self._app = make_app(
            UploadRoutes(uploads, transcriptions, documents),
            status,
            [WebSocketRoute("/stt/realtime", WebSocketEndpoint(driver, authenticator).serve)],
            [*hosts, Middleware(Authentication, self._unauthenticated, uploads.authenticate)],
        )
        self._grpc = GrpcServer(task, self._unauthenticated, driver, uploads, documents)

    def stop(self) -> None:
        """Start to drain."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop` is called.

        Raises:
            WorkError: the model cannot be loaded, or does not work; a port is in use; the queue's consumer failed.
        """
        http, probes = _Http(self._http_config()), _Http(_http_config(self._probes))
        sock, probe_sock = (_listen(self._task.host, port) for port in (self._task.http_port, self._task.probe_port))
        await self._grpc.set_ready(ready=False)
        grpc_port = _grpc_port(self._grpc, self._task.host, self._task.grpc_port, self._certificate)
        await self._grpc.server.start()
        serving = asyncio.create_task(http.serve(sockets=[sock]), name="http")
        probing = asyncio.create_task(probes.serve(sockets=[probe_sock]), name="probes")
        ports = Ports(sock.getsockname()[1], grpc_port, probe_sock.getsockname()[1])
        self.listening.set_result(ports)
        log.info("listening", extra={f"{name}_port": port for name, port in ports._asdict().items()})
        stopping = asyncio.create_task(self._stop.wait())
        loading = asyncio.create_task(self._load_engine(), name="load")
        reporting = asyncio.create_task(self._reporter.run(), name="reports") if self._reporter else None
        others = [reporting] if reporting else []
        consuming: list[asyncio.Task[None]] = []
        if self._certificate is not None and (folder := self._task.tls_dir) is not None:
            watching = self._certificate.watch(lambda: read_key_pair(Path(folder)))
            others.append(asyncio.create_task(watching, name="certificate"))
        if self._keys is not None:
            others.append(asyncio.create_task(self._keys.watch(self._access.recheck), name="keys"))
        try:
            await asyncio.wait((stopping, loading, serving), return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                consuming = self._consume(loading.result())
                others += consuming
                await asyncio.wait((stopping, serving, *consuming), return_when=asyncio.FIRST_COMPLETED)
            await self._drain(reporting)
            for each in consuming:
                if each.done():
                    each.result()
        finally:
            for task in (stopping, loading, *others):
                task.cancel()
            http.should_exit = probes.should_exit = True
            await self._grpc.server.stop(1.0)
            with contextlib.suppress(Exception, asyncio.CancelledError):
                async with asyncio.timeout(FINAL_REPORT_SECONDS):
                    await asyncio.gather(serving, probing)
            sock.close()
            probe_sock.close()
            if self.readiness.engine is not None:
                await asyncio.to_thread(self.readiness.engine.close)

    async def _load_engine(self) -> StreamEngine:
        task = self._task
        options = TranscriptionOptions.from_task(task)
        engine = await asyncio.to_thread(self._load, options, max_sessions=task.max_sessions)
        await asyncio.to_thread(engine.warm)
        await asyncio.to_thread(sandbox.prepare, *MODULES, *DECODERS)
        self.readiness.set_engine(engine)
        await self._grpc.set_ready(ready=self.readiness.ready)
        status = engine.status()
        log.info("ready", extra={"model": status.model, "device": status.device, "max_sessions": task.max_sessions})
        return engine

    def _consume(self, engine: StreamEngine) -> list[asyncio.Task[None]]:
        if self._attempts is None:
            return []
        return [asyncio.create_task(self._attempts.run(engine.batch_engine), name="queue")]

    async def _drain(self, reporting: asyncio.Task[None] | None) -> None:
        loop = asyncio.get_running_loop()
        now, seconds = loop.time(), self._task.drain_seconds
        log.info("draining", extra={"sessions": self.registry.open_sessions})
        self.readiness.start_draining()
        await self._grpc.set_ready(ready=False)
        decoded, until = now + seconds * DECODE_SHARE, now + seconds
        await asyncio.gather(
            self.registry.drain(decoded, until),
            self._queue.drain(until),
            *([self._attempts.drain(decoded, until)] if self._attempts is not None else []),
        )
        if self._reporter is not None:
            if reporting is not None:
                reporting.cancel()
            await self._reporter.report_until_acknowledged(max(until, loop.time() + FINAL_REPORT_SECONDS))
            await self._reporter.close()
        log.info("drained", extra={"seconds": round(loop.time() - now, 2)})

    def _on_sessions_change(self) -> None:
        if self._reporter is not None:
            self._reporter.request_report()

    def _http_config(self) -> uvicorn.Config:
        certificate = self._certificate
        return _http_config(
            self._app,
            ws_max_size=MAX_AUDIO_BYTES,
            ws_per_message_deflate=False,
            # Pings keep the connection open through proxies. They do not show whether a client is alive: its answer
            # waits behind its audio while the engine is slow. What ends a session is a lack of audio.
            ws_ping_interval=KEEP_ALIVE_SECONDS,
            ws_ping_timeout=None,
            timeout_keep_alive=75,
            **http_options(self._unauthenticated),
            ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
        )


def _http_config(app: ASGIApp, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # a URL may hold a token
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(FINAL_REPORT_SECONDS),
        **options,
    )


class _Http(uvicorn.Server):
    """A uvicorn server that leaves signals to `main`, and bounds TLS handshakes, for which uvicorn has no option."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        config, loop = self.config, asyncio.get_running_loop()
        protocol: Any = config.http_protocol_class
        make = partial(protocol, config=config, server_state=self.server_state, app_state=self.lifespan.state)
        seconds = None if config.ssl is None else HANDSHAKE_SECONDS
        self.servers = [
            await loop.create_server(
                make, sock=sock, ssl=config.ssl, ssl_handshake_timeout=seconds, backlog=config.backlog
            )
            for sock in sockets or ()
        ]
        self.started = True


def _listen(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise _port_in_use(host, port, error) from None
    sock.setblocking(False)
    return sock


def _certificate(directory: Path) -> ServingCertificate:
    try:
        return ServingCertificate(read_key_pair(directory))
    except CertificateError as error:
        raise WorkError(FailureReason.INVALID_SPEC, f"The ports cannot be opened with TLS: {error}.") from None


def _grpc_port(grpc: GrpcServer, host: str, port: int, certificate: ServingCertificate | None) -> int:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return grpc.listen(address, certificate)
    except RuntimeError:
        raise _port_in_use(host, port) from None


def _port_in_use(host: str, port: int, error: OSError | None = None) -> WorkError:
    why = "another process uses it"
    if error is not None and error.errno != errno.EADDRINUSE:
        why = f"{host} is not an address that this machine can listen on ({error.strerror})"
    return WorkError(FailureReason.INVALID_SPEC, f"Port {port} cannot be opened: {why}.")


def _key_file(path: Path) -> KeyFile:
    try:
        return KeyFile(path)
    except KeyFileError as error:
        message = f"The API keys cannot be used: {error}. Make one: steno key create --file {path}"
        raise WorkError(FailureReason.INVALID_SPEC, message) from None
