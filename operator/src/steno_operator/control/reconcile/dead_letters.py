"""Dead letters of pools' queues: each becomes the failure of its attempt, and goes once the status has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from steno_api.failures import FailureReason
from steno_api.v1alpha1.runtimepool import RuntimePool
from steno_api.worker.termination import Failed
from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.resource_records import BY_KIND, JOBS_BY_POOL, POOL_KIND
from steno_operator.control.reconcile.queue_clients import QueueClients
from steno_operator.plan.common.conditions import clip
from steno_operator.plan.job.message import is_over
from steno_queue.errors import MessageMalformedError, QueueError
from steno_queue.interface import DeadLetter

log = logging.getLogger(__name__)


class DeadLetters:
    """Reads the dead letters of every pool that serves a queue, again and again."""

    def __init__(self, queues: QueueClients, state: ClusterState, interval: float) -> None:
        """Prepare.

        Args:
            queues: of the pools.
            state: where what they say goes.
            interval: seconds between reads.
        """
        self._queues, self._state, self._interval = queues, state, interval

    async def run(self) -> None:
        """Read until cancelled; returns at once where there is no queue server."""
        try:
            while self._queues.configured:
                await self.read()
                await asyncio.sleep(self._interval)
        finally:
            await self._queues.aclose()

    async def read(self) -> None:
        """Read once: every pool's."""
        pools = set(self._pools())
        for gone in self._queues.known() - pools:
            await self._queues.forget(gone)
        for pool in sorted(pools, key=str):
            try:
                for letter in await self._queues.dead_letters(pool):
                    if self._take(pool, letter):
                        await letter.ack()
            except QueueError as error:
                log.warning("dead letters of pool %s cannot be read: %s", pool.name, error, extra=pool.log())

    def _pools(self) -> Iterable[Key]:
        """Yield the pools that serve a queue, and those whose queue has something of a job."""
        kind = RuntimePool.definition.kind
        for entry in self._state.resources.by_index(BY_KIND, kind):
            key = entry.value.key
            workloads = (entry.value.raw.get("spec") or {}).get("workloads") or ()
            if "Queue" in workloads or self._state.resources.by_index(JOBS_BY_POOL, key):
                yield Key(POOL_KIND, key.namespace, key.name)

    def _take(self, pool: Key, letter: DeadLetter) -> bool:
        """Take a dead letter in; return whether it can go."""
        message = letter.message
        try:
            task = None if message is None else message.task()
        except MessageMalformedError:
            task = None
        if message is None or task is None or task.job.namespace != pool.namespace:
            log.warning("a message was none of a job: %s", letter.reason, extra=pool.log())
            return True
        owner = OwnerKey(pool.namespace, task.job.uid)
        job = self._state.owner(owner)
        if job is None or job.queued is None or job.queued.pool != pool or is_over(job.raw, task.attempt):
            return True
        refused = letter.receives <= self._queues.max_receives
        reason = FailureReason.START_FAILED if refused else FailureReason.KILLED
        failed = Failed(reason=reason, message=clip(letter.reason))
        now = datetime.now(UTC).replace(microsecond=0)
        self._state.attempts.bury(owner, task.attempt, failed, now, refused=refused)
        return False
