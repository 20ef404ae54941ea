"""Rate limits: requests that begin in a minute, by a sliding window, and requests at a time, of each key and tenant.

Each replica counts for itself, unless they share a Redis. The answer says what is left in the headers
`RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`, and `Retry-After` when nothing is.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.principal import Principal
from steno_gateway.settings import DefaultLimits


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client has left in this minute.

    Attributes:
        limit: requests in a minute.
        remaining: of them, now.
        reset: seconds until all of them are there again.
    """

    limit: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """Return the answer's headers."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


class RateLimits:
    """Counts what clients ask for."""

    def __init__(self, defaults: DefaultLimits, storage: Storage | None = None) -> None:
        """Count from zero.

        Args:
            defaults: of keys that have no limits of their own.
            storage: where requests are counted; None: in this process.
        """
        self._defaults = defaults
        self._limiter = SlidingWindowCounterRateLimiter(storage or MemoryStorage())
        self._running: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def admit(self, principal: Principal) -> AsyncIterator[Allowance]:
        """Count one request, and its place until it ends.

        Raises:
            ApiError: `RateLimited`, before anything is done.
        """
        most = principal.limits.concurrent_requests or self._defaults.concurrent_requests
        if self._running[principal.id] >= most:
            message = f"The key has {most} requests or live sessions open, and may have no more at a time."
            raise ApiError(ErrorCode.RATE_LIMITED, message, retry_after=1)
        allowance = await self.count(principal)
        self._running[principal.id] += 1
        try:
            yield allowance
        finally:
            self._running[principal.id] -= 1
            if not self._running[principal.id]:
                del self._running[principal.id]

    async def count(self, principal: Principal) -> Allowance:
        """Count one request that takes no place of its own.

        Raises:
            ApiError: `RateLimited`.
        """
        own = principal.limits.requests_per_minute or self._defaults.requests_per_minute
        windows = (
            (RateLimitItemPerMinute(own), ("key", principal.id)),
            (RateLimitItemPerMinute(self._defaults.tenant_requests_per_minute), ("tenant", principal.tenant)),
        )
        # Both are asked before either counts: a tenant's other keys lose nothing to one that is over its own limit.
        for window, names in windows:
            if not await self._limiter.test(window, *names):
                allowance = await self._allowance(window, *names)
                of = "tenant" if names[0] == "tenant" else "key"
                message = f"The {of} may begin {window.amount} requests in a minute. Try again later."
                raise ApiError(ErrorCode.RATE_LIMITED, message, retry_after=max(1, allowance.reset))
        for window, names in windows:
            await self._limiter.hit(window, *names)
        window, names = windows[0]
        return await self._allowance(window, *names)

    async def _allowance(self, window: RateLimitItemPerMinute, *names: str) -> Allowance:
        stats = await self._limiter.get_window_stats(window, *names)
        return Allowance(window.amount, stats.remaining, max(0, math.ceil(stats.reset_time - time.time())))
