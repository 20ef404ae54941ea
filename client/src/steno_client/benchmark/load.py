"""Load generator: documents a few at a time and live sessions in real time, measured as their clients see them."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from steno_client.audio import CHUNK_SECONDS, Recording
from steno_client.benchmark.targets import Measured
from steno_client.errors import CommandError
from steno_client.evaluation.manifest import Item, Medium
from steno_client.evaluation.server import PoolServer
from steno_client.streaming import Event, SessionRequest, stream_audio
from steno_client.target import Target

GPU_INTERVAL_SECONDS = 1.0
_NVIDIA_SMI = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")


@dataclass
class _Client:
    """One live session."""

    lags: list[float] = field(default_factory=list[float])
    opened: float | None = None
    closed: float = 0.0
    spoken: float = 0.0
    """When its first sample was."""
    failure: str | None = None

    def on_event(self, event: Event) -> None:
        match event.get("type"):
            case "session_started":
                self.opened = time.monotonic()
            case "partial":
                self.lags.append(time.monotonic() - self.spoken - event["end_ms"] / 1000)

    async def speak(self, recording: Recording, seconds: float) -> AsyncIterator[bytes]:
        """Yield the recording's chunks again and again, each once it was spoken."""
        self.spoken = time.monotonic()
        size = len(next(recording.chunks()))
        chunks = [chunk for chunk in recording.chunks() if len(chunk) == size]
        for number in range(int(seconds / CHUNK_SECONDS)):
            await asyncio.sleep(self.spoken + (number + 1) * CHUNK_SECONDS - time.monotonic())
            yield chunks[number % len(chunks)]


async def live_sessions(targets: Sequence[Target], recording: Recording, seconds: float) -> Measured:
    """Open a session at each target, all of them within a tenth of the time, and speak.

    Args:
        targets: one for each session.
        recording: what each says, from its beginning again if it is shorter.
        seconds: for which each speaks.
    """
    request = SessionRequest(recording.sample_rate)

    async def run(number: int, target: Target) -> _Client:
        client = _Client()
        await asyncio.sleep(seconds / 10 * number / len(targets))
        try:
            await stream_audio(target, client.speak(recording, seconds), request, client.on_event, interruptible=False)
        except CommandError as error:
            client.failure = str(error)
        client.closed = time.monotonic()
        return client

    clients = await asyncio.gather(*(run(number, target) for number, target in enumerate(targets)))
    return Measured(
        streams=_most_at_a_time([(one.opened, one.closed) for one in clients if one.opened and not one.failure]),
        partial_lags=[lag for one in clients for lag in one.lags],
        attempted=len(clients),
        failures=[one.failure for one in clients if one.failure],
    )


def _most_at_a_time(spans: Sequence[tuple[float, float]]) -> int:
    """Return how many spans of time overlapped at most."""
    changes = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


async def documents(server: PoolServer, page: Path, count: int, at_a_time: int) -> Measured:
    """Have a page read `count` times; a server that is full is asked again, and the time goes on.

    Args:
        server: which server.
        page: an image or PDF.
        count: how often.
        at_a_time: requests that are open at the same time.
    """
    item = Item(page.stem, page, Medium.DOCUMENT)
    places = asyncio.Semaphore(at_a_time)
    seconds: list[float] = []
    failures: list[str] = []

    async def run() -> None:
        async with places:
            begun = time.monotonic()
            try:
                await asyncio.to_thread(server.recognise, item)
            except CommandError as error:
                failures.append(str(error))
            else:
                seconds.append(time.monotonic() - begun)

    await asyncio.gather(*(run() for _ in range(count)))
    return Measured(document_seconds=seconds, attempted=count, failures=failures)


async def with_gpu_use(run: Coroutine[Any, Any, Measured]) -> Measured:
    """Return the figures of a run with how busy the GPUs of this machine were meanwhile, if it has any."""
    shares: list[float] = []
    sampling = asyncio.create_task(_sample_gpus(shares))
    try:
        found = await run
    finally:
        sampling.cancel()
    return replace(found, gpu_shares=shares)


async def _sample_gpus(shares: list[float]) -> None:
    program = shutil.which("nvidia-smi")
    while program is not None:
        process = await asyncio.create_subprocess_exec(
            program, *_NVIDIA_SMI, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        out, _ = await process.communicate()
        shares += [int(line) / 100 for line in out.decode().split() if line.isdigit()]
        await asyncio.sleep(GPU_INTERVAL_SECONDS)


def combine(one: Measured, other: Measured) -> Measured:
    """Return the figures of two runs as those of one."""
    return Measured(
        max(one.streams, other.streams),
        [*one.partial_lags, *other.partial_lags],
        [*one.document_seconds, *other.document_seconds],
        one.attempted + other.attempted,
        [*one.failures, *other.failures],
        [*one.gpu_shares, *other.gpu_shares],
    )
