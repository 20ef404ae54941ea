"""Tells the operator of the sessions, and hears which are to end. Best effort: nothing here disturbs a session."""

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
from steno_runtime.serve.sessions.registry import Registry

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 1024 * 1024
LEAST_PAUSE_SECONDS = 0.1
"""Between two reports, however much happens."""


class Reports:
    """The reporting loop of a server."""

    def __init__(
        self, pool: ObjectRef, reporting: TaskReporting, registry: Registry, on_lost: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._reporting = reporting
        self._registry = registry
        self._on_lost = on_lost
        self._news = asyncio.Event()
        self._complaint = ""
        # A proxy of the environment is meant for sources outside, never for the operator beside us.
        self._client = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS)

    def urge(self) -> None:
        """A session began or ended: the next report is due at once."""
        self._news.set()

    async def run(self) -> None:
        """Reports until cancelled."""
        while True:
            self._news.clear()
            await self.report()
            await asyncio.sleep(LEAST_PAUSE_SECONDS)
            try:
                async with asyncio.timeout(max(LEAST_PAUSE_SECONDS, self._reporting.interval_seconds)):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def report(self) -> bool:
        """Reports once and obeys the answer; returns whether there was one."""
        sessions = self._registry.reports()
        complaint, answer = "", None
        try:
            answer = await self._post(PoolReport(pool=self._pool, sessions=sessions))
        except httpx.HTTPStatusError as error:
            complaint = f"the operator answered {error.response.status_code}"
        except ValidationError:
            complaint = "the operator's answer is none of a pool's operator"
        except Exception as error:  # noqa: BLE001  (a lost report is made good by the next one)
            complaint = type(error).__name__
        if complaint:
            self._on_lost()
            if complaint != self._complaint:
                log.warning("a report was lost", extra={"why": complaint})
        self._complaint = complaint
        if answer is None:
            return False
        for order in answer.end:
            self._registry.end(order.uid, order.reason)
        self._registry.forget(answer.known)
        return True

    async def last(self, until: float) -> None:
        """Reports until the operator knows of every end, or it is `until` (loop time)."""
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
        """Closes the connections."""
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
                    raise ValueError("the answer is too long")
        return PoolAnswer.model_validate_json(body)
