"""Connections to pools' queues, one for each, opened when it is first used.

A server that just did not answer is not asked again for a moment: with many jobs, every worker of the operator would
wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from steno_kube.keys import Key
from steno_operator.plan.common.policy import QueuePolicy
from steno_queue.connect import open_queue
from steno_queue.errors import QueueError, QueueUnavailableError
from steno_queue.interface import DeadLetter, Queue
from steno_queue.message import Message

PAUSE_SECONDS = 5.0
"""After the server did not answer."""


class QueueClients:
    """The queues of pools, by the pools' keys."""

    def __init__(self, policy: QueuePolicy | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Connect to nothing yet.

        Args:
            policy: where the queues are; None: nowhere.
            clock: seconds since any moment.
        """
        self._policy = policy
        self._clock = clock
        self._queues: dict[Key, Queue] = {}
        self._silent: tuple[float, str] = (float("-inf"), "")

    @property
    def configured(self) -> bool:
        """Whether there is a queue server."""
        return self._policy is not None

    @property
    def max_receives(self) -> int:
        """How often a message is delivered before it is a dead letter."""
        return 0 if self._policy is None else self._policy.settings.max_receives

    @property
    def may_lose(self) -> bool:
        """Whether the server may lose a message, and knows its copies: Redis. SQS keeps it, and soon forgets."""
        return self._policy is not None and self._policy.settings.kind == "RedisStreams"

    async def publish(self, pool: Key, message: Message) -> bool:
        """Put a message into the pool's queue; return whether it is new.

        Raises:
            QueueError: it cannot be done, or not now.
        """
        self._check()
        try:
            return await self._queue(pool).publish(message)
        except QueueUnavailableError as error:
            self._silent = (self._clock(), str(error))
            raise

    async def dead_letters(self, pool: Key) -> list[DeadLetter]:
        """Return dead letters of a pool.

        Raises:
            QueueError: see `publish`.
        """
        self._check()
        return await self._queue(pool).dead_letters()

    async def aclose(self) -> None:
        """Close every connection."""
        queues, self._queues = list(self._queues.values()), {}
        await asyncio.gather(*(queue.aclose() for queue in queues), return_exceptions=True)

    async def forget(self, pool: Key) -> None:
        """Close the connection to the queue of a pool that is gone."""
        queue = self._queues.pop(pool, None)
        if queue is not None:
            await queue.aclose()

    def known(self) -> set[Key]:
        """Return the pools to whose queues there are connections."""
        return set(self._queues)

    def _check(self) -> None:
        since, why = self._silent
        if self._clock() - since < PAUSE_SECONDS:
            raise QueueUnavailableError(why)

    def _queue(self, pool: Key) -> Queue:
        if self._policy is None:
            raise QueueError("This operator has no queue server.")
        if pool not in self._queues:
            self._queues[pool] = open_queue(self._policy.of_pool(pool.namespace, pool.name))
        return self._queues[pool]
