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
    """

    url: str
    port: int
    process: subprocess.Popen[bytes]

    def executions(self, model: str) -> tuple[int, int]:
        """Return how many rows a model was asked for since the start, and in how many executions they ran."""
        with _client(self.url) as client:
            (statistics,) = client.get_inference_statistics(model).model_stats
        return statistics.inference_count, statistics.execution_count


@contextlib.contextmanager
def serve(repository: Path, log: Path) -> Iterator[TritonProcess]:
    """Serve a model repository on loopback, by gRPC alone.

    Args:
        repository: a folder of models.
        log: what the server prints is written there.

    Raises:
        RuntimeError: it did not start; the message has the end of its log.
    """
    server = triton.installed()
    running = _started(server, repository, log)
    try:
        yield running
    finally:
        _end(server, running)


def _started(server: triton.Triton, repository: Path, log: Path) -> TritonProcess:
    """Start a server until one has loaded its models.

    The Python backend of 2.51 ends the server (`boost::interprocess::lock_exception`) if a model that is loading holds
    a lock for longer than a second, as on a machine with many more processes than cores.
    """
    for _ in range(START_ATTEMPTS):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with log.open("ab") as out:
            command = server.command(repository, port=port)
            process = subprocess.Popen(command, env=server.environment(), stdout=out, stderr=subprocess.STDOUT)
        running = TritonProcess(f"127.0.0.1:{port}", port, process)
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
def _client(url: str) -> Iterator[Any]:
    import tritonclient.grpc as grpcclient

    client = grpcclient.InferenceServerClient(url)
    try:
        yield client
    finally:
        client.close()


def _is_ready(running: TritonProcess) -> bool:
    """Return whether a server has loaded its models, once it has, or has ended."""
    from tritonclient.utils import InferenceServerException

    deadline = time.monotonic() + START_SECONDS
    with _client(running.url) as client:
        while running.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(InferenceServerException):
                if client.is_server_ready(client_timeout=2):
                    return True
            time.sleep(0.1)
    return False
