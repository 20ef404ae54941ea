"""Jobs in a pool, whole: a real apiserver, operator process and queue server, and the worker of a pool's server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from steno_api.s3 import CREDENTIAL_KEYS
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.worker.task import ShortSource
from steno_operator.control.kube.signing import KeyStore
from steno_operator.manifests.task import build_queued_task
from steno_operator.plan.common.policy import QueuePolicy
from steno_queue.connect import open_queue
from steno_queue.message import CLASSES, Message
from steno_queue.settings import QueueSettings
from tests.support import queues, s3
from tests.support.s3 import S3Server

from .harness import GROUP, OperatorHarness, Replica, free_port, until
from .pool_worker import serving
from .streams import Streams, task_of

pytestmark = pytest.mark.apiserver

POOL = "docs"
VISIBILITY = 3.0


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with queues.redis(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.serve(tmp_path_factory.mktemp("s3"), "scans", "results") as server:
        image = Image.new("RGB", (500, 120), "white")
        ImageDraw.Draw(image).text((20, 30), "harbour", fill="black", font=ImageFont.load_default(size=48))
        page = io.BytesIO()
        image.save(page, "PNG", dpi=(200, 200))
        server.client.put_object(Bucket="scans", Key="page.png", Body=page.getvalue())
        image, pages = image.resize((50, 12)), io.BytesIO()
        image.save(pages, "TIFF", save_all=True, append_images=[image] * ShortSource().pages, dpi=(20, 20))
        server.client.put_object(Bucket="scans", Key="long.tiff", Body=pages.getvalue())
        yield server


class PoolJobs:
    """A pool that takes OCRJobs from a queue, and an operator that is told of it."""

    def __init__(self, harness: OperatorHarness, store: S3Server, queue: QueueSettings, folder: Path) -> None:
        self.harness, self.store, self.folder = harness, store, folder
        harness.kind = "OCRJob"
        self.streams = Streams(harness)
        self.queue = queue.model_copy(update={"visibility_seconds": VISIBILITY, "max_receives": 1000})
        self.port = free_port()
        secret = folder / "store"
        secret.mkdir()
        scope = {"AWS_ENDPOINT_URL": store.endpoint, "allowPlainHTTP": "true"}
        for name, value in {**store.environment(), **scope}.items():
            (secret / name).write_text(value)

    @property
    def settings(self) -> QueueSettings:
        """Of the pool's queue."""
        return QueuePolicy(self.queue).of_pool(self.harness.namespace, POOL)

    def operator(self) -> Replica:
        return self.harness.start(
            queue=self.queue.to_json(),
            allowed_networks="127.0.0.0/8",
            dead_letters_interval_seconds=0.5,
            leader_election=False,  # one at a time, and a busy machine may not renew a lease in time
            report_port=self.port,
            report_url=f"http://127.0.0.1:{self.port}",
        )

    def pool(self) -> None:
        self.streams.pool(POOL, workloads=["Queue"], queue={"secretRefs": [{"name": "store"}]}, minReplicas=1)

    def job(self, name: str = "talk", key: str = "page.png", **spec: Any) -> Any:
        place = {"endpointURL": self.store.endpoint, "region": "us-east-1", "secretRef": {"name": "store"}}
        source, output = {"uri": f"s3://scans/{key}", **place}, {"uri": "s3://results", **place}
        more = {"execution": "Pool", "poolRef": {"name": POOL}, "languages": ["en"], "engine": "Tesseract", **spec}
        return self.harness.apply(name, source=source, output=output, **more)

    def serving(self) -> Any:
        [pod] = self.streams.warm(1, POOL)
        self.streams.wait("pool", POOL, "Ready")
        return serving(task_of(self.streams.deployment(POOL)), self.harness.token(pod), self.folder)

    def phase(self, name: str = "talk") -> str:
        return self.harness.status(name).get("phase", "")

    def reach(self, phase: str, name: str = "talk") -> Any:
        until(f"{name} is {phase}; {self.harness.status(name)}", lambda: self.phase(name) == phase)
        return self.harness.status(name)

    def ask(self, what: Any) -> Any:
        """Do something with a connection of its own to the queue."""

        async def do() -> Any:
            queue = open_queue(self.settings)
            try:
                return await what(queue)
            finally:
                await queue.aclose()

        return asyncio.run(do())

    def is_empty(self) -> bool:
        depth = self.ask(lambda queue: queue.depth())
        return depth.waiting + depth.in_flight == 0


@pytest.fixture
def jobs(harness: OperatorHarness, store: S3Server, redis_port: int, tmp_path: Path) -> PoolJobs:
    return PoolJobs(
        harness, store, QueueSettings(kind="RedisStreams", url=f"redis://127.0.0.1:{redis_port}/0"), tmp_path
    )


@pytest.fixture
def sqs_jobs(
    harness: OperatorHarness, store: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PoolJobs]:
    """The same with SQS, whose queues an administrator has made."""
    for name in CREDENTIAL_KEYS:
        monkeypatch.setenv(name, "steno")
    (tmp_path / "sqs").mkdir()
    with queues.elasticmq(tmp_path / "sqs") as port:
        server = f"http://127.0.0.1:{port}"
        for each in (*CLASSES, "dead"):
            queues.create_sqs_queue(server, f"{harness.namespace}-{POOL}-{each}")
        base = f"{server}/000000000000/{{namespace}}-{{pool}}"
        queue = QueueSettings(kind="SQS", url=f"{base}-{{priority}}", dead_letter_url=f"{base}-dead")
        yield PoolJobs(harness, store, queue, tmp_path)


@pytest.mark.parametrize("server", ["jobs", pytest.param("sqs_jobs", marks=pytest.mark.slow)])
def test_a_job_in_a_pool_is_published_read_and_ends(request: pytest.FixtureRequest, server: str) -> None:
    jobs: PoolJobs = request.getfixturevalue(server)
    replica = jobs.operator()
    jobs.job()
    jobs.job("missing", key="missing.png")
    waits = until("it waits for the pool", lambda: jobs.harness.status().get("queue"))
    assert waits["reason"] == "PoolNotFound"
    jobs.pool()
    until("both are in the queue", lambda: jobs.streams.status("pool", POOL).get("queuedJobs") == 2)
    assert jobs.harness.status()["queue"]["reason"] == "WaitingForWorker"
    with jobs.serving() as worker:
        worker.begin.set()
        done, failed = jobs.reach("Succeeded"), jobs.reach("Failed", "missing")
        until("the queue is empty", jobs.is_empty)
    prefix = f"{jobs.harness.namespace}/talk/{jobs.harness.get()['metadata']['uid']}/"
    assert done["results"]["manifest"] == f"s3://results/{prefix}manifest.json"
    assert {f"{prefix}manifest.json", f"{prefix}pages.json"} <= set(jobs.store.keys("results", prefix))
    assert (done["summary"]["pages"], done["usage"]["pages"], done["attempt"]) == (1, 1, 1)
    assert done["podName"].startswith("docs-pool-")
    assert failed["lastFailure"]["reason"] == "SourceNotFound"
    assert jobs.harness.children() == []
    until("the pool has no job", lambda: jobs.streams.status("pool", POOL).get("queuedJobs") == 0)
    assert replica.metric("steno_reconcile_errors_total") == 0, replica.log.read_text()[-3000:]


def test_a_job_goes_to_a_pool_by_itself_and_one_that_is_too_long_on_to_a_pod(jobs: PoolJobs) -> None:
    jobs.operator()
    jobs.pool()
    with jobs.serving() as worker:
        worker.begin.set()
        for name, key in (("talk", "page.png"), ("long", "long.tiff")):
            jobs.job(name, key=key, execution="Auto", poolRef=None)
        done = jobs.reach("Succeeded")
        [child] = until("the pod of the other is asked for", jobs.harness.children)
        until("the queue is empty", jobs.is_empty)
    assert (done["execution"]["mode"], done["execution"]["pool"], done["attempt"]) == ("Pool", POOL, 1)
    assert child["metadata"]["name"] == "long-2"
    until("its start is recorded", lambda: jobs.harness.status("long").get("attempt") == 2)
    handed = jobs.harness.status("long")
    assert (handed["execution"]["mode"], handed["execution"]["reason"]) == ("Job", "NotShort")
    assert "21 pages are more than the 20" in handed["execution"]["message"]
    assert (handed["lastFailure"]["reason"], handed["failures"]) == ("TooLongForPool", 0)
    until("the pool has no job", lambda: jobs.streams.status("pool", POOL).get("queuedJobs") == 0)


def test_a_pod_that_a_pool_hands_a_job_to_has_its_gpus_from_the_tenant(jobs: PoolJobs) -> None:
    """In the pool the job asked for none: its reservation is exchanged for one of the pod."""
    jobs.operator()
    harness, name = jobs.harness, f"t-{jobs.harness.namespace}"[:63]
    harness.patch(f"{GROUP}/runtimeprofiles/{harness.namespace}", {"spec": {"accelerator": {"count": 1}}})
    spec = {"namespaces": [harness.namespace], "limits": {"gpus": 2}}
    body = {"apiVersion": "steno.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": name}, "spec": spec}
    harness.must("POST", f"{GROUP}/tenants", body)

    def reserved() -> Any:
        usage = (harness.must("GET", f"{GROUP}/tenants/{name}").get("status") or {}).get("usage") or {}
        return usage.get("gpus"), usage.get("runningJobs")

    jobs.pool()
    with jobs.serving() as worker:
        jobs.job(key="long.tiff", execution="Auto", poolRef=None)
        until("it holds no GPU beside the server's", lambda: worker.begun and reserved() == (1, 1))
        worker.begin.set()
        [child] = until("its pod is asked for", harness.children)
    until("it holds one of its own", lambda: reserved() == (2, 1))
    assert child["metadata"]["labels"]["steno.dev/tenant"] == name
    harness.must("DELETE", f"{GROUP}/tenants/{name}")


def test_a_suspended_job_stops_and_goes_on_with_the_next_attempt(jobs: PoolJobs) -> None:
    jobs.operator()
    jobs.pool()
    jobs.job()
    with jobs.serving() as worker:
        jobs.reach("Running")
        jobs.harness.patch(jobs.harness.job_path("talk"), {"spec": {"suspend": True}})
        jobs.reach("Suspended")
        until("its message is gone", jobs.is_empty)
        worker.begin.set()
        jobs.harness.patch(jobs.harness.job_path("talk"), {"spec": {"suspend": False}})
        done = jobs.reach("Succeeded")
    assert (done["attempt"], done["failures"], worker.begun) == (2, 0, [1, 2])


def test_an_operator_that_restarts_goes_on_where_it_was(jobs: PoolJobs) -> None:
    replica = jobs.operator()
    jobs.pool()
    jobs.streams.warm(1, POOL)
    jobs.streams.wait("pool", POOL, "Ready")
    replica.kill()
    # As after a crash between the publication and the status: the message is there, and the status is empty.
    job = OCRJob.from_wire(jobs.job())
    task = build_queued_task(job, 1, tenant=jobs.harness.namespace, out_of_memory=0)
    namespace = jobs.harness.namespace
    message = Message.of_attempt(task, namespace=namespace, pool=POOL, priority=0, time=datetime.now(UTC))
    [key] = KeyStore.read(
        jobs.harness.must("GET", f"/api/v1/namespaces/{namespace}/secrets/steno-operator-session-key")
    )
    proven = message.with_proof(key.result_key(namespace, job.metadata.uid))
    assert jobs.ask(lambda queue: queue.publish(proven))
    with jobs.serving() as worker:
        replica = jobs.operator()
        jobs.reach("Running")
        replica.kill()
        worker.begin.set()
        jobs.operator()
        done = jobs.reach("Succeeded")
        until("the queue is empty", jobs.is_empty)
    assert (done["attempt"], done["usage"]["pages"], worker.begun) == (1, 1, [1])


def test_a_message_that_no_worker_finishes_fails_its_attempt(jobs: PoolJobs) -> None:
    jobs.queue = jobs.queue.model_copy(update={"max_receives": 1, "visibility_seconds": 0.5})
    jobs.operator()
    jobs.pool()
    jobs.job(backoffLimit=0)
    jobs.reach("Waiting")

    async def lose(queue: Any) -> None:
        taken = []
        while not taken:
            taken = await queue.receive(1, 1.0)
        while not await queue.dead_letters():
            await queue.receive(1, 0.5)

    jobs.ask(lose)
    failed = jobs.reach("Failed")
    assert failed["lastFailure"]["reason"] == "Killed"
    assert "none of them finished it" in failed["lastFailure"]["message"]
    until("the dead letter is gone", lambda: jobs.ask(lambda queue: queue.dead_letters()) == [])
