"""Pool reporter: posts the sessions' state to the operator, and ends those that the answer names.

Best effort: a lost report is made good by the next one, and nothing here disturbs a session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from steno_api.model import ObjectRef
from steno_api.server.reports import POOL_REPORT_PATH, PoolAnswer, PoolReport
from steno_api.worker.task import TaskReporting
from steno_runtime.operator_client import AsyncOperatorClient
from steno_runtime.serve.sessions.registry import SessionRegistry

MIN_INTERVAL_SECONDS = 0.1
"""Between two reports, however often sessions change."""


class PoolReporter:
    """The reporting loop of a server."""

    def __init__(
        self, pool: ObjectRef, reporting: TaskReporting, registry: SessionRegistry, on_lost: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._reporting = reporting
        self._registry = registry
        self._on_lost = on_lost
        self._due = asyncio.Event()
        self._client = AsyncOperatorClient(reporting, POOL_REPORT_PATH)

    def request_report(self) -> None:
        """Send the next report at once: a session was opened or has ended."""
        self._due.set()

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            self._due.clear()
            await self.report()
            await asyncio.sleep(MIN_INTERVAL_SECONDS)
            try:
                async with asyncio.timeout(max(MIN_INTERVAL_SECONDS, self._reporting.interval_seconds)):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def report(self) -> bool:
        """Report once and act on the answer; return whether there was one."""
        report = PoolReport(pool=self._pool, sessions=self._registry.reports())
        answer = await self._client.post(report, PoolAnswer)
        if answer is None:
            self._on_lost()
            return False
        for order in answer.end:
            self._registry.end(order.uid, order.reason)
        self._registry.acknowledge(answer.known)
        return True

    async def report_until_acknowledged(self, until: float) -> None:
        """Report until the operator knows of every end, or it is `until` (loop time)."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            try:
                async with asyncio.timeout_at(until):
                    if await self.report() and not self._registry.reports():
                        return
                    await asyncio.sleep(0.5)
            except TimeoutError:
                return

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
