"""Bearer-token authentication: the signed token of a StreamSession, compared with what a client claims.

The same for every protocol; nothing a client sends is read before its token.
"""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
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
from steno_runtime.serve.errors import ApiError, ErrorCode

MAX_TOKEN_CHARS = 4096
MAX_ENDED = 10_000
"""Sessions remembered so that their tokens are not used again; the oldest is forgotten first."""
_REQUIRED = ("exp", "iat", "aud", "iss", "sub")
_LEEWAY_SECONDS = 5
_REMEDY = "Take the one in the Secret that the StreamSession's status.tokenSecretName names."


class TokenVerifier:
    """Checks tokens against the public keys of a pool's task; only Ed25519, whatever algorithm a token names."""

    def __init__(self, keys: Sequence[str], audience: str) -> None:
        """Read the keys.

        Args:
            keys: public keys, PEM.
            audience: `token_audience` of the pool.

        Raises:
            WorkError: `InvalidSpec`: an entry is not a key, or a key of another kind.
        """
        self._keys = [_public_key(key) for key in keys]
        self._audience = audience

    def verify(self, token: str | None) -> SessionClaims:
        """Return the claims of a valid token.

        Raises:
            ApiError: `TokenMissing`, `TokenInvalid` or `TokenExpired`; nothing of the token is in the message.
        """
        if not token:
            raise ApiError(
                ErrorCode.TOKEN_MISSING,
                "The token is missing. Send it as `Authorization: Bearer …`, as ?token= or in start_session. "
                + _REMEDY,
            )
        if len(token) > MAX_TOKEN_CHARS:
            raise _invalid("The token is longer than a session token can be.")
        problem = _invalid("The token is not signed by this cluster's operator.")
        for key in self._keys:
            try:
                return _claims(self._decode(token, key))
            except jwt.InvalidSignatureError:
                continue
            except ApiError as error:
                problem = error
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
            raise ApiError(
                ErrorCode.TOKEN_EXPIRED,
                "The token has expired. Read it again: the operator renews it while the session lives.",
            ) from None
        except jwt.InvalidAudienceError:
            raise _invalid("The token is for another pool.") from None
        except jwt.InvalidAlgorithmError:
            raise _invalid("The token is not signed with Ed25519.") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _invalid("The token is damaged, or is not a session token.") from None


class EndedSessions:
    """The UIDs of sessions that have ended on this server; bounded, oldest forgotten first."""

    def __init__(self) -> None:
        self._uids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, uid: str) -> bool:
        return uid in self._uids

    def add(self, uid: str) -> None:
        """Remember that a session has ended."""
        self._uids[uid] = None
        while len(self._uids) > MAX_ENDED:
            self._uids.popitem(last=False)


class Authenticator:
    """Authenticates the clients of one pool. Without token keys (local use) every client gets a session of its own."""

    def __init__(self, task: PoolTask) -> None:
        self._task = task
        audience = token_audience(task.pool.namespace, task.pool.name)
        self._verifier = TokenVerifier(task.token_keys, audience) if task.token_keys else None

    @property
    def allows_anonymous(self) -> bool:
        """Whether tokens are not needed."""
        return self._verifier is None

    def authenticate(self, token: str | None) -> SessionClaims:
        """Return the claims of a client's token.

        Raises:
            ApiError: `TokenMissing`, `TokenInvalid` or `TokenExpired`.
        """
        return self._anonymous_claims() if self._verifier is None else self._verifier.verify(token)

    def check_claims(
        self,
        claims: SessionClaims,
        *,
        session: str | None = None,
        tenant: str | None = None,
        meeting: str | None = None,
    ) -> SessionClaims:
        """Compare what a client claims with its token; return the claims to go on with.

        Args:
            claims: those of its token.
            session: `<namespace>/<name>`, name or UID of the session.
            tenant: the tenant.
            meeting: the meeting; used only where tokens are not needed.

        Raises:
            ApiError: `TenantMismatch` or `SessionMismatch`.
        """
        if self._verifier is None:
            named = {"tenant": tenant, "meeting_id": meeting or session}
            return claims.model_copy(update={name: value for name, value in named.items() if value})
        if tenant and tenant != claims.tenant:
            message = "tenant_id is not the token's tenant. Leave it out, or send the token's own."
            raise ApiError(ErrorCode.TENANT_MISMATCH, message)
        if session and session not in (claims.sub, claims.name, claims.uid):
            message = "The token is for another session. Take the token of the session you name."
            raise ApiError(ErrorCode.SESSION_MISMATCH, message)
        return claims

    def _anonymous_claims(self) -> SessionClaims:
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


def bearer_token(header: str | None) -> str | None:
    """Return the token of an `Authorization` header, if it has one."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _claims(document: dict[str, Any]) -> SessionClaims:
    try:
        claims = SessionClaims.model_validate(document)
    except ValidationError:
        raise _invalid("The token lacks a claim.") from None
    if not (claims.namespace and claims.name and claims.uid and claims.tenant):
        raise _invalid("The token does not name a session.")
    return claims


def _invalid(message: str) -> ApiError:
    return ApiError(ErrorCode.TOKEN_INVALID, f"{message} {_REMEDY}")


def _public_key(pem: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise WorkError(FailureReason.INVALID_SPEC, "tokenKeys has an entry that is not an Ed25519 public key in PEM.")
    return key
