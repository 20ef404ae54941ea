"""Work queue, as in client-go: each key once, never by two workers at once, with delays, and backoff on errors.

Groups of keys take turns, as flows do in the API server's priority and fairness: however many keys of one namespace are
due, a single one of another waits for one of them at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from steno_kube.backoff import Backoff
from steno_operator.telemetry import metrics

K = TypeVar("K")
log = logging.getLogger(__name__)


class RetryError(Exception):
    """Raised by a handler: nothing is wrong, handle again after `after` seconds (absent: the key's backoff)."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class WorkQueue(Generic[K]):
    """Keys to work on. All methods are to be called on the event loop; `add` and `add_after` never block."""

    def __init__(
        self,
        backoff: Backoff | None = None,
        *,
        expected: tuple[type[Exception], ...] = (),
        about: Callable[[K], dict[str, Any]] = lambda key: {"key": str(key)},
        group: Callable[[K], Hashable] = lambda _: None,
    ) -> None:
        """Make an empty queue.

        Args:
            backoff: waits after errors.
            expected: errors that need no traceback; a `retry_after` of theirs, in seconds, is honoured.
            about: the `extra` of log records about a key.
            group: the group that a key takes turns in; by default all are in one.
        """
        self._backoff = backoff or Backoff()
        self._expected = expected
        self._about = about
        self._group = group
        # Group → key → when it was added; groups in the order of their turns, the keys of each in order of age.
        self._ready: dict[Hashable, dict[K, float]] = {}
        self._depth = 0
        self._running: dict[K, float] = {}
        self._again: set[K] = set()  # added while running
        self._timers: dict[K, tuple[float, asyncio.TimerHandle]] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return self._depth

    def add(self, key: K) -> None:
        """Queue `key`, unless it is queued; one that is being worked on is queued again when that is done."""
        if key in self._running:
            self._again.add(key)
            return
        due = self._ready.setdefault(self._group(key), {})
        if key not in due:
            due[key] = time.monotonic()
            self._count(1)
            self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Queue `key` after a while; of several such requests the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if (timer := self._timers.get(key)) is not None:
            if timer[0] <= due:
                return
            timer[1].cancel()
        self._timers[key] = (due, loop.call_at(due, self._fire, key))

    def forget(self, key: K) -> None:
        """Drop what is remembered of a key that is gone: its timer and its failures."""
        self._failures.pop(key, None)
        if (timer := self._timers.pop(key, None)) is not None:
            timer[1].cancel()

    def longest_running(self) -> tuple[K, float] | None:
        """Return the key that a worker has been busy with longest, and the seconds."""
        if not self._running:
            return None
        key = min(self._running, key=self._running.__getitem__)
        return key, time.monotonic() - self._running[key]

    def _fire(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    async def _take(self) -> K:
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        group = next(iter(self._ready))
        due = self._ready.pop(group)
        key = next(iter(due))
        metrics.QUEUE_WAIT.observe(time.monotonic() - due.pop(key))
        if due:  # its next turn is after every other group's
            self._ready[group] = due
        self._count(-1)
        self._running[key] = time.monotonic()
        return key

    def _count(self, change: int) -> None:
        self._depth += change
        metrics.QUEUE_DEPTH.set(self._depth)

    def _release(self, key: K) -> None:
        metrics.RECONCILE_SECONDS.observe(time.monotonic() - self._running.pop(key))
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    async def _work(self, handle: Callable[[K], Awaitable[float | None]]) -> None:
        while True:
            key = await self._take()
            try:
                after = await handle(key)
            except RetryError as retry:
                self._retry(key, retry.after)
                log.debug("reconciling again: %s", retry, extra=self._about(key))
            except self._expected as error:
                metrics.RECONCILE_ERRORS.inc()
                delay = self._retry(key, None, getattr(error, "retry_after", None) or 0.0)
                log.warning("%s; trying again in %.1f s", error, delay, extra=self._about(key))
            except Exception:
                metrics.RECONCILE_ERRORS.inc()
                delay = self._retry(key, None)
                log.exception("reconciling failed; again in %.1f s", delay, extra=self._about(key))
            else:
                self._failures.pop(key, None)
                if after is not None:
                    self.add_after(key, after)
            finally:
                self._release(key)
            await asyncio.sleep(0)  # a key may need no request: watches, probes and reports have their turn

    def _retry(self, key: K, after: float | None, least: float = 0.0) -> float:
        if after is None:
            self._failures[key] = self._failures.get(key, 0) + 1
            after = max(least, self._backoff.delay(self._failures[key]))
        self.add_after(key, after)
        return after

    async def run(self, handle: Callable[[K], Awaitable[float | None]], workers: int) -> None:
        """Work until cancelled. `handle` returns after how many seconds to requeue its key, or None."""
        tasks = [asyncio.create_task(self._work(handle), name=f"worker-{number}") for number in range(workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)
            for _, timer in self._timers.values():
                timer.cancel()
            self._timers.clear()
