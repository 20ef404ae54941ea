"""Events on their way to the API server: written beside the work, so that no job waits for another's story."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from steno_operator.control.kube.keys import Key
from steno_operator.plan.common.plan import EmitEvent

log = logging.getLogger(__name__)

_LIMIT = 10_000
"""Events that wait at most; what comes on top is dropped: an API server that slow has other worries."""
_AT_ONCE = 4


class Teller:
    """A queue of Events. What waits at the end of the process is not told; it is in the statuses as well."""

    def __init__(self, emit: Callable[[Key, dict[str, Any], EmitEvent], Awaitable[None]]) -> None:
        """Makes an empty queue; `emit` writes one Event, and raises nothing."""
        self._emit = emit
        self._waiting: asyncio.Queue[tuple[Key, dict[str, Any], EmitEvent]] = asyncio.Queue(_LIMIT)

    def tell(self, key: Key, raw: dict[str, Any], event: EmitEvent) -> None:
        """Has an Event about the resource `raw` of `key` written soon, after those that wait."""
        try:
            self._waiting.put_nowait((key, raw, event))
        except asyncio.QueueFull:
            log.warning("Event %s was dropped: %d wait already", event.reason, _LIMIT, extra=key.log())

    async def run(self) -> None:
        """Writes until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(_AT_ONCE):
                group.create_task(self._work(), name=f"teller-{number}")

    async def _work(self) -> None:
        while True:
            await self._emit(*await self._waiting.get())
