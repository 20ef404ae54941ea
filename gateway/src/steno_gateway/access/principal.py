"""Principal: who a request comes from, whatever credential said so.

Separate because both kinds of credential make one, and know nothing of each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from steno_api.gateway.api_keys import ApiKey, ApiKeyLimits, Scope
from steno_api.gateway.known_keys import require_scope


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated client.

    Attributes:
        id: of its key, or of its identity provider's subject: not secret, for logs and labels.
        tenant: whose limits count.
        namespace: where its resources are created.
        scopes: what it may ask for.
        limits: how much of it; absent ones are the gateway's defaults.
        expires: when a token is not accepted any more (Unix time), not before by any clock; None: not by itself.
        signs_webhooks: whether its jobs may have webhooks, since it has a secret for them.
    """

    id: str
    tenant: str
    namespace: str
    scopes: frozenset[Scope]
    limits: ApiKeyLimits
    expires: float | None = field(default=None, compare=False)
    signs_webhooks: bool = False

    def require(self, scope: Scope) -> None:
        """Check that the client may ask for this kind of work.

        Raises:
            ApiError: `ScopeMissing`.
        """
        require_scope(self.scopes, scope)

    @classmethod
    def of_key(cls, record: ApiKey) -> Self:
        """Return who a key belongs to."""
        signs = record.webhook_secret is not None
        return cls(record.id, record.tenant, record.namespace, record.scopes, record.limits, signs_webhooks=signs)
