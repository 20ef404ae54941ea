"""How fast many jobs start and finish with Steno's operator, as bare Jobs, and with a kopf operator from the tutorial.

`python -m bench.operator_load [--jobs 500] [--rounds 3]` runs a real etcd, API server, controller manager and
scheduler, and 40 fake nodes whose pods succeed at once (kwok). Half of the jobs transcribe, half recognize documents;
16 are submitted at once, and every arm creates the same Jobs. Rounds are interleaved, so that load on the machine
affects all arms alike. Times are seconds from the first submission; each operator has run one job before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kubernetes.aio import client, config

from bench import tutorial_operator
from bench.arms import JOBS, Arm, Round, arms, termination_messages
from hack.paths import ROOT
from steno_kube.client import Cluster
from steno_kube.reflector import Reflector, Target
from tests.support.apiserver import ApiServer
from tests.support.nodes import serve_nodes

NODES = 40
AT_ONCE = 16
ROUND_TIMEOUT_SECONDS = 300.0
"""Time after which a round counts as failed."""
ACCOUNT = "operator"
NAMESPACE = "bench"
"""The namespace of the account whose requests are counted."""
WARM_UP = "warm-up"
PREFIX = "job-"
UNITS = {"submitted": "s", "children": "s", "complete": "s", "requests": "", "memory_mb": "MB", "cpu_seconds": "s"}


class BenchError(Exception):
    """A round did not finish."""


@dataclass(frozen=True)
class Figures:
    """The measurements of one round of one arm."""

    submitted: float
    """Seconds until everything was submitted."""
    children: float
    """Seconds until every child Job existed."""
    complete: float
    """Seconds until every owner was complete."""
    requests: int
    """Requests of the operator to the API server (of bare Jobs: of the client)."""
    memory_mb: float
    """Peak resident memory of the operator."""
    cpu_seconds: float
    """CPU time of the operator."""
    load: float
    """Load average of the last minute when the round started."""


class Tally:
    """Counts the expected jobs that reached a state, and when the last one did."""

    def __init__(self, prefix: str, count: int) -> None:
        self._prefix = prefix
        self._expected = count
        self.seen: set[str] = set()
        self.reached_at = 0.0
        self.reached = asyncio.Event()

    def count(self, name: str) -> None:
        """Count a name, once."""
        if name.startswith(self._prefix) and name not in self.seen:
            self.seen.add(name)
            if len(self.seen) == self._expected:
                self.reached_at = time.monotonic()
                self.reached.set()


@dataclass(frozen=True)
class CollectionObserver:
    """Watches a collection of child Jobs, of owners, or of objects that are both."""

    arm: Arm
    collection: str
    children: tuple[Tally, ...]
    complete: tuple[Tally, ...]

    def upsert(self, raw: dict[str, Any], /) -> None:
        """See `Sink`."""
        name = raw["metadata"]["name"]
        tallies = self.children if self.collection == JOBS else ()
        if self.collection in self.arm.owners and self.arm.complete(raw):
            tallies += self.complete
        for tally in tallies:
            tally.count(name)

    def delete(self, uid: str, /) -> None:
        """See `Sink`."""

    def replace(self, uids: Collection[str], version: str, /, namespace: str | None = None) -> None:
        """See `Sink`."""


async def submit(cluster: Cluster, arm: Arm, where: Round, names: Sequence[str]) -> None:
    """Create the object of each job, some at the same time."""
    bodies = [arm.submission(where, number, name) for number, name in enumerate(names)]
    left = iter(bodies)

    async def work() -> None:
        for collection, body in left:
            await cluster.request("POST", collection.format(namespace=where.namespace), body=body)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


@asynccontextmanager
async def operator(arm: Arm, where: Round) -> AsyncIterator[subprocess.Popen[bytes] | None]:
    """Run the operator of an arm."""
    if arm.command is None:
        yield None
        return
    command, settings = arm.command(where)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STENO_")}
    environment = {**clean, **settings, "KUBECONFIG": str(where.kubeconfig), "PYTHONPATH": str(ROOT)}
    with (where.folder / f"{where.namespace}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - forking is quick
            command, env=environment, stdout=log, stderr=log, cwd=where.folder
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def wait_for(tally: Tally, what: str, where: Round, process: subprocess.Popen[bytes] | None) -> None:
    """Wait until a tally is complete.

    Raises:
        BenchError: the operator exited, or it took too long.
    """
    end = time.monotonic() + ROUND_TIMEOUT_SECONDS
    while not tally.reached.is_set():
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > end:
            log = where.folder / f"{where.namespace}.log"
            tail = log.read_text(errors="replace")[-3000:] if log.exists() else ""
            state = "its operator exited" if ended else f"not within {ROUND_TIMEOUT_SECONDS:.0f} s"
            raise BenchError(f"{where.namespace}: {what}: {len(tally.seen)} seen; {state}\n{tail}")
        try:
            await asyncio.wait_for(tally.reached.wait(), 0.5)
        except TimeoutError:
            continue


def requests_made(server: ApiServer) -> int:
    """Return the number of requests that the API server has served for the counted account."""
    text = server.request("GET", "/metrics").message
    found = re.findall(
        r'^apiserver_flowcontrol_dispatched_requests_total\{flow_schema="bench".*\} (\S+)$', text, re.MULTILINE
    )
    return round(sum(float(value) for value in found))


async def requests_when_idle(server: ApiServer) -> int:
    """Return that number once it has almost stopped growing."""
    made = -10
    while (now := requests_made(server)) - made > 3:  # renewals of a lease go on
        made = now
        await asyncio.sleep(1)
    return now


def usage(process: subprocess.Popen[bytes] | None) -> tuple[float, float]:
    """Return the peak resident memory in MB and the CPU seconds of a process so far."""
    if process is None:
        return 0.0, 0.0
    home = Path(f"/proc/{process.pid}")
    peak = re.search(r"^VmHWM:\s+(\d+) kB", (home / "status").read_text(), re.MULTILINE)
    times = (home / "stat").read_text().rpartition(")")[2].split()[11:13]
    assert peak is not None
    return int(peak[1]) / 1000, sum(int(each) for each in times) / os.sysconf("SC_CLK_TCK")


class Bench:
    """The arms on one cluster."""

    def __init__(self, server: ApiServer, folder: Path, profile: Path | None = None) -> None:
        self._server = server
        self._folder = folder
        self._profile = profile
        self._kubeconfig = self._account()
        crd = tutorial_operator.CRD
        self._must("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
        server.kubectl("wait", "--for=condition=Established", f"crd/{crd['metadata']['name']}", "--timeout=30s")

    def _must(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._server.request(method, path, body)
        if answer.status >= 300:
            raise BenchError(f"{method} {path}: {answer.message}")
        return answer.body

    def _account(self) -> Path:
        """Create the account whose requests are counted by its flow schema, which delays none of them."""
        self._must("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        token = self._server.service_account_token(NAMESPACE, ACCOUNT)
        subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
        rights = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        rbac = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
        self._must("POST", rbac, {"metadata": {"name": "bench"}, "roleRef": rights, "subjects": [subject]})
        everything = {
            "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": ACCOUNT, "namespace": NAMESPACE}}],
            "resourceRules": [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
            ],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }
        spec = {
            "priorityLevelConfiguration": {"name": "exempt"},
            "matchingPrecedence": 2,
            "rules": [everything],
        }
        schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
        self._must("POST", schemas, {"metadata": {"name": "bench"}, "spec": spec})
        settings = json.loads(self._server.kubeconfig.read_text())
        settings["users"][0]["user"]["token"] = token
        path = self._folder / "kubeconfig"
        path.write_text(json.dumps(settings))
        return path

    async def run(self, arm: Arm, jobs: int) -> Figures:
        """Run one round of one arm, in a namespace of its own.

        Raises:
            BenchError: it did not finish.
        """
        where = Round(self._server.namespace(arm.name), self._kubeconfig, self._folder, self._profile)
        for collection, body in arm.needs(where):
            self._must("POST", collection.format(namespace=where.namespace), body)
        try:
            async with AsyncExitStack() as stack:
                counted = await _connect(stack, self._kubeconfig)
                observer = await _connect(stack, self._server.kubeconfig)
                process = await stack.enter_async_context(operator(arm, where))
                submitter = observer if process else counted
                first, children, complete = Tally(WARM_UP, 1), Tally(PREFIX, jobs), Tally(PREFIX, jobs)
                for collection in dict.fromkeys((JOBS, *arm.owners)):
                    target = Target(collection, collection.format(namespace=where.namespace))
                    observer_of_collection = CollectionObserver(arm, collection, (children,), (first, complete))
                    stack.callback(
                        asyncio.create_task(Reflector(observer, target, observer_of_collection).run()).cancel
                    )
                await submit(submitter, arm, where, [WARM_UP])
                await wait_for(first, "the first job", where, process)
                load, requests, (_, cpu) = os.getloadavg()[0], requests_made(self._server), usage(process)
                begin = time.monotonic()
                await submit(submitter, arm, where, [f"{PREFIX}{number:05}" for number in range(jobs)])
                submitted = time.monotonic()
                await wait_for(children, "child Jobs", where, process)
                await wait_for(complete, "completed owners", where, process)
                made = await requests_when_idle(self._server)  # Events may still be sent
                memory, cpu_now = usage(process)
                return Figures(
                    submitted=submitted - begin,
                    children=children.reached_at - begin,
                    complete=complete.reached_at - begin,
                    requests=made - requests,
                    memory_mb=memory,
                    cpu_seconds=cpu_now - cpu,
                    load=load,
                )
        finally:
            await asyncio.to_thread(self._delete, where.namespace)

    def _delete(self, namespace: str) -> None:
        path = f"/api/v1/namespaces/{namespace}"
        self._server.request("DELETE", path)
        end = time.monotonic() + ROUND_TIMEOUT_SECONDS
        while self._server.request("GET", path).status != 404:
            if time.monotonic() > end:
                raise BenchError(f"namespace {namespace} was not deleted in time")
            time.sleep(0.5)


async def _connect(stack: AsyncExitStack, kubeconfig: Path) -> Cluster:
    """Return a connection of `kubernetes.aio`, without the generated models."""
    configuration = client.Configuration()
    await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    cluster = Cluster(client.ApiClient(configuration))
    stack.push_async_callback(cluster.close)
    return cluster


async def rounds(bench: Bench, chosen: Sequence[Arm], jobs: int, count: int) -> dict[str, list[Figures]]:
    """Run the arms in turn; each round starts with another arm."""
    found: dict[str, list[Figures]] = {arm.name: [] for arm in chosen}
    for number in range(count):
        turn = number % len(chosen)
        for arm in (*chosen[turn:], *chosen[:turn]):
            figures = await bench.run(arm, jobs)
            found[arm.name].append(figures)
            print(f"round {number + 1} {arm.name:9} {figures}", flush=True)
    return found


def measure(jobs: int, count: int, names: Sequence[str] = (), profile: Path | None = None) -> dict[str, list[Figures]]:
    """Start a control plane, run the rounds, and return the figures of each arm."""
    chosen = [arm for arm in arms() if not names or arm.name in names]
    gpus = -(-jobs // NODES) + 1  # room for all of them at once
    with tempfile.TemporaryDirectory() as folder, serve_nodes(NODES, gpus, termination_messages()) as server:
        server.apply_crds()
        return asyncio.run(rounds(Bench(server, Path(folder), profile), chosen, jobs, count))


def table(found: dict[str, list[Figures]]) -> str:
    """Return the figures as a Markdown table: median, minimum and maximum."""
    lines = ["| | " + " | ".join(f"{name.replace('_mb', '').replace('_', ' ')}" for name in UNITS) + " |"]
    lines.append("|---" * (len(UNITS) + 1) + "|")
    for arm, figures in found.items():
        cells = []
        for name, unit in UNITS.items():
            values = [getattr(each, name) for each in figures]
            text = "{:,.0f}" if name in {"requests", "memory_mb"} else "{:.1f}"
            middle, lowest, highest = (text.format(f(values)) for f in (statistics.median, min, max))
            cells.append(f"{middle} {unit} ({lowest}-{highest})".replace("  ", " ") if any(values) else "")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    loads = [each.load for figures in found.values() for each in figures]
    return "\n".join([*lines, "", f"Load average before rounds: {min(loads):.1f}-{max(loads):.1f}."])


def main() -> None:
    known = [arm.name for arm in arms()]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=known, choices=known)
    parser.add_argument("--out", type=Path, help="folder for operator.json and operator.md")
    parser.add_argument("--profile", type=Path, help="file for cProfile's statistics of Steno's operator")
    arguments = parser.parse_args()
    found = measure(arguments.jobs, arguments.rounds, arguments.arms, arguments.profile and arguments.profile.resolve())
    title = f"{arguments.jobs} jobs, {arguments.rounds} rounds, {NODES} nodes, {os.cpu_count()} cores"
    text = f"{title}; median (min-max).\n\n{table(found)}\n"
    print(f"\n{text}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "operator.md").write_text(text)
        data = {arm: [asdict(each) for each in figures] for arm, figures in found.items()}
        (arguments.out / "operator.json").write_text(json.dumps({"title": title, "rounds": data}, indent=2) + "\n")


if __name__ == "__main__":
    main()
