"""Pool reporter: posts the state of sessions and uploads to the operator, and does what the answer says.

It ends the sessions that the answer names, and says which are open. Best effort: a lost report is made good by the next
one, and nothing here disturbs a session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from steno_api.model import ObjectRef
from steno_api.server.errors import ApiError
from steno_api.server.reports import POOL_REPORT_PATH, PoolAnswer, PoolReport
from steno_api.worker.task import TaskReporting
from steno_runtime.errors import WorkError
from steno_runtime.operator_client import AsyncOperatorClient
from steno_runtime.serve.access import SessionAccess
from steno_runtime.serve.auth import TokenVerifier
from steno_runtime.serve.metering import UploadMeter
from steno_runtime.serve.sessions.registry import SessionRegistry

log = logging.getLogger(__name__)

MIN_INTERVAL_SECONDS = 0.1
"""Between two reports, however often sessions change."""


class PoolReporter:
    """The reporting loop of a server."""

    def __init__(
        self,
        pool: ObjectRef,
        reporting: TaskReporting,
        registry: SessionRegistry,
        *,
        access: SessionAccess,
        uploads: UploadMeter,
        verifier: TokenVerifier | None,
        on_lost: Callable[[], None],
    ) -> None:
        """Prepare reports.

        Args:
            pool: that this server is of.
            reporting: where the operator is.
            registry: the sessions to report, and to end.
            access: what the operator says of tokens goes there.
            uploads: what was done for them; what the operator says of limits goes there.
            verifier: of tokens; the operator's new keys go there.
            on_lost: called for each report that does not arrive.
        """
        self._pool = pool
        self._reporting = reporting
        self._registry = registry
        self._access, self._verifier = access, verifier
        self._uploads = uploads
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
        report = PoolReport(
            pool=self._pool,
            sessions=self._registry.reports(),
            revision=self._access.revision,
            key_ids=None if self._verifier is None else self._verifier.key_ids,
            process=self._uploads.process,
            uploads=self._uploads.reports(),
        )
        answer = await self._client.post(report, PoolAnswer)
        if answer is None:
            self._on_lost()
            self._access.note_silence()
            return False
        self._take_keys(answer.key_ring)
        for order in answer.end:
            self._registry.end(order.uid, order.reason)
        self._registry.acknowledge(answer.known)
        self._uploads.update(answer.charged, answer.exhausted)
        self._access.update(answer)  # after the orders: they say why a session ends
        return True

    def _take_keys(self, ring: str | None) -> None:
        if ring is None or self._verifier is None:
            return
        try:
            self._verifier.take_key_ring(ring)
        except (ApiError, WorkError) as error:
            log.warning("the operator's keys were not taken", extra={"why": error.message})
        else:
            log.info("the operator has other keys", extra={"keys": self._verifier.key_ids})

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
