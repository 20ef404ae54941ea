"""One server of each kind for all tests of this process, and fresh queues on it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.support import queues

from .backends import Backend, memory, redis, sqs

MakeBackend = Callable[..., Awaitable[Backend]]


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with queues.redis(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture(scope="session")
def sqs_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with queues.elasticmq(tmp_path_factory.mktemp("elasticmq")) as port:
        yield port


@pytest.fixture(
    params=[
        "memory",
        "redis",
        pytest.param("sqs", marks=pytest.mark.slow),
        pytest.param("sqs-fifo", marks=pytest.mark.slow),
    ]
)
async def make_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeBackend]:
    """Make queues of each implementation in turn, with the settings that a test wants."""
    made: list[Backend] = []

    async def make(*, short: bool = False, **options: Any) -> Backend:
        # One that tests can wait for: SQS has whole seconds.
        visibility = (2 if "sqs" in request.param else 0.25) if short else 30
        options = {"visibility_seconds": visibility} | options
        match request.param:
            case "memory":
                made.append(memory(**options))
            case "redis":
                made.append(await redis(request.getfixturevalue("redis_port"), **options))
            case kind:
                port = request.getfixturevalue("sqs_port")
                made.append(await sqs(port, monkeypatch, ".fifo" if kind.endswith("fifo") else "", **options))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()
