"""Attempts as messages in pools' queues: published here; workers' reports and dead letters say what became of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from steno_kube.keys import Key
from steno_kube.object_cache import OwnerKey
from steno_operator.control.cache.cluster_state import ClusterState
from steno_operator.control.cache.resource_records import POOL_KIND
from steno_operator.control.cache.snapshots.job import server_named
from steno_operator.control.reconcile.controller import RefusedError
from steno_operator.control.reconcile.executor import ActionHandler
from steno_operator.control.reconcile.queue_clients import QueueClients
from steno_operator.plan.common.plan import PublishAttempt
from steno_operator.plan.job.observed import ObservedJob
from steno_operator.telemetry import metrics
from steno_queue.errors import MessageTooLargeError, QueueError

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return the time, in whole seconds as plans have it."""
    return datetime.now(UTC).replace(microsecond=0)


class MessageAttempts:
    """Attempts that the servers of a pool carry out. Implements `Attempts`."""

    def __init__(self, queues: QueueClients, state: ClusterState, clock: Callable[[], datetime] = utc_now) -> None:
        """Prepare.

        Args:
            queues: of the pools.
            state: where what is known of messages goes.
            clock: the present.
        """
        self._queues, self._state, self._clock = queues, state, clock

    @property
    def handlers(self) -> dict[type, ActionHandler]:
        """See `Attempts`. Nothing stops one: a worker asks before it begins, and with each report."""
        return {PublishAttempt: self.start}

    def observe(self, observed: ObservedJob) -> ObservedJob:
        """See `Attempts`. An attempt of an earlier process is expected to be heard of from now on."""
        job = observed.job
        owner = OwnerKey(job.metadata.namespace or "", job.metadata.uid)
        if job.status.attempt and not job.status.completion_time:
            server = server_named(self._state, owner.namespace, job.status.pod_name)
            self._state.attempts.resume(owner, job.status.attempt, self._clock(), server)
        return replace(observed, message=self._state.attempts.get(owner))

    async def refresh(self, key: Key, uid: str) -> None:
        """See `Attempts`. There is nothing to read: a queue does not show its messages."""

    async def start(self, key: Key, uid: str, action: PublishAttempt) -> None:
        """See `Attempts`."""
        owner, pool = OwnerKey(key.namespace, uid), Key(POOL_KIND, key.namespace, action.pool)
        resource = self._state.owner(owner)
        latest = 0 if resource is None else (resource.raw.get("status") or {}).get("attempt", 0)
        if self._state.token_keys is None:
            raise RefusedError("The operator has not read its keys yet, with which it proves messages.", final=False)
        message = action.message.with_proof(self._state.token_keys.result_keys(*owner)[0])
        try:
            if action.attempt > latest or self._queues.may_lose:
                await self._queues.publish(pool, message)
        except QueueError as error:
            raise RefusedError(str(error), final=isinstance(error, MessageTooLargeError)) from None
        self._state.attempts.expect(owner, action.attempt, self._clock())
        if action.attempt > latest:
            metrics.ATTEMPTS.labels(key.kind).inc()
            log.info("attempt %d is in the queue of pool %s", action.attempt, action.pool, extra=key.log())

    async def stop(self, key: Key, uid: str, action: PublishAttempt) -> None:
        """See `Attempts`. Its worker hears of it with the next report."""
