"""Rate limits: a key's own, its tenant's, and requests at a time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from steno_api.gateway.api_keys import ApiKeyLimits, Scope
from steno_api.server.errors import ApiError
from steno_gateway.access.principal import Principal
from steno_gateway.access.rate_limits import RateLimits
from steno_gateway.settings import DefaultLimits


def principal(key_id: str = "a", tenant: str = "acme", **limits: int) -> Principal:
    return Principal(key_id, tenant, "team-a", frozenset(Scope), ApiKeyLimits(**limits))


async def ask(limits: RateLimits, who: Principal) -> int:
    """What is left, or minus the seconds to wait."""
    try:
        async with limits.admit(who) as allowance:
            return allowance.remaining
    except ApiError as error:
        if error.status.http != 429 or error.retry_after is None:
            raise
        return -error.retry_after


async def test_a_key_has_so_many_requests_in_a_minute():
    limits = RateLimits(DefaultLimits())
    left = [await ask(limits, principal(requests_per_minute=3)) for _ in range(4)]
    assert left[:3] == [2, 1, 0]
    assert -60 <= left[3] <= -1
    assert await ask(limits, principal("b", requests_per_minute=3)) == 2


async def test_a_tenants_keys_share_its_limit_and_lose_nothing_to_one_that_is_over_its_own():
    limits = RateLimits(DefaultLimits(tenant_requests_per_minute=4))
    mine, other = principal("a", requests_per_minute=1), principal("b")
    assert await ask(limits, mine) >= 0
    for _ in range(10):
        assert await ask(limits, mine) < 0
    assert [await ask(limits, other) >= 0 for _ in range(4)] == [True, True, True, False]
    assert await ask(limits, principal("c", tenant="else")) >= 0


async def test_so_many_requests_at_a_time():
    limits, who = RateLimits(DefaultLimits()), principal(concurrent_requests=2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(limits.admit(who))
        with pytest.raises(ApiError):
            await stack.enter_async_context(limits.admit(who))
    assert await ask(limits, who) >= 0


async def test_a_place_is_free_again_whatever_ended_the_request():
    limits, who = RateLimits(DefaultLimits()), principal(concurrent_requests=1)
    for error in (ValueError, asyncio.CancelledError):
        with pytest.raises(error):
            async with limits.admit(who):
                raise error
    assert await ask(limits, who) >= 0
