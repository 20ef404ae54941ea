"""Who a client is: the claims of its token, held against what it asks for. The same for every protocol."""

from __future__ import annotations

import time
import uuid

from steno_api.stream import PoolTask, SessionClaims, token_audience
from steno_runtime.serve.refusals import Code, Refusal
from steno_runtime.serve.tokens import Verifier


class Access:
    """Of one pool. Without token keys (local use) everybody is let in, as a session of their own."""

    def __init__(self, task: PoolTask) -> None:
        self._task = task
        audience = token_audience(task.pool.namespace, task.pool.name)
        self._verifier = Verifier(task.token_keys, audience) if task.token_keys else None

    @property
    def open(self) -> bool:
        """Whether everybody is let in."""
        return self._verifier is None

    def claims(self, token: str | None) -> SessionClaims:
        """Returns whom a token speaks for.

        Raises:
            Refusal: `TokenMissing`, `TokenInvalid` or `TokenExpired`.
        """
        return self._anybody() if self._verifier is None else self._verifier.verify(token)

    def check(
        self,
        claims: SessionClaims,
        *,
        session: str | None = None,
        tenant: str | None = None,
        meeting: str | None = None,
    ) -> SessionClaims:
        """Holds what a client says of itself against its token; returns the claims to go on with.

        Args:
            claims: of its token.
            session: `<namespace>/<name>`, name or UID of the session.
            tenant: the tenant.
            meeting: the meeting; counts only where everybody is let in.

        Raises:
            Refusal: `TenantMismatch` or `SessionMismatch`.
        """
        if self._verifier is None:
            named = {"tenant": tenant, "meeting_id": meeting or session}
            return claims.model_copy(update={name: value for name, value in named.items() if value})
        if tenant and tenant != claims.tenant:
            raise Refusal(Code.TENANT_MISMATCH, "tenant_id is not the token's tenant. Leave it out, or take its own.")
        if session and session not in (claims.sub, claims.name, claims.uid):
            raise Refusal(
                Code.SESSION_MISMATCH, "The token is of another session. Take the token of the session you name."
            )
        return claims

    def _anybody(self) -> SessionClaims:
        uid, now = str(uuid.uuid4()), int(time.time())
        pool = self._task.pool
        return SessionClaims(
            aud=token_audience(pool.namespace, pool.name),
            sub=f"{pool.namespace}/{uid}",
            iat=now,
            exp=now + 3600,
            uid=uid,
            tenant=self._task.tenant,
            meetingID=uid,
        )
