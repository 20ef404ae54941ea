"""Queues to test: an implementation, its server, and a fresh queue on it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from steno_api.model import ObjectRef
from steno_api.s3 import CREDENTIAL_KEYS
from steno_api.worker.task import OCRTask, TaskOutput, TaskSource
from steno_queue.connect import open_queue
from steno_queue.interface import Queue
from steno_queue.memory import MemoryQueue
from steno_queue.message import CLASSES, Message
from steno_queue.settings import QueueSettings
from tests.support import queues

_numbers = itertools.count(1)


def make_message(uid: str = "uid", *, attempt: int = 1, priority: int = 0, **changed: Any) -> Message:
    """Return the message of an attempt of an OCRJob."""
    task = OCRTask(
        job=ObjectRef(namespace="team", name=f"job-{uid}", uid=uid),
        attempt=attempt,
        tenant="acme",
        source=TaskSource(uri="s3://in/a.pdf"),
        output=TaskOutput(uri="s3://out/team/a/uid", formats=["json"]),
        document_id="계약서",
    )
    message = Message.of_attempt(task, namespace="team", pool="ocr", priority=priority, time=datetime.now(UTC))
    return message.model_copy(update=changed)


@dataclass
class Backend:
    """A server, and one fresh queue on it.

    Attributes:
        settings: of the queue.
        put_raw: puts a text into it that need not be a message.
        down, up: take the server away, and bring it back; None: it is in this process.
    """

    settings: QueueSettings
    put_raw: Callable[[str], Awaitable[None]]
    down: Callable[[], Awaitable[None]] | None = None
    up: Callable[[], Awaitable[None]] | None = None
    shared: MemoryQueue | None = None
    _opened: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    def connect(self) -> Queue:
        """Return another consumer or publisher of the queue."""
        queue = self.shared or open_queue(self.settings)
        self._opened.push_async_callback(queue.aclose)
        return queue

    async def aclose(self) -> None:
        """Close every connection."""
        await self._opened.aclose()
        if self.down:
            await self.down()


def memory(**options: Any) -> Backend:
    settings = QueueSettings(kind="Memory", **options)
    queue = MemoryQueue(settings)

    async def put_raw(body: str) -> None:
        queue.put_raw(body)

    return Backend(settings, put_raw, shared=queue)


async def redis(port: int, **options: Any) -> Backend:
    relay = queues.Relay(port)
    await relay.up()
    name = f"team/pool-{next(_numbers)}"
    settings = QueueSettings(kind="RedisStreams", url=f"redis://127.0.0.1:{relay.port}/0", name=name, **options)

    async def put_raw(body: str) -> None:
        from redis.asyncio import Redis

        async with Redis(port=port) as client:
            await client.xadd(f"steno:{{{name}}}:normal", {"message": body})

    return Backend(settings, put_raw, relay.down, relay.up)


async def sqs(port: int, monkeypatch: pytest.MonkeyPatch, suffix: str = "", **options: Any) -> Backend:
    """Make four queues as an administrator would: three of priority classes, and the dead letters'."""
    for name in CREDENTIAL_KEYS:
        monkeypatch.setenv(name, "steno")
    relay = queues.Relay(port)
    await relay.up()
    base = f"pool-{next(_numbers)}"
    direct, relayed = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{relay.port}"
    for each in (*CLASSES, "dead"):
        fifo = {"FifoQueue": "true"} if suffix else {}
        await asyncio.to_thread(queues.create_sqs_queue, direct, f"{base}-{each}{suffix}", **fifo)

    async def put_raw(body: str) -> None:
        ids = {"MessageGroupId": "raw", "MessageDeduplicationId": str(next(_numbers))} if suffix else {}
        url = f"{direct}/000000000000/{base}-normal{suffix}"
        await asyncio.to_thread(queues.call_sqs, url, Action="SendMessage", MessageBody=body, **ids)

    settings = QueueSettings(
        kind="SQS",
        url=f"{relayed}/000000000000/{base}-{{priority}}{suffix}",
        dead_letter_url=f"{relayed}/000000000000/{base}-dead{suffix}",
        **options,
    )
    return Backend(settings, put_raw, relay.down, relay.up)
