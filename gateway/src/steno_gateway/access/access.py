"""Access: authenticates a request and counts it, the same for every protocol.

Separate because every protocol needs it, and neither keys nor limits know the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from steno_api.gateway.api_keys import Scope
from steno_api.gateway.known_keys import ApiKeys
from steno_gateway.access.principal import Principal
from steno_gateway.access.rate_limits import Allowance, RateLimits


@dataclass(frozen=True)
class Admitted:
    """A request that goes on."""

    principal: Principal
    allowance: Allowance


class Access:
    """Who may ask for what."""

    def __init__(self, keys: ApiKeys, limits: RateLimits) -> None:
        self.keys = keys
        self._limits = limits

    @contextlib.asynccontextmanager
    async def admit(self, key: str | None, scope: Scope | None = None) -> AsyncIterator[Admitted]:
        """Authenticate a request, and count it until it ends.

        Args:
            key: the API key that it came with.
            scope: what it is for; None: anything a key is for.

        Raises:
            ApiError: those of `ApiKeys.authenticate`, `ScopeMissing`, `RateLimited`.
        """
        principal = Principal.of_key(self.keys.authenticate(key))
        if scope is not None:
            principal.require(scope)
        async with self._limits.admit(principal) as allowance:
            yield Admitted(principal, allowance)
