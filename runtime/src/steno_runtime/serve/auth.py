"""Bearer-token authentication: the signed token of a StreamSession, compared with what a client claims; or an API key.

The same for every protocol; nothing a client sends is read before its token. API keys take the place of tokens where
there is no cluster: of each key's client, every connection gets a session of its own.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from pydantic import ValidationError

from steno_api.failures import FailureReason
from steno_api.gateway.api_keys import Scope
from steno_api.gateway.known_keys import ApiKeys, require_scope
from steno_api.server.claims import (
    KEY_RING_AUDIENCE,
    MAX_TOKEN_CHARS,
    TOKEN_ALGORITHM,
    TOKEN_ISSUER,
    KeyRing,
    SessionClaims,
    key_id,
    token_audience,
)
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.task import PoolTask
from steno_runtime.errors import WorkError
from steno_runtime.serve.access import LEEWAY_SECONDS

_REQUIRED = ("exp", "iat", "aud", "iss")
_REMEDY = "Take the one in the Secret that the StreamSession's status.tokenSecretName names."


class TokenVerifier:
    """Checks tokens against the operator's public keys; only Ed25519, whatever algorithm a token names.

    It begins with the keys of its task. Others replace them as the operator rotates its own: it is told so in a key
    ring, which has to be signed by one that is known, since reports are answered over plain HTTP.
    """

    def __init__(self, keys: Sequence[str], audience: str) -> None:
        """Read the keys.

        Args:
            keys: public keys, PEM.
            audience: `token_audience` of the pool.

        Raises:
            WorkError: `InvalidSpec`: an entry is not a key, or a key of another kind.
        """
        self._given = _public_keys(keys)
        self._keys = self._given
        self._audience = audience
        self._ring_issued = 0

    @property
    def key_ids(self) -> list[str]:
        """IDs of the keys that tokens are checked with."""
        return list(self._keys)

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
        return _claims(_decode(token, self._keys, self._audience))

    def take_key_ring(self, ring: str) -> None:
        """Check tokens with the keys of a key ring from now on.

        Raises:
            ApiError: `TokenInvalid`, `TokenExpired`: it is not the operator's, or not its latest.
            WorkError: `InvalidSpec`: an entry is not a key.
        """
        document = _decode(ring, self._given | self._keys, KEY_RING_AUDIENCE)
        try:
            claims = KeyRing.model_validate(document)
        except ValidationError:
            raise _invalid("The key ring lacks a claim.") from None
        if claims.iat < self._ring_issued:
            raise _invalid("The key ring is not the latest.")
        self._keys, self._ring_issued = _public_keys(claims.keys), claims.iat


def _decode(token: str, keys: Mapping[str, Ed25519PublicKey], audience: str) -> dict[str, Any]:
    """Return the claims of a JWT that one of the keys signed: the one that it names, if it names any of them."""
    try:
        named = jwt.get_unverified_header(token).get("kid")
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        named = None
    for key in [keys[named]] if isinstance(named, str) and named in keys else keys.values():
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[TOKEN_ALGORITHM],
                audience=audience,
                issuer=TOKEN_ISSUER,
                leeway=LEEWAY_SECONDS,
                options={"require": list(_REQUIRED), "strict_aud": True},
            )
        except jwt.InvalidSignatureError:
            continue
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
    raise _invalid("The token is not signed by this cluster's operator.")


class KeyClaims(SessionClaims):
    """Of a client with an API key: a session that nobody else knows, and the key it came with."""

    key_id: str


class Authenticator:
    """Authenticates the clients of one server: by tokens of a pool, by API keys, or not at all (local use)."""

    def __init__(self, task: PoolTask, keys: ApiKeys | None = None) -> None:
        """Prepare for one of the three.

        Args:
            task: the server's.
            keys: those that are valid now; None: clients have tokens, or the task says that they are anonymous.

        Raises:
            WorkError: `InvalidSpec`: see `TokenVerifier`.
        """
        self._task = task
        self._keys = keys
        audience = token_audience(task.pool.namespace, task.pool.name)
        local = task.anonymous or keys is not None
        self._verifier = None if local else TokenVerifier(task.token_keys, audience)

    @property
    def allows_anonymous(self) -> bool:
        """Whether neither a token nor a key is needed."""
        return self._verifier is None and self._keys is None

    @property
    def verifier(self) -> TokenVerifier | None:
        """What checks tokens; None where they are not needed."""
        return self._verifier

    def authenticate(self, token: str | None, scope: Scope | None = None) -> SessionClaims:
        """Return the claims of a client's token, or those of a new session of an API key's client.

        Args:
            token: the token or key.
            scope: what it has to be for, if it is a key; None: for anything.

        Raises:
            ApiError: `TokenMissing`, `TokenInvalid` or `TokenExpired`; those of `ApiKeys.authenticate`, `ScopeMissing`.
        """
        if self._keys is not None:
            record = self._keys.authenticate(token)
            if scope is not None:
                require_scope(record.scopes, scope)
            own = self._local_claims(record.tenant)
            return KeyClaims(**dict(own), key_id=record.id)
        return self._local_claims(self._task.tenant) if self._verifier is None else self._verifier.verify(token)

    def key_revocation(self, claims: SessionClaims) -> ApiError | None:
        """Return why the API key that work was begun with is void by now; None: it is not, or there was none."""
        if self._keys is None or not isinstance(claims, KeyClaims) or self._keys.is_known(claims.key_id):
            return None
        return ApiError(ErrorCode.KEY_INVALID, "The API key was revoked, or has expired. Have another one made.")

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
            meeting: the meeting; used only where there are no tokens.

        Raises:
            ApiError: `TenantMismatch` or `SessionMismatch`.
        """
        if self._verifier is None:  # what a client calls its meeting and session is free text
            named = {"tenant": None if self._keys is not None else tenant, "meeting_id": meeting or session}
            return claims.model_copy(update={name: value for name, value in named.items() if value})
        if tenant and tenant != claims.tenant:
            message = "tenant_id is not the token's tenant. Leave it out, or send the token's own."
            raise ApiError(ErrorCode.TENANT_MISMATCH, message)
        if session and session not in (claims.sub, claims.name, claims.uid):
            message = "The token is for another session. Take the token of the session you name."
            raise ApiError(ErrorCode.SESSION_MISMATCH, message)
        return claims

    def _local_claims(self, tenant: str) -> SessionClaims:
        uid, now = str(uuid.uuid4()), int(time.time())
        pool = self._task.pool
        return SessionClaims(
            aud=token_audience(pool.namespace, pool.name),
            sub=f"{pool.namespace}/{uid}",
            iat=now,
            exp=now + 3600,
            uid=uid,
            tenant=tenant,
            meetingID=uid,
        )


def header_token(headers: Mapping[str, str]) -> str | None:
    """Return the token or API key in the headers of a request, or the metadata of a call, with names in lower case."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or headers.get("x-api-key", "").strip() or None


def query_token(query: Mapping[str, str]) -> str | None:
    """Return the token or API key in the query of a WebSocket's URL: browsers cannot set its headers."""
    return query.get("token") or query.get("api_key") or None


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


def _public_keys(pems: Sequence[str]) -> dict[str, Ed25519PublicKey]:
    """Return public keys by their IDs."""
    keys = [_public_key(pem) for pem in pems]
    return {key_id(key.public_bytes(Encoding.Raw, PublicFormat.Raw)): key for key in keys}


def _public_key(pem: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise WorkError(FailureReason.INVALID_SPEC, "tokenKeys has an entry that is not an Ed25519 public key in PEM.")
    return key
