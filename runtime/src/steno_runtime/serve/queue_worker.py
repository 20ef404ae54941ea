"""Queue worker: attempts of the pool's queue, made beside the sessions from when the model is loaded until a drain.

The queue may be away at any time, also when the server starts: sessions do not wait for it. What nothing is prepared
for ends the server, as a server that takes sessions and leaves the queue alone would not be noticed.
"""

from __future__ import annotations

import logging

from pydantic import ValidationError

from steno_api.failures import FailureReason
from steno_api.server.task import ATTEMPTS_AT_ONCE, PoolQueue, PoolTask
from steno_queue.connect import open_queue
from steno_queue.settings import QueueSettings
from steno_runtime.errors import WorkError
from steno_runtime.stt.engine import SharedEngine
from steno_runtime.worker.consumer import BRIEF_AT_ONCE, Consumer, OperatorReports, Tally
from steno_runtime.worker.warm import WarmWorker

log = logging.getLogger(__name__)

BRIEF_BESIDE_SESSIONS = 4
"""Attempts of brief recordings beside two others where live sessions need the process soon."""

BEATS_PER_LEASE = 3
"""A message is kept although two attempts in a row to extend it failed."""


class QueueWorker:
    """Makes the attempts of the pool's queue in this server."""

    def __init__(self, task: PoolTask, queue: PoolQueue) -> None:
        """Prepare; nothing is connected yet.

        Args:
            task: of a pool.
            queue: of this pool.

        Raises:
            WorkError: `InvalidSpec`: this version cannot use the queue.
        """
        if task.reporting is None:
            raise WorkError(FailureReason.INVALID_SPEC, "A pool with a queue needs an operator to report to.")
        try:
            self._settings = QueueSettings.model_validate(queue.settings)
        except ValidationError as error:
            why = "; ".join(sorted({f"{'.'.join(map(str, it['loc'])) or 'all'}: {it['msg']}" for it in error.errors()}))
            message = f"The pool's queue cannot be used: {why}. Check the chart's values `queue`."
            raise WorkError(FailureReason.INVALID_SPEC, message) from None
        self._task, self._reporting = task, task.reporting
        self._consumer: Consumer | None = None

    @property
    def tally(self) -> Tally:
        """What was done so far."""
        return Tally() if self._consumer is None else self._consumer.tally

    async def run(self, engine: SharedEngine) -> None:
        """Make attempts until `drain`, or until cancelled.

        Args:
            engine: of the pool's model, for work beside the sessions.

        Raises:
            WorkError: `Internal`: the consumer failed; the log says how.
        """
        task = self._task
        queue, reports = open_queue(self._settings), OperatorReports(self._reporting)
        self._consumer = Consumer(
            queue,
            WarmWorker(task, engine, at_once=ATTEMPTS_AT_ONCE),
            reports,
            pool=task.pool,
            heartbeat_seconds=self._settings.visibility_seconds / BEATS_PER_LEASE,
            report_seconds=self._reporting.interval_seconds,
            brief_at_once=BRIEF_BESIDE_SESSIONS if task.live else BRIEF_AT_ONCE,
        )
        log.info("taking attempts from the queue", extra={"queue": self._settings.kind})
        try:
            await self._consumer.run()
        except Exception as error:
            log.exception("the consumer of the queue failed")
            message = "The queue's attempts could not be made any more: its consumer failed. The log says how."
            raise WorkError(FailureReason.INTERNAL, message) from error
        finally:
            await queue.aclose()
            await reports.aclose()

    async def drain(self, until: float, last: float) -> None:
        """Take no more messages, and give back what is not finished; see `Consumer.drain`."""
        if self._consumer is not None:
            await self._consumer.drain(until, last)
