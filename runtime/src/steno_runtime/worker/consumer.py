"""Consumer of a pool's queue: a message is acknowledged once the operator has recorded how its attempt ended.

Delivery is at least once, and so is the work: what was published is found and reported again. A lost worker's message
comes to another one when its lease ends; while a worker lives, its heartbeat keeps the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Literal, Protocol

from steno_api.model import ObjectRef
from steno_api.server.task import ATTEMPTS_AT_ONCE
from steno_api.v1alpha1.job import Progress
from steno_api.worker.report import ATTEMPT_REPORT_PATH, AttemptAnswer, AttemptReport
from steno_api.worker.task import AnyTask, TaskReporting
from steno_api.worker.termination import TerminationMessage
from steno_queue.errors import MessageMalformedError, QueueError
from steno_queue.interface import Delivery, Queue
from steno_runtime.operator_client import AsyncOperatorClient
from steno_runtime.worker.signals import SHIELDED_GRACE_SECONDS, StopRequest
from steno_runtime.worker.warm import WarmWorker

log = logging.getLogger(__name__)

BRIEF_AT_ONCE = 14
"""Attempts of brief recordings that are made beside the others. They keep the engine's batches full while as many are
fetched, published, or wait until their end is recorded."""

BRIEF_INTERVALS = 4
"""A brief attempt reports its progress in one of so many intervals: most are over before, and there are many."""

WAIT_SECONDS = 5.0
"""For a message; not interrupted by a drain, since what the server has just handed out must not be lost."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
"""Before something is tried again; doubled each time."""

UNPROVEN = "The operator did not make this message, or changed its keys twice since."
"""Why a message is a dead letter that has no proof of its job."""

Outcome = Literal["Succeeded", "Failed", "GivenBack", "NotWanted", "Refused"]
"""What became of a message that was received. `GivenBack`: another server goes on with it; `NotWanted`: its job was
deleted, suspended or is over; `Refused`: it is a dead letter now."""


@dataclass
class Tally:
    """What a consumer has done since it began.

    Attributes:
        receives: messages, by whether they had been delivered before.
        ended: of them, those that this consumer is done with.
    """

    receives: Counter[bool] = field(default_factory=Counter[bool])
    ended: Counter[Outcome] = field(default_factory=Counter[Outcome])

    @property
    def in_flight(self) -> int:
        """Messages that this consumer has now."""
        return self.receives.total() - self.ended.total()


class Reports(Protocol):
    """Where attempts are reported."""

    async def send(self, report: AttemptReport) -> AttemptAnswer | None:
        """Send a report; None: it was lost."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class OperatorReports:
    """See `Reports`: the operator's endpoint."""

    def __init__(self, reporting: TaskReporting) -> None:
        self._client = AsyncOperatorClient(reporting, ATTEMPT_REPORT_PATH)

    async def send(self, report: AttemptReport) -> AttemptAnswer | None:
        """See `Reports`."""
        return await self._client.post(report, AttemptAnswer)

    async def aclose(self) -> None:
        """See `Reports`."""
        await self._client.aclose()


class _Place:
    """One of the places for attempts that may take long; left once, at the latest when its attempt is over."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free, self.left = free, False

    def leave(self) -> None:
        if not self.left:
            self.left = True
            self._free.release()


@dataclass(eq=False)
class _Attempt:
    """One delivery of a message, being worked on."""

    pool: ObjectRef
    task: AnyTask
    delivery: Delivery
    place: _Place
    process: str
    stop: StopRequest
    keys: Sequence[bytes] = ()
    progress: Progress | None = None
    wanted: bool = True

    def report(self, ended: TerminationMessage | None = None) -> AttemptReport:
        """Return the report of its present state."""
        return AttemptReport(
            pool=self.pool,
            job=self.task.job,
            kind=self.task.kind,
            attempt=self.task.attempt,
            process=self.process,
            progress=self.progress if ended is None else None,
            ended=ended,
        )

    def on_progress(self, progress: Progress) -> None:
        """Remember the progress; called by the thread that works."""
        self.progress = progress


class Consumer:
    """Takes messages of a queue and makes their attempts, until it is drained."""

    def __init__(
        self,
        queue: Queue,
        worker: WarmWorker,
        reports: Reports,
        *,
        pool: ObjectRef,
        heartbeat_seconds: float,
        report_seconds: float,
        at_once: int = ATTEMPTS_AT_ONCE,
        brief_at_once: int = BRIEF_AT_ONCE,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Prepare.

        Args:
            queue: of the pool.
            worker: makes the attempts.
            reports: to the operator.
            pool: whose queue it is.
            heartbeat_seconds: after which a message is extended, well within its visibility timeout.
            report_seconds: between reports of progress, and thus until a job that is cancelled is noticed; longer for
                brief attempts.
            at_once: attempts at a time of which it is not known that they are brief.
            brief_at_once: attempts that are, beside them.
            wait_seconds: for a message; a drain waits for its end.
        """
        self._queue, self._worker, self._reports, self._pool = queue, worker, reports, pool
        self._heartbeat_seconds, self._report_seconds = heartbeat_seconds, report_seconds
        self._at_once, self._wait_seconds = at_once + brief_at_once, wait_seconds
        self._places, self._pause = asyncio.Semaphore(at_once), FIRST_PAUSE_SECONDS
        self.tally = Tally()
        self._threads = ThreadPoolExecutor(self._at_once, "attempt")
        self._attempts: set[_Attempt] = set()
        self._draining, self._abandoned = asyncio.Event(), asyncio.Event()
        self._idle = asyncio.Event()
        self._receiving, self._received_last = 0, asyncio.Event()

    async def run(self) -> None:
        """Consume until `drain`.

        Raises:
            ExceptionGroup: of an error that nothing here is prepared for; attempts that go on are stopped.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._at_once):
                    group.create_task(self._consume())
        finally:
            self._threads.shutdown(wait=False)
            self._idle.set()

    async def drain(self, until: float, last: float | None = None) -> None:
        """Take no more messages, finish what goes on, and give back what is not finished.

        Args:
            until: when attempts are stopped (loop time).
            last: when this returns, whatever still goes on: the message comes to another worker when its lease ends;
                None: after the time that shielded work may take.
        """
        self._draining.set()
        self._note_last()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._idle.wait()
                return
        self._abandoned.set()
        for attempt in self._attempts:
            attempt.stop.request()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until + SHIELDED_GRACE_SECONDS if last is None else last):
                await self._idle.wait()

    async def _consume(self) -> None:
        while not self._draining.is_set():
            await self._places.acquire()
            place = _Place(self._places)
            try:
                await self._take(place)
            finally:
                place.leave()

    async def _take(self, place: _Place) -> None:
        """Take a message, unless a drain has begun, and do what it asks for."""
        if self._draining.is_set():
            return
        try:
            for delivery in await self._receive():
                self._pause = FIRST_PAUSE_SECONDS
                await self._count(delivery, place)
        except QueueError as error:
            log.warning("the queue cannot be used", extra={"why": str(error)})
            pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            await _wait(self._draining, pause)

    async def _receive(self) -> list[Delivery]:
        self._receiving += 1
        try:
            return await self._queue.receive(1, self._wait_seconds)
        finally:
            self._receiving -= 1
            self._note_last()

    def _note_last(self) -> None:
        if self._draining.is_set() and not self._receiving:
            self._received_last.set()

    async def _give_back(self, delivery: Delivery) -> Outcome:
        # Not while this consumer itself would receive it once more: a message has so many deliveries.
        await self._received_last.wait()
        await delivery.release()
        return "GivenBack"

    async def _count(self, delivery: Delivery, place: _Place) -> None:
        self.tally.receives[delivery.receives > 1] += 1
        outcome: Outcome = "GivenBack"  # unless that becomes known: it is delivered again when its lease ends
        try:
            outcome = await self._handle(delivery, place)
        finally:
            self.tally.ended[outcome] += 1

    async def _handle(self, delivery: Delivery, place: _Place) -> Outcome:
        if self._draining.is_set():
            return await self._give_back(delivery)
        try:
            task = self._worker.task_of(delivery.message)
        except MessageMalformedError as error:
            log.warning("a message is refused", extra={"message_id": delivery.message.id, "why": str(error)})
            await delivery.reject(str(error))
            return "Refused"
        attempt = _Attempt(self._pool, task, delivery, place, _process_id(), StopRequest())
        async with self._kept(attempt):
            return await self._attend(attempt)

    async def _attend(self, attempt: _Attempt) -> Outcome:
        """Ask whether an attempt is wanted, and make it if the operator made the message."""
        fields = {"job": f"{attempt.task.job.namespace}/{attempt.task.job.name}", "attempt": attempt.task.attempt}
        answer = await self._send(attempt.report(), lambda _: True, self._draining)
        if answer is None:
            return await self._give_back(attempt.delivery)
        if answer.recorded or not answer.wanted:
            log.info("an attempt is not wanted any more", extra=fields)
            await attempt.delivery.ack()
            return "NotWanted"
        attempt.keys = [bytes.fromhex(key) for key in answer.keys]
        if attempt.keys and not attempt.delivery.message.is_proven(attempt.keys):
            log.warning("a message that the operator did not make is refused", extra=fields)
            await attempt.delivery.reject(UNPROVEN)
            return "Refused"
        log.info("attempt", extra=fields | {"receives": attempt.delivery.receives})
        return await self._make(attempt, fields)

    async def _make(self, attempt: _Attempt, fields: Mapping[str, object]) -> Outcome:
        """Make an attempt, and report its end until that is recorded."""
        ended = await self._work(attempt)
        if ended.result is None:
            await self._reports.send(attempt.report(ended))
            if attempt.wanted:
                return await self._give_back(attempt.delivery)
            await attempt.delivery.ack()
            return "NotWanted"
        done = await self._send(attempt.report(ended), lambda it: it.recorded or not it.wanted, self._abandoned)
        log.info("done", extra={**fields, "outcome": ended.result.outcome, "recorded": done is not None})
        if done is None:
            return await self._give_back(attempt.delivery)
        await attempt.delivery.ack()
        return ended.result.outcome

    async def _work(self, attempt: _Attempt) -> TerminationMessage:
        """Make an attempt in a thread, and report its progress meanwhile."""
        loop = asyncio.get_running_loop()
        make = partial(
            self._worker.work,
            attempt.task,
            attempt.stop,
            attempt.on_progress,
            keys=attempt.keys,
            on_brief=partial(loop.call_soon_threadsafe, attempt.place.leave),
        )
        work = loop.run_in_executor(self._threads, make)
        try:
            for interval in itertools.count(1):
                await asyncio.wait((work,), timeout=self._report_seconds)
                if work.done():
                    break
                if attempt.place.left and interval % BRIEF_INTERVALS:
                    continue
                answer = await self._reports.send(attempt.report())
                if answer is not None and not answer.wanted and attempt.wanted:
                    attempt.wanted = False
                    attempt.stop.request()
            return work.result()
        finally:
            attempt.stop.request()  # of no consequence unless this consumer ends before the work

    async def _send(
        self, report: AttemptReport, enough: Callable[[AttemptAnswer], bool], given_up: asyncio.Event
    ) -> AttemptAnswer | None:
        """Send a report until an answer is enough; None: `given_up` came first."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            answer = await self._reports.send(report)
            if answer is not None and enough(answer):
                return answer
            if given_up.is_set():
                return None
            await _wait(given_up, pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    @contextlib.asynccontextmanager
    async def _kept(self, attempt: _Attempt) -> AsyncIterator[None]:
        """Keep a message while it is worked on."""
        self._attempts.add(attempt)
        if self._abandoned.is_set():
            attempt.stop.request()
        heartbeat = asyncio.create_task(self._beat(attempt.delivery), name="heartbeat")
        try:
            yield
        finally:
            self._attempts.discard(attempt)
            heartbeat.cancel()

    async def _beat(self, delivery: Delivery) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                if not await delivery.extend():
                    # Another worker has it too. Whoever publishes first is right, and both report the same.
                    log.warning("a message's lease has ended", extra={"message_id": delivery.message.id})
                    return
            except QueueError as error:
                log.warning("a message could not be extended", extra={"why": str(error)})


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _process_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{socket.gethostname()[:40]}-{secrets.token_hex(4)}"
