"""Queue interface with at-least-once delivery, as SQS has it: receive leases a message, ack removes it.

A message that is neither acknowledged nor extended within the visibility timeout is delivered again, to anybody. The
one whose lease ended that way is told by `extend`, and may acknowledge all the same when the work is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from steno_queue.errors import MessageMalformedError
from steno_queue.message import Message


@dataclass(frozen=True)
class Depth:
    """How much there is in a queue.

    Attributes:
        waiting: messages that the next `receive` could return.
        in_flight: messages that somebody works on, or that were released with a delay.
        oldest_age_seconds: since the oldest waiting message was published, 0 if none waits; None: the server does not
            say, which is so of SQS.
    """

    waiting: int
    in_flight: int
    oldest_age_seconds: float | None


@dataclass(frozen=True)
class DeadLetter:
    """A message that is delivered no more.

    Attributes:
        body: as it was published.
        reason: why, for people.
        receives: how often it was delivered.
        ack: removes it for good.
    """

    body: str
    reason: str
    receives: int
    ack: Callable[[], Awaitable[None]]

    @property
    def message(self) -> Message | None:
        """The message; None: it is none that this version understands."""
        try:
            return Message.parse(self.body)
        except MessageMalformedError:
            return None


class Delivery(Protocol):
    """A message that is leased to one consumer."""

    @property
    def message(self) -> Message:
        """What was published."""
        ...

    @property
    def receives(self) -> int:
        """How often it was delivered, this time included."""
        ...

    async def extend(self) -> bool:
        """Keep the message for another visibility timeout from now; False: the lease has ended."""
        ...

    async def ack(self) -> None:
        """Remove the message: the work is done. No error if that was done before, or the lease has ended."""
        ...

    async def release(self, delay: float = 0.0) -> None:
        """Give the message back, to be delivered again.

        Args:
            delay: seconds until then; at most the visibility timeout counts.
        """
        ...

    async def reject(self, reason: str) -> None:
        """Move the message to the dead letters."""
        ...


class Queue(Protocol):
    """A queue, as one consumer or publisher uses it.

    Every method raises `QueueUnavailableError` or `QueueDeniedError`, and works again once the server does.
    """

    @property
    def deduplicates(self) -> bool:
        """Whether a message that is published twice is delivered once; else consumers tell by its id."""
        ...

    async def publish(self, message: Message) -> bool:
        """Put a message into the queue, after those of its priority class.

        Returns:
            Whether it is new: False if the queue has a message of this id, or had it until shortly. A server that does
            not tell (SQS) is taken to say yes.

        Raises:
            MessageTooLargeError: the queue does not take messages of its size.
        """
        ...

    async def receive(self, limit: int = 1, wait: float = 0.0) -> list[Delivery]:
        """Lease messages, those of higher priority first.

        Malformed messages, and those that were delivered too often, go to the dead letters instead.

        Args:
            limit: the most that are wanted, up to 10.
            wait: seconds to wait for the first one; less if the server ends the wait early.
        """
        ...

    async def depth(self) -> Depth:
        """Return how much there is in the queue, by the server's count, which may lag behind (SQS)."""
        ...

    async def dead_letters(self, limit: int = 10) -> list[DeadLetter]:
        """Return dead letters, up to 10; what is not acknowledged is returned again, perhaps after some time."""
        ...

    async def aclose(self) -> None:
        """Close the connections; what is leased is delivered again after its visibility timeout."""
        ...
