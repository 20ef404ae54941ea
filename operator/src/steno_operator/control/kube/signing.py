"""Signing keys of session tokens: Ed25519 keys in a Secret of the operator's own namespace, rotated like a JWKS.

The newest key signs, a while after it was found there, and the one before it is still accepted. Servers learn a new key
from the answers to their reports, signed by a key that they know: so they keep their sessions. Deleting the Secret and
restarting the operator replaces the keys at once: every pool's servers are restarted, every open session gets a token.

Keys that prove results are derived from the same keys, hence rotated with them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from steno_api.model import Model
from steno_api.server.claims import MAX_TOKEN_KEYS, TOKEN_ALGORITHM, KeyRing, key_id
from steno_kube.backoff import Backoff
from steno_kube.client import CONFLICT, NOT_FOUND, SECRETS, ApiError, Cluster, UnreachableError
from steno_operator.manifests import labels

log = logging.getLogger(__name__)

_FIELD, _SUFFIX = "ed25519.pem", ".pem"
_RESULT_KEYS = b"steno.dev/result-keys/v1"
ACCEPTED_KEYS = 2
"""The newest and the one before it."""
ACTIVATION_SECONDS = 60.0
"""After a key was found: by then every server knows it, and it signs."""
RELOAD_SECONDS = 30.0
RING_SECONDS = 300
"""How long a key ring can be used."""


class UnusableKeyError(Exception):
    """The Secret holds no Ed25519 key, or something else."""


class _Encoder(json.JSONEncoder):
    """UTF-8 as it is: escapes would double the length of a token with, say, Korean text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "ensure_ascii": False})


class SigningKey:
    """A private key; it is nowhere but in memory and in the Secret."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        public = private.public_key()
        self.public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        """What servers check tokens with."""
        self.key_id = key_id(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
        raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        self._master = HKDF(SHA256(), length=32, salt=None, info=_RESULT_KEYS).derive(raw)

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, secret: str, field: str, encoded: str) -> SigningKey:
        """Read a key of a Secret.

        Args:
            secret: name of the Secret, for messages.
            field: name of the key in it.
            encoded: its value, base64.

        Raises:
            UnusableKeyError: it is no key, or one of another kind.
        """
        try:
            private = load_pem_private_key(base64.b64decode(encoded, validate=True), password=None)
        except (ValueError, TypeError, binascii.Error):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            message = f"{field} in Secret {secret} is not an Ed25519 key (PEM): remove it, or delete the Secret"
            raise UnusableKeyError(f"{message} to have a new one created")
        return cls(private)

    def to_secret(self, namespace: str, name: str) -> dict[str, Any]:
        """Return the manifest of the key's Secret."""
        pem = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}},
            "type": "Opaque",
            "data": {_FIELD: base64.b64encode(pem).decode()},
        }

    def result_key(self, namespace: str, uid: str) -> bytes:
        """Return the key that proves the results of a resource.

        Args:
            namespace: of the resource.
            uid: of the resource.
        """
        return hmac.digest(self._master, f"{namespace}/{uid}".encode(), "sha256")

    def sign(self, claims: Model) -> str:
        """Return the JWT of these claims."""
        return jwt.encode(
            claims.to_wire(),
            self._private,
            algorithm=TOKEN_ALGORITHM,
            headers={"kid": self.key_id},
            json_encoder=_Encoder,
        )


class KeyStore:
    """The keys of a Secret, oldest first: the one that was made with it, then the others by the names of their fields.

    Attributes:
        keys: all of them, oldest first.
    """

    def __init__(self, keys: Sequence[SigningKey], active: SigningKey) -> None:
        """Take the keys, of which `active` signs."""
        self.keys = tuple(keys)
        self.active = active
        self._rings: dict[str, tuple[int, str]] = {}

    @classmethod
    def read(cls, secret: Mapping[str, Any]) -> list[SigningKey]:
        """Return the keys of a Secret, oldest first.

        Raises:
            UnusableKeyError: there is none in it, or too many, or something else.
        """
        name, data = secret["metadata"]["name"], secret.get("data") or {}
        fields = sorted(
            (field for field in data if field.endswith(_SUFFIX)), key=lambda field: (field != _FIELD, field)
        )
        if not 1 <= len(fields) <= MAX_TOKEN_KEYS:
            wanted = f"Secret {name} has to have 1 to {MAX_TOKEN_KEYS} keys in fields that end in {_SUFFIX}"
            raise UnusableKeyError(f"{wanted}: remove some, or delete it to have a new one created")
        return [SigningKey.from_pem(name, field, data[field]) for field in fields]

    @property
    def accepted(self) -> dict[str, str]:
        """Public keys (PEM) that tokens are checked with, by ID."""
        return _ids(self.keys[-ACCEPTED_KEYS:])

    def result_keys(self, namespace: str, uid: str) -> list[bytes]:
        """Return the keys that prove the results of a resource, the one that makes proofs first.

        Args:
            namespace: of the resource.
            uid: of the resource.
        """
        others = [key for key in reversed(self.keys[-ACCEPTED_KEYS:]) if key is not self.active]
        return [key.result_key(namespace, uid) for key in (self.active, *others)]

    @property
    def held(self) -> dict[str, str]:
        """Public keys (PEM) by ID: servers that were started with any of them can be told the others."""
        return _ids(self.keys)

    def ring(self, known: Collection[str], now: datetime) -> str | None:
        """Return the key ring for a server, signed by a key that it knows.

        Args:
            known: IDs of the keys that the server checks tokens with.
            now: the present.

        Returns:
            None if the server has the right keys, or knows none of ours.
        """
        accepted, minute = self.accepted, int(now.timestamp()) // 60 * 60
        signer = next((key for key in reversed(self.keys) if key.key_id in known), None)
        if signer is None or accepted.keys() == set(known):
            return None
        made = self._rings.get(signer.key_id)
        if made is None or made[0] != minute:
            claims = KeyRing(iat=minute, exp=minute + RING_SECONDS, keys=list(accepted.values()))
            made = self._rings[signer.key_id] = minute, signer.sign(claims)
        return made[1]


class Signer:
    """Has the keys once they were read or created. Only sessions and pools need it; jobs do not wait for it."""

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, loaded: Callable[[], None], backoff: Backoff | None = None
    ) -> None:
        """Make a signer without keys.

        Args:
            cluster: where the Secret is.
            namespace: the operator's own.
            name: the Secret's name.
            loaded: called when keys are there, or others.
            backoff: waits after errors.
        """
        self.store: KeyStore | None = None
        self._found: dict[str, float] = {}  # since when the keys that do not sign yet are known
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._loaded = loaded
        self._backoff = backoff or Backoff(1.0, 60.0)

    @property
    def key(self) -> SigningKey | None:
        """The key that signs; None until there is one."""
        return None if self.store is None else self.store.active

    async def run(self) -> None:
        """Read or create the keys; try until it succeeds, and go on looking for new ones."""
        failures = 0
        while True:
            try:
                self._take(await self._load())
                failures = 0
            except (ApiError, UnreachableError, UnusableKeyError) as error:
                failures += 1
                if self.store is None or failures == 1:
                    log.warning("the keys of session tokens cannot be read: %s", error)
            await asyncio.sleep(RELOAD_SECONDS if self.store is not None else self._backoff.delay(failures))

    def _take(self, keys: Sequence[SigningKey]) -> None:
        """Have the newest key sign that every server knows by now."""
        now, before = time.monotonic(), self.store
        for key in keys:
            self._found.setdefault(key.key_id, now)
        ripe = [key for key in keys if now - self._found[key.key_id] >= ACTIVATION_SECONDS]
        # At the start nobody knows since when the newest is there: the one before it signs meanwhile.
        active = ripe[-1] if ripe else keys[-2:][0]
        if before is not None and before.active.key_id == active.key_id and before.held == _ids(keys):
            return
        self.store = KeyStore(keys, active)
        log.info("session tokens are signed with key %s; %d keys are known", active.key_id, len(keys))
        self._loaded()

    async def _load(self) -> list[SigningKey]:
        try:
            return KeyStore.read(await self._cluster.get(SECRETS, self._namespace, self._name))
        except ApiError as error:
            if error.status != NOT_FOUND or self.store is not None:  # deleted: in force until the operator restarts
                raise
        key = SigningKey.generate()
        try:
            await self._cluster.create(SECRETS, self._namespace, key.to_secret(self._namespace, self._name))
        except ApiError as error:
            if error.status != CONFLICT:
                raise
            return KeyStore.read(await self._cluster.get(SECRETS, self._namespace, self._name))
        log.info("made Secret %s", self._name)
        return [key]


def _ids(keys: Sequence[SigningKey]) -> dict[str, str]:
    return {key.key_id: key.public_pem for key in keys}
