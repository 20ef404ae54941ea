"""Queue on Redis Streams: a stream for each priority class, one consumer group, and Lua where steps must be one.

A lease is the entry's idle time in the group: whoever works on a message sets it back to zero, and a message that was
left alone for the visibility timeout is claimed by the next consumer. Entries are deleted when they are acknowledged,
so a stream's length is what is waiting and in flight. The keys of one queue share a hash tag, as clusters need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from steno_queue.errors import MessageMalformedError, QueueDeniedError, QueueUnavailableError
from steno_queue.interface import DeadLetter, Delivery, Depth
from steno_queue.message import CLASSES, Message, admit
from steno_queue.settings import QueueSettings

GROUP = "workers"
TIMEOUT_SECONDS = 10.0
BLOCK_SECONDS = 1.0
"""How long to wait for new entries before ended leases are looked for again."""
KEPT_SECONDS = 14 * 24 * 3600
"""How long the id of a message is kept that nobody acknowledges."""
DEAD_LETTERS_KEPT = 10_000
ENDED_COUNTED = 1_000
"""Ended leases of a stream that are counted as waiting; more are counted as in flight."""
_SCRIPT_DENIED = "user executing the script can't"
"""What Redis says of a command of a script that this user may not run, or of a key."""


class RedisQueue:
    """See `Queue`."""

    deduplicates = True

    def __init__(self, settings: QueueSettings) -> None:
        """Prepare; connections are made when they are needed."""
        self._settings = settings
        self._redis = _client(settings)
        base = f"steno:{{{settings.name}}}"
        self.streams = [f"{base}:{priority}" for priority in CLASSES]
        self.dead = f"{base}:dead"
        self._ids = f"{base}:id:"
        self.consumer = f"{socket.gethostname()}-{secrets.token_hex(6)}"
        self.visibility_ms = int(settings.visibility_seconds * 1000)
        self._publish, self._take, self._keep, self._finish, self._depth = (
            self._redis.register_script((files("steno_queue") / "lua" / f"{name}.lua").read_text())
            for name in ("publish", "take", "keep", "finish", "depth")
        )

    async def publish(self, message: Message) -> bool:
        """See `Queue`."""
        body = message.encode(self._settings.max_message_bytes)
        keys = [*self.streams, self._ids + message.id]
        stream = CLASSES.index(message.priority_class) + 1
        with _errors():
            return bool(await self._publish(keys=keys, args=[stream, message.id, body, KEPT_SECONDS]))

    async def receive(self, limit: int = 1, wait: float = 0.0) -> list[Delivery]:
        """See `Queue`."""
        deadline = time.monotonic() + wait
        with _errors():
            while True:
                found, last = await self._lease(limit)
                left = deadline - time.monotonic()
                if found or left <= 0:
                    return found
                pause = min(left, BLOCK_SECONDS, self._settings.visibility_seconds)
                await self._redis.xread(dict(zip(self.streams, last, strict=True)), 1, max(1, int(pause * 1000)))

    async def depth(self) -> Depth:
        """See `Queue`."""
        with _errors():
            answer = await self._with_group(
                partial(self._depth, keys=self.streams, args=[GROUP, self.visibility_ms, ENDED_COUNTED])
            )
        return Depth(answer[0], answer[1], answer[2] / 1000)

    async def dead_letters(self, limit: int = 10) -> list[DeadLetter]:
        """See `Queue`."""
        with _errors():
            entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", await self._redis.xrange(self.dead, count=limit))
        return [
            DeadLetter(
                body=_text(fields[b"message"]),
                reason=_text(fields[b"reason"]),
                receives=int(fields[b"receives"]),
                ack=partial(self._forget, entry),
            )
            for entry, fields in entries
        ]

    async def aclose(self) -> None:
        """See `Queue`. A consumer without messages is removed from the group: its name is never used again."""
        with contextlib.suppress(RedisError, OSError, asyncio.TimeoutError):
            for stream in self.streams:
                if not await self._redis.xpending_range(stream, GROUP, "-", "+", 1, self.consumer):
                    await self._redis.xgroup_delconsumer(stream, GROUP, self.consumer)
        await self._redis.aclose()

    async def keep(self, lease: RedisDelivery, idle_ms: int) -> bool:
        """Set the idle time of a message; return whether it is still this consumer's."""
        with _errors():
            args = [GROUP, self.consumer, lease.entry, idle_ms, lease.receives]
            return bool(await self._keep(keys=[lease.stream], args=args))

    async def finish(self, stream: str, entry: str, message_id: str, dead: tuple[str, str, int] | None = None) -> None:
        """Remove a message.

        Args:
            stream: that it is in.
            entry: its id there.
            message_id: its own.
            dead: its body, the reason and how often it was delivered, if it goes to the dead letters.
        """
        args = [GROUP, entry, self._settings.deduplication_seconds]
        args += [*dead, DEAD_LETTERS_KEPT] if dead else []
        with _errors():
            await self._finish(keys=[stream, self.dead, self._ids + message_id], args=args)

    async def _lease(self, limit: int) -> tuple[list[Delivery], list[bytes]]:
        args = [GROUP, self.consumer, limit, self.visibility_ms]
        taken, last = await self._with_group(partial(self._take, keys=self.streams, args=args))
        found: list[Delivery] = []
        for index, entry, receives, pairs in taken:
            fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
            body, stream = fields.get(b"message", b""), self.streams[index - 1]
            try:
                message = admit(body, receives, self._settings.max_receives)
            except MessageMalformedError as error:
                dead = (_text(body), str(error), receives)
                await self.finish(stream, _text(entry), _text(fields.get(b"id", b"")), dead)
            else:
                found.append(RedisDelivery(message, receives, self, stream, _text(entry), _text(body)))
        return found, last

    async def _with_group(self, call: Any) -> Any:
        """Call something that needs the consumer group; make the group where it is not, or not any more."""
        try:
            return await call()
        except ResponseError as error:
            if "NOGROUP" not in str(error) and "no such key" not in str(error):
                raise
        for stream in self.streams:
            try:
                await self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
        return await call()

    async def _forget(self, entry: bytes) -> None:
        with _errors():
            await self._redis.xdel(self.dead, entry)


@dataclass(frozen=True)
class RedisDelivery:
    """See `Delivery`."""

    message: Message
    receives: int
    queue: RedisQueue
    stream: str
    entry: str
    body: str

    async def extend(self) -> bool:
        """See `Delivery`."""
        return await self.queue.keep(self, 0)

    async def ack(self) -> None:
        """See `Delivery`."""
        await self.queue.finish(self.stream, self.entry, self.message.id)

    async def release(self, delay: float = 0.0) -> None:
        """See `Delivery`."""
        await self.queue.keep(self, max(0, self.queue.visibility_ms - int(delay * 1000)))

    async def reject(self, reason: str) -> None:
        """See `Delivery`."""
        await self.queue.finish(self.stream, self.entry, self.message.id, (self.body, reason, self.receives))


class _FileCredentials(CredentialProvider):
    """User and password of a mounted Secret, read for each connection: they may have been replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return `(password,)` or `(user, password)`."""
        user, password = self._read("username"), self._read("password")
        return (user, password) if user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """See `get_credentials`."""
        return await asyncio.to_thread(self.get_credentials)

    def _read(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="utf-8").strip()
        except OSError:
            return ""


def _client(settings: QueueSettings) -> Redis:
    parts = urlsplit(settings.url)
    tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": settings.ca_file and str(settings.ca_file)}
    return Redis(
        host=parts.hostname or "",
        port=parts.port or 6379,
        db=int(parts.path.strip("/") or 0),
        credential_provider=_FileCredentials(settings.credentials_dir) if settings.credentials_dir else None,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS / 2,
        # A connection that died while it was idle costs one retry; more is the caller's affair.
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.02), 1),
        **(tls if parts.scheme == "rediss" else {}),
    )


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Turn the library's errors into those of a queue."""
    try:
        yield
    except (TimeoutError, RedisError, OSError) as error:
        denied = isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError)
        if denied or _SCRIPT_DENIED in str(error):
            raise QueueDeniedError(
                f"Redis refuses the credentials ({error}). Check `username` and `password` in the queue's Secret, and "
                "that this user may run scripts and use the queue's keys (steno:*)."
            ) from error
        raise QueueUnavailableError(f"Redis cannot be used now: {error or type(error).__name__}") from error


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
