"""Access: authenticates a request and counts it, the same for every protocol.

Separate because every protocol needs it, and neither keys nor limits know the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from steno_api.gateway.api_keys import Scope
from steno_api.gateway.known_keys import ApiKeys
from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.oidc import OIDCTokens, looks_like_jwt
from steno_gateway.access.principal import Principal
from steno_gateway.access.rate_limits import Allowance, RateLimits

REVOCATION_SECONDS = 1.0
"""How often it is looked whether a key is valid still."""


@dataclass(frozen=True)
class Admitted:
    """A request that goes on."""

    principal: Principal
    allowance: Allowance
    is_key: bool
    """Whether it came with an API key, which may be revoked; a token only expires."""


class Access:
    """Who may ask for what."""

    def __init__(self, keys: ApiKeys, tokens: OIDCTokens, limits: RateLimits) -> None:
        """Admit whoever has a credential.

        Args:
            keys: API keys.
            tokens: of identity providers.
            limits: of both.
        """
        self.keys = keys
        self._tokens = tokens
        self._limits = limits

    @contextlib.asynccontextmanager
    async def admit(self, key: str | None, scope: Scope | None = None) -> AsyncIterator[Admitted]:
        """Authenticate a request, and count it until it ends.

        Args:
            key: the API key or token that it came with.
            scope: what it is for; None: anything a key is for.

        Raises:
            ApiError: those of `ApiKeys.authenticate` and `OIDCTokens.authenticate`, `ScopeMissing`, `RateLimited`.
        """
        principal = await self._authenticate(key)
        if scope is not None:
            principal.require(scope)
        async with self._limits.admit(principal) as allowance:
            yield Admitted(principal, allowance, is_key=not looks_like_jwt(key or ""))

    async def admit_more(self, admitted: Admitted) -> None:
        """Count a further request of a call that goes on, and has its place already.

        Raises:
            ApiError: `KeyInvalid`: the key was revoked, or the token has expired, meanwhile; `RateLimited`.
        """
        if not self._is_valid(admitted):
            message = "The key was revoked, or it has expired: begin another call with a valid one."
            raise ApiError(ErrorCode.KEY_INVALID, message)
        await self._limits.count(admitted.principal)

    async def revoked(self, admitted: Admitted) -> None:
        """Wait until the key or token of a request is not valid any more, for work that takes long."""
        while self._is_valid(admitted):  # noqa: ASYNC110 - a key also expires
            await asyncio.sleep(REVOCATION_SECONDS)

    def _is_valid(self, admitted: Admitted) -> bool:
        if admitted.is_key:
            return self.keys.is_known(admitted.principal.id)
        expires = admitted.principal.expires
        return expires is None or time.time() < expires

    async def _authenticate(self, key: str | None) -> Principal:
        if key is not None and looks_like_jwt(key):
            return await self._tokens.authenticate(key)
        return Principal.of_key(self.keys.authenticate(key))
