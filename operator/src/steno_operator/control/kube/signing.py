"""Signing key of session tokens: an Ed25519 key in a Secret of the operator's own namespace, created once.

Deleting the Secret and restarting the operator replaces the key: every pool's servers are restarted with the new
one, and every open session gets a new token.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from steno_api.server.claims import TOKEN_ALGORITHM, SessionClaims
from steno_operator.control.kube.backoff import Backoff
from steno_operator.control.kube.client import SECRETS, ApiError, Cluster, UnreachableError
from steno_operator.manifests import labels

log = logging.getLogger(__name__)

_FIELD = "ed25519.pem"


class UnusableKeyError(Exception):
    """The Secret holds no Ed25519 key."""


class SigningKey:
    """A private key; it is nowhere but in memory and in its Secret."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        public = private.public_key()
        self.public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        """What servers check tokens with."""
        self.key_id = hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]
        """Names the key; the same wherever it is read."""

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_secret(cls, secret: dict[str, Any]) -> SigningKey:
        """Read a key from its Secret.

        Raises:
            UnusableKeyError: there is none in it.
        """
        name = secret["metadata"]["name"]
        try:
            pem = base64.b64decode((secret.get("data") or {}).get(_FIELD, ""), validate=True)
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, binascii.Error):
            raise UnusableKeyError(
                f"Secret {name} has no key in {_FIELD}: delete it to have a new one created"
            ) from None
        if not isinstance(private, Ed25519PrivateKey):
            raise UnusableKeyError(
                f"the key in Secret {name} is not an Ed25519 key: delete the Secret to have a new one created"
            )
        return cls(private)

    def to_secret(self, namespace: str, name: str) -> dict[str, Any]:
        """Return the manifest of the key's Secret."""
        pem = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}},
            "type": "Opaque",
            "immutable": True,
            "data": {_FIELD: base64.b64encode(pem).decode()},
        }

    def sign(self, claims: SessionClaims) -> str:
        """Return the token of these claims."""
        return jwt.encode(claims.to_wire(), self._private, algorithm=TOKEN_ALGORITHM, headers={"kid": self.key_id})


class Signer:
    """Has the key once it was read or created. Only sessions and pools need it; jobs do not wait for it."""

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, loaded: Callable[[], None], backoff: Backoff | None = None
    ) -> None:
        """Make a signer without a key.

        Args:
            cluster: where the Secret is.
            namespace: the operator's own.
            name: the Secret's name.
            loaded: called once the key is there.
            backoff: waits after errors.
        """
        self.key: SigningKey | None = None
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._loaded = loaded
        self._backoff = backoff or Backoff(1.0, 60.0)

    async def run(self) -> None:
        """Read or create the key; try until it succeeds."""
        failures = 0
        while self.key is None:
            try:
                self.key = await self._load()
            except (ApiError, UnreachableError, UnusableKeyError) as error:
                failures += 1
                delay = self._backoff.delay(failures)
                log.warning("no key for session tokens: %s; trying again in %.1f s", error, delay)
                await asyncio.sleep(delay)
        log.info("session tokens are signed with key %s", self.key.key_id)
        self._loaded()

    async def _load(self) -> SigningKey:
        try:
            return SigningKey.from_secret(await self._cluster.get(SECRETS, self._namespace, self._name))
        except ApiError as error:
            if error.status != 404:
                raise
        key = SigningKey.generate()
        try:
            await self._cluster.create(SECRETS, self._namespace, key.to_secret(self._namespace, self._name))
        except ApiError as error:
            if error.status != 409:
                raise
            return SigningKey.from_secret(await self._cluster.get(SECRETS, self._namespace, self._name))
        log.info("made Secret %s", self._name)
        return key
