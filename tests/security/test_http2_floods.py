"""Floods of HTTP/2 frames and gRPC messages without a token on a real server: sessions beside them lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from steno_runtime.serve.transports.grpc.ocr import MAX_DOCUMENT_BYTES
from steno_runtime.serve.transports.grpc.server import MAX_UNAUTHENTICATED_CALLS

from .http2_floods import FLOODS, MESSAGES
from .paired import Stage, p95
from .test_hostile_files import MIB
from .test_strangers import strangers, use

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

CONNECTIONS = 3
"""Of each flood."""
MOST = 2 * MAX_UNAUTHENTICATED_CALLS * MAX_DOCUMENT_BYTES + 128 * MIB
"""A message of a document's size for each call of health, and the windows of all connections."""


def memory(pid: int, entry: str) -> int:
    """Return bytes of an entry of a process's status."""
    return int(Path(f"/proc/{pid}/status").read_text().partition(f"{entry}:")[2].split()[0]) * 1024


def forget_peak(pid: int) -> int:
    """Have a process's VmHWM begin anew; return what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return memory(pid, "VmRSS")


async def test_floods_beside_live_sessions(stage: Stage):
    server, issuer = stage.server, stage.issuer
    await use(server, issuer)  # what is loaded with the first use of it
    pid = server.process.pid
    before = forget_peak(pid)
    names = [*FLOODS, *MESSAGES]
    with strangers("http2_floods", server.grpc.rpartition(":")[2], str(CONNECTIONS), *names) as attack:
        latencies = await stage.converse(stage.crossover.run(attack))
        await use(server, issuer)
    grown = memory(pid, "VmHWM") - before
    print(f"grown by at most {grown // MIB} MiB")
    assert grown < MOST
    assert server.process.poll() is None
    stage.crossover.check(latencies, p95)
