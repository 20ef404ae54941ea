"""How many short recordings a pool's warm server gets through, without Kubernetes: one process, and an S3 server.

    uv run python -m bench.warm_clips --clips 60 --rounds 3

Each arm takes the same clips of five seconds of speech from a queue in memory, fetches them from S3, transcribes them
with Whisper base and publishes the transcripts to S3, with proofs; an operator of this process records each end at
once. Rounds are interleaved, so that load on the machine affects all arms alike. Arms:

- `in turn`: two attempts at a time, whose models work one after the other;
- `beside sessions`: as a server that has live sessions, too: attempts do not wait for each other;
- `side by side`: as a server that has none: and the engine has as many workers as there are cores.

CPU time is that of this process, and that of the sandbox in which recordings are decoded; the S3 server's is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
import botocore.exceptions

from bench.executions import CLIP_SECONDS, OFFSETS, cut
from hack.models import build
from hack.tools import path as program
from steno_api.model import ObjectRef
from steno_api.server.task import ATTEMPTS_AT_ONCE, PoolQueue, PoolTask
from steno_api.v1alpha1.job import Progress
from steno_api.v1alpha1.transcriptionjob import SpeechModel
from steno_api.worker.report import AttemptAnswer, AttemptReport
from steno_api.worker.task import AnyTask, EgressRules, TaskOutput, TaskSource, TranscriptionTask
from steno_api.worker.termination import Succeeded, TerminationMessage
from steno_queue.memory import MemoryQueue
from steno_queue.message import Message
from steno_queue.settings import QueueSettings
from steno_runtime import sandbox
from steno_runtime.cores import available_cores
from steno_runtime.media.sandboxed import MODULES
from steno_runtime.serve.queue_worker import BRIEF_BESIDE_SESSIONS
from steno_runtime.stream.engine import BatchEngine
from steno_runtime.stream.scheduler import Scheduler
from steno_runtime.stt.engine import AutoLanguage, Decoded, DecodeProfile, Engine
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import load_engine
from steno_runtime.worker.consumer import BRIEF_AT_ONCE, Consumer
from steno_runtime.worker.signals import StopRequest
from steno_runtime.worker.warm import WarmWorker

if TYPE_CHECKING:
    from steno_runtime.errors import Check
    from steno_runtime.stt.engine import Samples

POOL = ObjectRef(namespace="bench", name="warm", uid="pool")
KEY = b"k" * 32
ACCESS, SECRET = "steno", "steno-secret-key"
SOURCES, RESULTS = "sources", "results"
TICK = 1 / os.sysconf("SC_CLK_TCK")


class InTurn(BatchEngine):
    """An engine that one attempt after the other decodes with."""

    _turn = threading.Lock()

    def share(self, check: Check) -> AbstractContextManager[Engine]:  # noqa: ARG002 - as the engine's
        """See `SharedEngine`."""
        return nullcontext(self)

    def decode(
        self,
        windows: Sequence[Samples],
        language: str | AutoLanguage,
        profile: DecodeProfile = DecodeProfile.BEAM_WITH_FALLBACK,
    ) -> list[Decoded]:
        """See `Engine`."""
        with self._turn:
            return super().decode(windows, language, profile)


@dataclass(frozen=True)
class Arm:
    """A way to set a server up."""

    side_by_side: bool
    engine: Callable[[Scheduler, Engine], BatchEngine] = BatchEngine
    brief_at_once: int = BRIEF_AT_ONCE


ARMS = {
    "in turn": Arm(side_by_side=False, engine=InTurn, brief_at_once=0),
    "beside sessions": Arm(side_by_side=False, brief_at_once=BRIEF_BESIDE_SESSIONS),
    "side by side": Arm(side_by_side=True),
}


@dataclass
class Figures:
    """The measurements of one round of one arm."""

    clips: int
    seconds: float
    cpu: float
    """Seconds of CPU time of this process for each clip."""
    sandbox_cpu: float
    rows: float
    """Mean number of windows decoded together."""
    load: float
    """Load average of the last minute when the round started."""
    stages: dict[str, float] = field(default_factory=dict[str, float])
    """Mean seconds that an attempt spends in each stage."""

    @property
    def per_second(self) -> float:
        """Clips each second."""
        return self.clips / self.seconds


class TimedWorker(WarmWorker):
    """A worker that notes how long attempts are in each stage."""

    def __init__(self, pool: PoolTask, engine: BatchEngine, *, at_once: int) -> None:
        super().__init__(pool, engine, at_once=at_once)
        self.stages: defaultdict[str, float] = defaultdict(float)
        self.failed: list[TerminationMessage] = []

    def work(
        self, task: AnyTask, stop: StopRequest, on_progress: Callable[[Progress], None], **options: Any
    ) -> TerminationMessage:
        """See `WarmWorker`."""
        moments: list[tuple[str, float]] = []

        def note(progress: Progress) -> None:
            moments.append((progress.stage.value, time.monotonic()))
            on_progress(progress)

        ended = super().work(task, stop, note, **options)
        moments.append(("", time.monotonic()))
        for (stage, begin), (_, end) in pairwise(moments):
            self.stages[stage] += end - begin
        if not isinstance(ended.result, Succeeded):
            self.failed.append(ended)
        return ended


class Operator:
    """Records the end of each attempt at once."""

    def __init__(self, clips: int) -> None:
        self._left, self.done = clips, asyncio.Event()

    async def send(self, report: AttemptReport) -> AttemptAnswer:
        """See `Reports`."""
        self._left -= report.ended is not None
        if not self._left:
            self.done.set()
        first = report.progress is None and report.ended is None
        return AttemptAnswer(recorded=report.ended is not None, keys=[KEY.hex()] if first else [])

    async def aclose(self) -> None:
        """See `Reports`."""


@dataclass(frozen=True)
class Place:
    """Where the bench runs: an S3 server with the clips, its credentials, and a folder for what does not last."""

    endpoint: str
    folder: Path
    server: int
    """Process of the S3 server."""

    def pool(self) -> PoolTask:
        """Return what the server is told."""
        return PoolTask(
            pool=POOL,
            tenant="bench",
            model=SpeechModel(name="whisper-base"),
            model_store=str(build()),
            device="cpu",
            scratch_dir=str(self.folder / "scratch"),
            max_sessions=1,
            token_keys=[],
            egress=EgressRules(allowed_networks=["127.0.0.0/8"]),
            queue=PoolQueue(settings={"kind": "Memory"}, credentials_root=str(self.folder / "secrets")),
        )

    def message(self, name: str, clip: int) -> Message:
        """Return the message of a job that transcribes a clip."""
        secret = str(self.folder / "secrets" / "s3")
        where = {"endpoint_url": self.endpoint, "credentials_dir": secret}
        task = TranscriptionTask(
            job=ObjectRef(namespace=POOL.namespace, name=name, uid=name),
            attempt=1,
            tenant="bench",
            meeting_id=name,
            source=TaskSource(uri=f"s3://{SOURCES}/clip-{clip}.wav", **where),
            output=TaskOutput(uri=f"s3://{RESULTS}/{name}", formats=["json"], **where),
            model=SpeechModel(name="whisper-base"),
            language="en",
        )
        message = Message.of_attempt(task, namespace=POOL.namespace, pool=POOL.name, priority=0, time=datetime.now(UTC))
        return message.with_proof(KEY)


@contextmanager
def prepared() -> Iterator[Place]:
    """Start an S3 server, and put the clips there."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        endpoint = f"http://127.0.0.1:{port}"
        (folder / "buckets").mkdir()
        secret = folder / "secrets" / "s3"
        secret.mkdir(parents=True)
        values = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
        for key, value in (values | {"allowedPrefix": endpoint, "allowPlainHTTP": "true"}).items():
            (secret / key).write_text(value)
        arguments = ["--access", ACCESS, "--secret", SECRET, "--port", f"127.0.0.1:{port}", "--region", "us-east-1"]
        process = subprocess.Popen(
            [str(program("versitygw")), *arguments, "--quiet", "posix", str(folder / "buckets")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            client = boto3.client(
                "s3",
                endpoint_url=endpoint,
                aws_access_key_id=ACCESS,
                aws_secret_access_key=SECRET,
                region_name="us-east-1",
                config=botocore.config.Config(retries={"mode": "standard", "max_attempts": 8}, proxies={}),
            )
            for bucket in (SOURCES, RESULTS):
                client.create_bucket(Bucket=bucket)
            for file in cut(folder):
                client.upload_file(str(file), SOURCES, file.name)
            yield Place(endpoint, folder, process.pid)
        finally:
            process.terminate()
            process.wait(10)


def children_cpu(without: int) -> float:
    """Return the seconds of CPU time of this process's children and of those of theirs that have ended."""
    total = 0
    for path in Path("/proc/self/task").glob("*/children"):
        for pid in path.read_text().split():
            if int(pid) != without:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += sum(int(ticks) for ticks in fields[11:15])
    return total * TICK


async def consume(place: Place, worker: TimedWorker, arm: Arm, names: Sequence[str]) -> float:
    """Have clips transcribed; return the seconds that it took."""
    queue, operator = MemoryQueue(QueueSettings(kind="Memory", visibility_seconds=600)), Operator(len(names))
    for number, name in enumerate(names):
        await queue.publish(place.message(name, number % OFFSETS))
    consumer = Consumer(
        queue,
        worker,
        operator,
        pool=POOL,
        heartbeat_seconds=200,
        report_seconds=5,
        brief_at_once=arm.brief_at_once,
        wait_seconds=0.1,
    )
    begin = time.monotonic()
    running = asyncio.create_task(consumer.run())
    await operator.done.wait()
    seconds = time.monotonic() - begin
    await consumer.drain(asyncio.get_running_loop().time() + 60)
    await running
    return seconds


def measure(place: Place, engine: Engine, arm: Arm, clips: int, prefix: str) -> Figures:
    """Run one round of one arm."""
    load, scheduler = os.getloadavg()[0], Scheduler(engine)
    try:
        worker = TimedWorker(place.pool(), arm.engine(scheduler, engine), at_once=ATTEMPTS_AT_ONCE)
        cpu, children = time.process_time(), children_cpu(place.server)
        seconds = asyncio.run(consume(place, worker, arm, [f"{prefix}-{number}" for number in range(clips)]))
        cpu, children = time.process_time() - cpu, children_cpu(place.server) - children
        rows = scheduler.mean_batch_size
    finally:
        scheduler.close()
    if worker.failed:
        sys.exit(f"{len(worker.failed)} clips failed; the first: {worker.failed[0]}")
    stages = {stage: total / clips for stage, total in worker.stages.items()}
    return Figures(clips, seconds, cpu / clips, children / clips, rows, load, stages)


def table(found: dict[str, list[Figures]]) -> str:
    """Return the figures as Markdown tables: the median of the rounds."""
    lines = ["| | clips/s | CPU s a clip | of it in the sandbox | windows a batch |", "|---|---|---|---|---|"]
    stages = dict.fromkeys(stage for rounds in found.values() for each in rounds for stage in each.stages)

    def middle(rounds: Sequence[Figures], value: Callable[[Figures], float]) -> float:
        return statistics.median(value(each) for each in rounds)

    for name, rounds in found.items():
        whole = middle(rounds, lambda each: each.cpu + each.sandbox_cpu)
        inside, rows = middle(rounds, lambda each: each.sandbox_cpu), middle(rounds, lambda each: each.rows)
        speed = middle(rounds, lambda each: each.per_second)
        lines.append(f"| {name} | {speed:.2f} | {whole:.3f} | {inside:.3f} | {rows:.1f} |")
    lines += ["", "| milliseconds of an attempt | " + " | ".join(stages) + " |", "|---" * (len(stages) + 1) + "|"]
    for name, rounds in found.items():
        cells = [f"{1000 * middle(rounds, lambda each, it=it: each.stages.get(it, 0.0)):.0f}" for it in stages]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    loads = [each.load for rounds in found.values() for each in rounds]
    return "\n".join([*lines, "", f"Load average before rounds: {min(loads):.1f}-{max(loads):.1f}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60, help="clips of each round")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for warm_clips.json and warm_clips.md")
    arguments = parser.parse_args()
    found: dict[str, list[Figures]] = {name: [] for name in arguments.arms}
    with ExitStack() as stack:
        place = stack.enter_context(prepared())
        sandbox.prepare(*MODULES)
        options = TranscriptionOptions(model="whisper-base", model_store=build(), device="cpu")
        engines = {
            side: load_engine(replace(options, side_by_side=side))
            for side in dict.fromkeys(ARMS[name].side_by_side for name in arguments.arms)
        }
        for name in arguments.arms:  # the first clip of an engine takes longer
            measure(place, engines[ARMS[name].side_by_side], ARMS[name], 2, f"first-{name.replace(' ', '-')}")
        for number in range(arguments.rounds):
            turn = number % len(arguments.arms)
            for name in (*arguments.arms[turn:], *arguments.arms[:turn]):
                arm, prefix = ARMS[name], f"{name.replace(' ', '-')}-{number}"
                found[name].append(figures := measure(place, engines[arm.side_by_side], arm, arguments.clips, prefix))
                print(f"round {number + 1} {name:15} {figures.per_second:.2f} clips/s {figures}", flush=True)
    title = f"{arguments.clips} clips of {CLIP_SECONDS} s, {arguments.rounds} round(s), {available_cores()} cores, int8"
    text = f"{title}.\n\n{table(found)}\n"
    print(f"\n{text}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "warm_clips.md").write_text(text)
        data = {name: [asdict(each) for each in rounds] for name, rounds in found.items()}
        (arguments.out / "warm_clips.json").write_text(json.dumps({"title": title, "rounds": data}, indent=2) + "\n")


if __name__ == "__main__":
    main()
