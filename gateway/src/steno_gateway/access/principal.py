"""Principal: who a request comes from, whatever credential said so.

Separate because both kinds of credential make one, and know nothing of each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from steno_api.gateway.api_keys import ApiKeyLimits, Scope
from steno_api.server.errors import ApiError, ErrorCode


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated client.

    Attributes:
        id: of its key, or of its identity provider's subject: not secret, for logs and labels.
        tenant: whose limits count.
        namespace: where its resources are created.
        scopes: what it may ask for.
        limits: how much of it; absent ones are the gateway's defaults.
    """

    id: str
    tenant: str
    namespace: str
    scopes: frozenset[Scope]
    limits: ApiKeyLimits

    def require(self, scope: Scope) -> None:
        """Check that the client may ask for this kind of work.

        Raises:
            ApiError: `ScopeMissing`.
        """
        if scope not in self.scopes:
            granted = ", ".join(sorted(self.scopes))
            message = f"This key is for {granted}, not for {scope}. Have one made that is: steno key create --scopes …"
            raise ApiError(ErrorCode.SCOPE_MISSING, message)
