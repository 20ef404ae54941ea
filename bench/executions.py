"""How fast many short recordings are transcribed by a pool's warm server, and by a Job for each.

    STENO_E2E_KEEP=1 make e2e ARGS='-k test_a_job_that_is_deleted_leaves_the_pool_to_the_next'
    uv run python -m bench.executions --clips 100 --arms pool job
    make kind-down CLUSTER=steno-e2e

The first command brings up the cluster that this one needs: the chart with a Redis for queues, S3, and one node with
four test GPUs, so that four of the Jobs' pods run at a time; it ends with one test, which shows that the queue works.
The cluster is that of STENO_E2E_CLUSTER (steno-e2e).

Each arm transcribes the same clips of five seconds of speech, submitted as fast as the API server takes them, after one
that warms it up. Time runs from the request that creates a job to the event that says that its results are published.
The pool has one server, and is gone before the other arm begins: both have the node to themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
import wave
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from kubernetes import client, watch
from urllib3.exceptions import HTTPError

from hack.queue_server import CREDENTIALS
from hack.queue_server import SECRET as QUEUE_SECRET
from tests.e2e.kube import BASE, GROUP, PLURAL, RESULTS, SECRET, SOURCES, VERSION, Kube, Store, cluster_name, condition
from tests.e2e.media import sample

ArmName = Literal["pool", "job"]
ARMS: tuple[ArmName, ...] = ("pool", "job")
POOL, POOLS = "bench", "runtimepools"
CLIP_SECONDS = 5
OFFSETS = 20
"""Different clips that the sample is cut into; jobs use them in turn."""
AT_ONCE = 8
"""Jobs that are submitted at the same time."""
READY_SECONDS = 600.0
ROUND_SECONDS = 7200.0
"""Time after which a round counts as failed."""


class BenchError(Exception):
    """A round did not finish, or did not do what it should."""


@dataclass(frozen=True)
class Figures:
    """The measurements of one round of one arm."""

    clips: int
    seconds: float
    """From the first submission to the last result."""
    median: float
    """Seconds from a clip's submission to its result."""
    p95: float
    longest: float
    load: float
    """Load average of the last minute when the round started."""

    @property
    def per_second(self) -> float:
        """Clips each second."""
        return self.clips / self.seconds


class Results:
    """Watches the jobs of a namespace, and remembers when each was first seen to be over."""

    def __init__(self, custom: client.CustomObjectsApi, namespace: str) -> None:
        self._custom, self._namespace = custom, namespace
        self._changed, self._stopped = threading.Condition(), False
        self._stream = watch.Watch()
        self._thread = threading.Thread(target=self._run, name="results", daemon=True)
        self.complete: dict[str, float] = {}
        self.failed: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._stream.stop()

    def wait(self, names: Sequence[str], seconds: float) -> None:
        """Wait until jobs are complete.

        Args:
            names: of the jobs.
            seconds: at most.

        Raises:
            BenchError: one failed, or they are not in time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.failed or self.complete.keys() >= set(names), seconds)
            missing = [name for name in names if name not in self.complete]
            if self.failed or missing:
                raise BenchError(f"{len(missing)} of {len(names)} jobs are not complete; failed: {self.failed}")

    def _run(self) -> None:
        where = (GROUP, VERSION, self._namespace, PLURAL)
        while not self._stopped:
            # Each watch begins with the jobs as they are, so one that breaks misses nothing.
            with suppress(client.ApiException, HTTPError, OSError):
                events: Any = self._stream.stream(
                    self._custom.list_namespaced_custom_object, *where, timeout_seconds=300
                )
                for event in events:
                    self._take(event["object"], time.monotonic())

    def _take(self, job: dict[str, Any], now: float) -> None:
        name, failed = job["metadata"]["name"], condition(job, "Failed")
        with self._changed:
            if condition(job, "Complete").get("status") == "True":
                self.complete.setdefault(name, now)
            elif failed.get("status") == "True":
                self.failed[name] = failed.get("message", "")
            else:
                return
            self._changed.notify_all()


def submit(custom: client.CustomObjectsApi, namespace: str, bodies: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Create jobs, some at the same time; return when each request began."""

    def create(body: dict[str, Any]) -> tuple[str, float]:
        began = time.monotonic()
        custom.create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, body)
        return body["metadata"]["name"], began

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return dict(threads.map(create, bodies))


def measure(custom: client.CustomObjectsApi, namespace: str, bodies: Sequence[dict[str, Any]]) -> Figures:
    """Run a first job, then all others at once; return the figures of those.

    Args:
        custom: the API server.
        namespace: of the jobs.
        bodies: the jobs, at least three.

    Raises:
        BenchError: they did not all succeed in time.
    """
    first, *others = bodies
    with Results(custom, namespace) as results:
        submit(custom, namespace, [first])
        results.wait([first["metadata"]["name"]], READY_SECONDS)
        load = os.getloadavg()[0]
        began = submit(custom, namespace, others)
        results.wait(list(began), ROUND_SECONDS)
    waits = [results.complete[name] - moment for name, moment in began.items()]
    end = max(results.complete[name] for name in began)
    return Figures(
        clips=len(others),
        seconds=end - min(began.values()),
        median=statistics.median(waits),
        p95=statistics.quantiles(waits, n=20, method="inclusive")[-1],
        longest=max(waits),
        load=load,
    )


class Bench:
    """A namespace of a cluster, with the clips in its store."""

    def __init__(self, kube: Kube, store: Store) -> None:
        self._kube, self._store = kube, store

    def run(self, arm: ArmName, clips: int, number: int) -> Figures:
        """Run one round of one arm.

        Args:
            arm: which.
            clips: how many are measured, beside the first.
            number: of the round.

        Raises:
            BenchError: it did not finish, or a clip was not published exactly once.
        """
        prefix = f"{arm}-{number}-"
        spec = {"execution": "Pool", "poolRef": {"name": POOL}} if arm == "pool" else {"execution": "Job"}
        bodies = [
            self._kube.job(f"{prefix}{each:05}", f"clip-{each % OFFSETS}.wav", language="en", **spec)
            for each in range(clips + 1)
        ]
        with self._pool() if arm == "pool" else nullcontext():
            figures = measure(self._kube.custom, self._kube.namespace, bodies)
        for body in bodies:
            self._check(body["metadata"]["name"])
        return figures

    def _check(self, name: str) -> None:
        """Check that a job's results were published once."""
        job = self._kube.get(name)
        folder = f"{self._kube.namespace}/{name}/{job['metadata']['uid']}"
        keys = self._store.results(f"{self._kube.namespace}/{name}/")
        if keys != [f"{folder}/manifest.json", f"{folder}/transcript.json"]:
            raise BenchError(f"{name} published {keys}")

    @contextmanager
    def _pool(self) -> Iterator[None]:
        """Have a warm server, and none afterwards."""
        spec = {
            "profileRef": {"name": "gpu"},
            "model": BASE,
            "workloads": ["Queue"],
            "queue": {"secretRefs": [{"name": SECRET}]},
            "minReplicas": 1,
            "maxReplicas": 1,
        }
        about = {"name": POOL, "namespace": self._kube.namespace}
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "RuntimePool", "metadata": about, "spec": spec}
        self._kube.kubectl("apply", "-f", "-", stdin=json.dumps(body))
        self._wait(f"runtimepool/{POOL}", "--for=jsonpath={.status.readyReplicas}=1")
        try:
            yield
        finally:
            self._kube.kubectl("delete", "runtimepool", POOL, "--wait=false")
            self._wait("pod", "-l", "steno.dev/pool", "--for=delete")

    def _wait(self, *words: str) -> None:
        """Wait with kubectl, in pieces that it is given the time for."""
        end = time.monotonic() + READY_SECONDS
        while "condition met" not in (said := self._kube.kubectl("wait", *words, "--timeout=60s", check=False)):
            if "no matching resources" in said:
                return
            if time.monotonic() > end:
                raise BenchError(f"not in {READY_SECONDS:.0f} s: {' '.join(words)}: {said}")


def cut(folder: Path) -> list[Path]:
    """Cut the sample into clips that overlap."""
    with wave.open(str(sample(".wav"))) as reader:
        about, rate = reader.getparams(), reader.getframerate()
        data, width = reader.readframes(reader.getnframes()), reader.getsampwidth() * reader.getnchannels()
    files: list[Path] = []
    for number in range(OFFSETS):
        begin = number * rate * width
        files.append(folder / f"clip-{number}.wav")
        with wave.open(str(files[-1]), "wb") as writer:
            writer.setparams(about)
            writer.writeframes(data[begin : begin + CLIP_SECONDS * rate * width])
    return files


@contextmanager
def prepared() -> Iterator[Bench]:
    """Make a namespace of the cluster, and put the clips into its store; the namespace is deleted in the end."""
    kube = Kube(cluster_name(), f"bench-{os.getpid()}")
    about = kube.info
    store = Store(about.s3_endpoint, about.s3_access_key, about.s3_secret_key, about.s3_endpoint_in_cluster)
    s3 = store.client()
    for bucket in (SOURCES, RESULTS):
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
            s3.create_bucket(Bucket=bucket)
    with tempfile.TemporaryDirectory() as folder:
        for file in cut(Path(folder)):
            store.put(file.name, file)
    kube.core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=kube.namespace)))
    try:
        for name, values in ((SECRET, store.secret(SECRET)["stringData"]), (QUEUE_SECRET, CREDENTIALS)):
            secret = client.V1Secret(metadata=client.V1ObjectMeta(name=name), string_data=values)
            kube.core.create_namespaced_secret(kube.namespace, secret)
        yield Bench(kube, store)
    finally:
        kube.core.delete_namespace(kube.namespace)


def table(found: dict[ArmName, list[Figures]]) -> str:
    """Return the figures as a Markdown table: the median of the rounds, and how many times faster the pool is."""
    lines = ["| | clips/s | p50 | p95 | longest | all of them |", "|---|---|---|---|---|---|"]
    for arm, rounds in found.items():
        middle = {
            name: statistics.median(getattr(each, name) for each in rounds)
            for name in ("per_second", "median", "p95", "longest", "seconds")
        }
        speed, *times = middle.values()
        lines.append(f"| {arm} | {speed:.2f} | " + " | ".join(f"{seconds:.1f} s" for seconds in times) + " |")
    if set(found) == set(ARMS):
        pool, job = (statistics.median(each.per_second for each in found[arm]) for arm in ARMS)
        lines += ["", f"The pool's throughput is {pool / job:.1f} times that of a Job for each clip."]
    loads = [each.load for rounds in found.values() for each in rounds]
    return "\n".join([*lines, "", f"Load average before rounds: {min(loads):.1f}-{max(loads):.1f}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100, help="clips of each arm, at least 2")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for executions.json and executions.md")
    arguments = parser.parse_args()
    if arguments.clips < 2:
        parser.error("--clips must be at least 2")
    found: dict[ArmName, list[Figures]] = {arm: [] for arm in arguments.arms}
    with prepared() as bench:
        for number in range(arguments.rounds):
            turn = number % len(arguments.arms)
            for arm in (*arguments.arms[turn:], *arguments.arms[:turn]):
                found[arm].append(figures := bench.run(arm, arguments.clips, number))
                print(f"round {number + 1} {arm:5} {figures}", flush=True)
    title = f"{arguments.clips} clips of {CLIP_SECONDS} s, {arguments.rounds} round(s), {os.cpu_count()} cores"
    text = f"{title}.\n\n{table(found)}\n"
    print(f"\n{text}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "executions.md").write_text(text)
        data = {arm: [asdict(each) for each in figures] for arm, figures in found.items()}
        (arguments.out / "executions.json").write_text(json.dumps({"title": title, "rounds": data}, indent=2) + "\n")


if __name__ == "__main__":
    main()
