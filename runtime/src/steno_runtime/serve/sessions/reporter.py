"""Pool reporter: posts the sessions' state to the operator, and ends those that the answer names.

Best effort: a lost report is made good by the next one, and nothing here disturbs a session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import httpx
from pydantic import ValidationError

from steno_api.model import ObjectRef
from steno_api.server.reports import POOL_REPORT_PATH, PoolAnswer, PoolReport
from steno_api.worker.task import TaskReporting
from steno_runtime.serve.sessions.registry import SessionRegistry

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 1024 * 1024
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
        self._last_problem = ""
        # A proxy of the environment is meant for sources outside, never for the operator beside us.
        self._client = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS)

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
        sessions = self._registry.reports()
        problem, answer = "", None
        try:
            answer = await self._post(PoolReport(pool=self._pool, sessions=sessions))
        except httpx.HTTPStatusError as error:
            problem = f"the operator answered {error.response.status_code}"
        except ValidationError:
            problem = "the operator's answer is not a PoolAnswer"
        except Exception as error:  # noqa: BLE001  (a lost report is made good by the next one)
            problem = type(error).__name__
        if problem:
            self._on_lost()
            if problem != self._last_problem:
                log.warning("a report was lost", extra={"why": problem})
        self._last_problem = problem
        if answer is None:
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

    async def _post(self, report: PoolReport) -> PoolAnswer:
        # The token is replaced while we run, hence read each time.
        token = (await asyncio.to_thread(Path(self._reporting.token_file).read_text, "ascii")).strip()
        async with self._client.stream(
            "POST",
            self._reporting.url.rstrip("/") + POOL_REPORT_PATH,
            content=report.to_json(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        ) as response:
            response.raise_for_status()
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise ValueError("the answer is too large")
        return PoolAnswer.model_validate_json(body)
