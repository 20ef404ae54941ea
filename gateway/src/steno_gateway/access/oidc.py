"""OIDC: JWTs of identity providers, verified with the keys that each publishes (JWKS), beside API keys.

Keys are fetched when they are needed, and again after a while, or when a token names one that is not known: at most
once in `REFETCH_SECONDS`, whatever tokens strangers make up. A provider that does not answer costs no token of a key
that is known.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
import jwt

from steno_api.gateway.api_keys import ApiKeyLimits, Scope
from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.answers import AnswerTooLargeError, read_answer
from steno_gateway.access.principal import Principal
from steno_gateway.settings import OIDCIssuer

log = logging.getLogger(__name__)

REFRESH_SECONDS = 600.0
"""Age of keys from which on they are fetched again: a provider that withdraws one is believed from then on."""
REFETCH_SECONDS = 15.0
"""Least time between two fetches."""
TIMEOUT = aiohttp.ClientTimeout(total=10)
MAX_DOCUMENT_BYTES = 512 * 1024
MAX_TOKEN_CHARS = 8192
LEEWAY_SECONDS = 30
"""By which clocks may differ."""


class UnusableAnswerError(Exception):
    """An issuer's answer is not what it should be."""


_UNUSABLE = (
    aiohttp.ClientError,
    TimeoutError,
    AnswerTooLargeError,
    UnusableAnswerError,
    ValueError,
    jwt.PyJWTError,
)


def looks_like_jwt(credential: str) -> bool:
    """Return whether a credential has the form of a JWT; no API key has."""
    return credential.count(".") == 2


@dataclass
class _Keys:
    """The public keys of an issuer, by ID, as they were last fetched."""

    known: dict[str | None, jwt.PyJWK] = field(default_factory=dict[str | None, jwt.PyJWK])
    fetched: float = -REFRESH_SECONDS
    tried: float = -REFETCH_SECONDS
    fetching: asyncio.Lock = field(default_factory=asyncio.Lock)


class OIDCTokens:
    """Verifies tokens of the configured issuers."""

    def __init__(self, issuers: Iterable[OIDCIssuer]) -> None:
        """Fetch nothing yet."""
        self._issuers = {each.issuer: each for each in issuers}
        self._keys = {each: _Keys() for each in self._issuers}

    async def authenticate(self, token: str) -> Principal:
        """Return whom a token was issued for.

        Raises:
            ApiError: `KeyInvalid`, `KeyExpired`; `KeyNotUsable`: its tenant is not among the issuer's; `NotReady`: the
                issuer does not answer.
        """
        issuer, key_id = self._issuer_of(token)
        key = await self._key(issuer, key_id)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=list(issuer.algorithms),
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise ApiError(ErrorCode.KEY_EXPIRED, "The token has expired. Get another from its issuer.") from None
        except jwt.PyJWTError as error:
            raise _invalid(f"The token is not valid for this gateway: {_why(error)}.") from None
        return _principal(issuer, claims)

    def _issuer_of(self, token: str) -> tuple[OIDCIssuer, str | None]:
        """Return whose token this claims to be, and with which key it is signed; neither is verified yet."""
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise _invalid(f"A token has at most {MAX_TOKEN_CHARS} characters, all of them ASCII.")
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            raise _invalid("The API key is not known, and it is no token either.") from None
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise _invalid("The token's issuer is not one of this gateway's.")
        if header.get("alg") not in issuer.algorithms:
            raise _invalid("The token is signed with an algorithm that is not accepted.")
        return issuer, header.get("kid")

    async def _key(self, issuer: OIDCIssuer, key_id: str | None) -> jwt.PyJWK:
        keys = self._keys[issuer.issuer]
        async with keys.fetching:
            now = time.monotonic()
            stale = key_id not in keys.known or now - keys.fetched >= REFRESH_SECONDS
            if stale and now - keys.tried >= REFETCH_SECONDS:
                keys.tried = now
                try:
                    keys.known = await _fetch(issuer)
                    keys.fetched = now
                except _UNUSABLE as error:
                    log.warning("the keys of an issuer cannot be fetched: %s", error, extra={"issuer": issuer.issuer})
        if key_id in keys.known:
            return keys.known[key_id]
        if keys.fetched < 0:
            message = "The token cannot be verified now: its issuer's keys cannot be fetched."
            raise ApiError(ErrorCode.NOT_READY, message, retry_after=int(REFETCH_SECONDS))
        raise _invalid("The token is signed with a key that its issuer does not publish.")


async def _fetch(issuer: OIDCIssuer) -> dict[str | None, jwt.PyJWK]:
    """Return an issuer's keys by ID; one without an ID is the only one, or cannot be used.

    Raises:
        aiohttp.ClientError, TimeoutError: the issuer does not answer.
        AnswerTooLargeError, UnusableAnswerError, ValueError, jwt.PyJWTError: the answer is no set of keys.
    """
    # What the environment says of certificates and proxies holds; redirects do not: an issuer says where its keys are.
    async with aiohttp.ClientSession(timeout=TIMEOUT, trust_env=True) as session:
        url = issuer.jwks_url
        if url is None:
            found = await _get(session, f"{issuer.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != issuer.issuer or not isinstance(found.get("jwks_uri"), str):
                raise UnusableAnswerError("the discovery document names another issuer, or no keys")
            url = found["jwks_uri"]
            if issuer.issuer.startswith("https:") and not url.startswith("https:"):
                raise UnusableAnswerError("the discovery document names keys without TLS")
        document = await _get(session, url)
    keys = jwt.PyJWKSet.from_dict(document).keys
    return {key.key_id: key for key in keys if key.public_key_use in (None, "sig")}


async def _get(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url, allow_redirects=False, raise_for_status=True) as response:
        if response.status != HTTPStatus.OK:
            raise UnusableAnswerError(f"{url} answers {response.status}")
        body = await read_answer(response, MAX_DOCUMENT_BYTES)
    document = json.loads(body)
    if not isinstance(document, dict):
        raise UnusableAnswerError(f"{url} is no JSON object")
    return document


def _principal(issuer: OIDCIssuer, claims: Mapping[str, Any]) -> Principal:
    """Return who a verified token names: the claims are the issuer's, what they give is the administrator's."""
    tenant = claims.get(issuer.tenant_claim)
    namespace = issuer.namespaces.get(tenant) if isinstance(tenant, str) else None
    if not isinstance(tenant, str) or namespace is None:
        message = f"The token's claim {issuer.tenant_claim} names no tenant of this gateway."
        raise ApiError(ErrorCode.KEY_NOT_USABLE, message)
    # A subject may be an address: logs and labels have its digest.
    subject = hashlib.sha256(f"{issuer.issuer}\n{claims['sub']}".encode()).hexdigest()
    expires = float(claims["exp"]) + LEEWAY_SECONDS
    return Principal(f"oidc-{subject[:16]}", tenant, namespace, _scopes(issuer, claims), ApiKeyLimits(), expires)


def _scopes(issuer: OIDCIssuer, claims: Mapping[str, Any]) -> frozenset[Scope]:
    """Return what a token is for: what its claim lists, as text with spaces or as a list; without a claim: all."""
    if issuer.scope_claim is None:
        return frozenset(issuer.scopes)
    given = claims.get(issuer.scope_claim, ())
    words = given.split() if isinstance(given, str) else given if isinstance(given, list) else ()
    return frozenset(scope for scope in issuer.scopes if issuer.scope_prefix + scope in words)


def _why(error: jwt.PyJWTError) -> str:
    """Return what is wrong with a token; nothing of what is in it."""
    match error:
        case jwt.InvalidAudienceError():
            return "it is for another audience"
        case jwt.ImmatureSignatureError() | jwt.InvalidIssuedAtError():
            return "it is not valid yet"
        case jwt.MissingRequiredClaimError():
            return f"it has no {error.claim}"
        case jwt.InvalidSignatureError():
            return "its signature is wrong"
        case _:
            return "it is damaged"


def _invalid(message: str) -> ApiError:
    return ApiError(ErrorCode.KEY_INVALID, message)
