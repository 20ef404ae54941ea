"""Connections to pools' queues: one for each pool, and a server that is away is not waited for by every job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from steno_api.v1alpha1.ocrjob import OCRJob
from steno_kube.keys import Key
from steno_operator.control.reconcile.queue_clients import PAUSE_SECONDS, QueueClients
from steno_operator.manifests.task import build_queued_task
from steno_operator.plan.common.policy import QueuePolicy
from steno_queue.connect import open_queue
from steno_queue.errors import QueueError, QueueUnavailableError
from steno_queue.message import Message
from steno_queue.settings import QueueSettings
from tests.support import queues

POOL = Key("RuntimePool", "ns", "docs")


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with queues.redis(tmp_path_factory.mktemp("redis")) as port:
        yield port


def policy(port: int) -> QueuePolicy:
    return QueuePolicy(QueueSettings(kind="RedisStreams", url=f"redis://127.0.0.1:{port}/0", visibility_seconds=5))


def message() -> Message:
    where = {"source": {"uri": "s3://in/a.png"}, "output": {"uri": "s3://out"}}
    job = OCRJob.from_wire({"metadata": {"name": "scan", "namespace": "ns", "uid": "u1"}, "spec": where})
    task = build_queued_task(job, 1, tenant="ns", out_of_memory=0)
    return Message.of_attempt(task, namespace="ns", pool="docs", priority=0, time=datetime.now(UTC))


async def test_a_message_is_in_the_queue_of_its_pool_once(redis_port: int) -> None:
    clients = QueueClients(policy(redis_port))
    assert await clients.publish(POOL, message())
    assert not await clients.publish(POOL, message())
    assert clients.known() == {POOL}
    await clients.aclose()
    servers = open_queue(policy(redis_port).of_servers("ns", "docs", "/etc/steno/queue"))
    [delivery] = await servers.receive()
    assert delivery.message.subject == "ns/scan"
    assert await servers.receive() == []
    await servers.aclose()


async def test_a_server_that_is_away_is_asked_again_after_a_while(redis_port: int) -> None:
    now = 0.0
    relay = queues.Relay(redis_port)
    clients = QueueClients(policy(relay.port), clock=lambda: now)
    with pytest.raises(QueueUnavailableError):
        await clients.publish(POOL, message())
    await relay.up()
    now = PAUSE_SECONDS - 1
    with pytest.raises(QueueUnavailableError):
        await clients.publish(POOL, message())
    now = PAUSE_SECONDS
    await clients.publish(POOL, message())
    await clients.aclose()
    await relay.down()


async def test_without_a_queue_server_nothing_is_published() -> None:
    clients = QueueClients(None)
    assert not clients.configured
    with pytest.raises(QueueError, match="no queue server"):
        await clients.publish(POOL, message())
