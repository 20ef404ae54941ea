"""A real Triton server for tests, with its Python backend, over a model repository."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack import triton

START_SECONDS = 120.0
"""Until every model is loaded; the models import what they need first, on a busy machine."""

START_ATTEMPTS = 3
LOCK_LOST = "lock_exception"


@dataclass(frozen=True)
class TritonProcess:
    """A running server.

    Attributes:
        url: as clients name it.
        port: of its gRPC.
        process: to be killed by a test that has a server of its own.
        ca_file: what its certificate is verified with; None: it is called without TLS.
    """

    url: str
    port: int
    process: subprocess.Popen[bytes]
    ca_file: Path | None = None

    def executions(self, model: str) -> tuple[int, int]:
        """Return how many rows a model was asked for since the start, and in how many executions they ran."""
        with _client(self) as client:
            (statistics,) = client.get_inference_statistics(model).model_stats
        return statistics.inference_count, statistics.execution_count


@contextlib.contextmanager
def serve(repository: Path, log: Path, *, certificate: Path | None = None) -> Iterator[TritonProcess]:
    """Serve a model repository on loopback, by gRPC alone.

    Args:
        repository: a folder of models.
        log: what the server prints is written there.
        certificate: a folder with `tls.crt`, `tls.key` and `ca.crt`; None: without TLS.

    Raises:
        RuntimeError: it did not start; the message has the end of its log.
    """
    server = triton.installed()
    running = _started(server, repository, log, certificate)
    try:
        yield running
    finally:
        _end(server, running)


def _started(server: triton.Triton, repository: Path, log: Path, certificate: Path | None) -> TritonProcess:
    """Start a server until one has loaded its models.

    The Python backend of 2.51 ended it with a `boost::interprocess::lock_exception` while a model was loading, twice in
    some twenty starts on a machine with eight times as many running processes as cores. Why is not known; it is no
    code of ours. Any other end is an error at once.
    """
    for _ in range(START_ATTEMPTS):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with log.open("ab") as out:
            command = server.command(repository, port=port, certificate=certificate)
            process = subprocess.Popen(command, env=server.environment(), stdout=out, stderr=subprocess.STDOUT)
        running = TritonProcess(f"127.0.0.1:{port}", port, process, certificate / "ca.crt" if certificate else None)
        if _is_ready(running):
            return running
        _end(server, running)
        if LOCK_LOST not in log.read_text(errors="replace"):
            break
    raise RuntimeError(f"Triton did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _end(server: triton.Triton, running: TritonProcess) -> None:
    running.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.process.wait(20)
    running.process.kill()
    running.process.wait()
    for left in Path("/dev/shm").glob(f"{server.shared_memory(running.port)}*"):
        left.unlink(missing_ok=True)


@contextlib.contextmanager
def _client(running: TritonProcess) -> Iterator[Any]:
    import tritonclient.grpc as grpcclient

    client = grpcclient.InferenceServerClient(
        running.url,
        ssl=running.ca_file is not None,
        root_certificates=str(running.ca_file) if running.ca_file else None,
    )
    try:
        yield client
    finally:
        client.close()


def _is_ready(running: TritonProcess) -> bool:
    """Return whether a server has loaded its models, once it has, or has ended."""
    from tritonclient.utils import InferenceServerException

    deadline = time.monotonic() + START_SECONDS
    with _client(running) as client:
        while running.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(InferenceServerException):
                if client.is_server_ready(client_timeout=2):
                    return True
            time.sleep(0.1)
    return False
