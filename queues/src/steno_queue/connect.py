"""Factory of queues: each server's library is imported only where it is used.

Separate because every implementation, and thus every library, is below it.
"""

from __future__ import annotations

from steno_queue.interface import Queue
from steno_queue.settings import QueueSettings


def open_queue(settings: QueueSettings) -> Queue:
    """Return the queue of these settings; one in memory is empty, and is what this call returns alone.

    It connects when it is used. Close it with `aclose`, in the event loop that it was used in.
    """
    match settings.kind:
        case "RedisStreams":
            from steno_queue.redis_streams import RedisQueue

            return RedisQueue(settings)
        case "SQS":
            from steno_queue.sqs import SQSQueue

            return SQSQueue(settings)
        case "Memory":
            from steno_queue.memory import MemoryQueue

            return MemoryQueue(settings)
