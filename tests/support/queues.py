"""Real queue servers for tests: Redis, ElasticMQ (SQS's protocol), and a relay in front of one that can go down."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from hack import tools

START_SECONDS = 120.0

ELASTICMQ_CONFIG = """\
include classpath("application.conf")
node-address {{ protocol = http, host = "127.0.0.1", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = "127.0.0.1", sqs-limits = strict }}
rest-stats {{ enabled = false }}
"""


@contextlib.contextmanager
def redis(folder: Path, *arguments: str) -> Iterator[int]:
    """Run Redis without persistence; yield its port.

    Args:
        folder: an empty one.
        arguments: more of its options.
    """
    port = free_port()
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    command = [str(tools.path("redis-server")), "--port", str(port), *options, *arguments]
    with _running(command, folder / "redis.log", lambda: _listens(port)):
        yield port


@contextlib.contextmanager
def elasticmq(folder: Path) -> Iterator[int]:
    """Run ElasticMQ, in memory and with the limits of SQS; yield its port.

    Args:
        folder: an empty one.
    """
    port = free_port()
    config = folder / "elasticmq.conf"
    config.write_text(ELASTICMQ_CONFIG.format(port=port))
    with _running([str(tools.path("elasticmq")), str(config)], folder / "elasticmq.log", lambda: _answers(port)):
        yield port


def create_sqs_queue(server: str, name: str, **attributes: str) -> None:
    """Make a queue, without signatures, which ElasticMQ does not check, and without botocore, which takes its time.

    Args:
        server: URL of an ElasticMQ.
        name: of the queue.
        attributes: of it.
    """
    numbered = enumerate(attributes.items(), 1)
    named = {
        f"Attribute.{n}.{key}": text for n, pair in numbered for key, text in zip(("Name", "Value"), pair, strict=True)
    }
    call_sqs(server, Action="CreateQueue", QueueName=name, **named)


def call_sqs(url: str, **form: str) -> None:
    """Send a request to ElasticMQ."""
    urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=30).close()


@contextlib.contextmanager
def _running(command: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-2000:]}")
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            process.wait(10)


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


class Relay:
    """A TCP relay in front of a server, which is down whenever a test says so."""

    def __init__(self, target: int) -> None:
        """Prepare.

        Args:
            target: the server's port.
        """
        self.port = free_port()
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    async def up(self) -> None:
        """Begin to relay."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def down(self) -> None:
        """Refuse connections, and break those that are open."""
        if self._server is not None:
            self._server.close()
        for writer in [each for writers in self._open.values() for each in writers]:
            writer.transport.abort()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = [writer, there_writer]
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
