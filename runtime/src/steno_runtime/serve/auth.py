"""Session tokens, and what a client says of itself held against its token. The same for every protocol."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import ValidationError

from steno_api.failures import FailureReason
from steno_api.server.claims import TOKEN_ALGORITHM, TOKEN_ISSUER, SessionClaims, token_audience
from steno_api.server.task import PoolTask
from steno_runtime.errors import WorkError
from steno_runtime.serve.errors import Code, Refusal

MAX_TOKEN_CHARS = 4096
_REQUIRED = ("exp", "iat", "aud", "iss", "sub")
_LEEWAY_SECONDS = 5
_ANOTHER = "Take the one in the Secret that the StreamSession's status.tokenSecretName names."


class Verifier:
    """Checks tokens against the public keys of a pool's task; only Ed25519, whatever a token says of itself."""

    def __init__(self, keys: Sequence[str], audience: str) -> None:
        """Reads the keys.

        Args:
            keys: public keys, PEM.
            audience: `token_audience` of the pool.

        Raises:
            WorkError: `InvalidSpec`: a key is none, or of another kind.
        """
        self._keys = [_public_key(key) for key in keys]
        self._audience = audience

    def verify(self, token: str | None) -> SessionClaims:
        """Returns the claims of a token that holds.

        Raises:
            Refusal: `TokenMissing`, `TokenInvalid` or `TokenExpired`; nothing of the token is in the message.
        """
        if not token:
            raise Refusal(
                Code.TOKEN_MISSING,
                "There is no token. Send it as `Authorization: Bearer …`, as ?token= or in start_session. " + _ANOTHER,
            )
        if len(token) > MAX_TOKEN_CHARS:
            raise _invalid("The token is too long to be one of ours.")
        problem = _invalid("The token's signature is not of this cluster's operator.")
        for key in self._keys:
            try:
                return _claims(self._decode(token, key))
            except jwt.InvalidSignatureError:
                continue
            except Refusal as refusal:
                problem = refusal
                break
        raise problem from None

    def _decode(self, token: str, key: Ed25519PublicKey) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[TOKEN_ALGORITHM],
                audience=self._audience,
                issuer=TOKEN_ISSUER,
                leeway=_LEEWAY_SECONDS,
                options={"require": list(_REQUIRED), "strict_aud": True},
            )
        except jwt.InvalidSignatureError:
            raise
        except jwt.ExpiredSignatureError:
            raise Refusal(
                Code.TOKEN_EXPIRED,
                "The token has expired. Read it again: the operator renews it while the session lives.",
            ) from None
        except jwt.InvalidAudienceError:
            raise _invalid("The token is of another pool.") from None
        except jwt.InvalidAlgorithmError:
            raise _invalid("The token is not signed with Ed25519.") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _invalid("The token is damaged, or is no session token.") from None


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


def bearer(header: str | None) -> str | None:
    """Returns the token of an `Authorization` header, if it has one."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _claims(document: dict[str, Any]) -> SessionClaims:
    try:
        claims = SessionClaims.model_validate(document)
    except ValidationError:
        raise _invalid("The token lacks a claim.") from None
    if not (claims.namespace and claims.name and claims.uid and claims.tenant):
        raise _invalid("The token names no session.")
    return claims


def _invalid(message: str) -> Refusal:
    return Refusal(Code.TOKEN_INVALID, f"{message} {_ANOTHER}")


def _public_key(pem: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise WorkError(FailureReason.INVALID_SPEC, "tokenKeys has an entry that is no Ed25519 public key in PEM.")
    return key
