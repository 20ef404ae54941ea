"""API keys: random bearer tokens, of which only a SHA-256 digest is stored, as GitHub's and Stripe's are.

A key is `steno_<id>_<secret>`. The ID finds its record; the secret has 200 random bits, so that a plain digest cannot
be searched. Records live in a Secret, one entry for each key, named after its ID: `steno key` writes it, the gateway
watches it. A process without Kubernetes reads the same records from a directory.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import pydantic
from pydantic import Field

from steno_api.model import Model

API_KEY_SECRET = "steno-api-keys"  # noqa: S105 - the name of a Secret
"""Name of the Secret with the records, unless the chart names others."""
MAX_API_KEY_CHARS = 128
_ID_BYTES, _SECRET_BYTES = 5, 25
_WEBHOOK_SECRET_BYTES = 32
_ID_CHARS, _SECRET_CHARS = 8, 40
_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
WebhookSecret = Annotated[str, Field(pattern=r"^whsec_[A-Za-z0-9+/]{32,88}={0,2}$")]
_FORM = re.compile(rf"steno_([a-z2-7]{{{_ID_CHARS}}})_([a-z2-7]{{{_SECRET_CHARS}}})")


class Scope(StrEnum):
    """What a key is for."""

    STT = "stt"
    """Speech: recordings, by upload, by URL or as jobs."""
    OCR = "ocr"
    """Documents, likewise."""
    STREAM = "stream"
    """Live sessions."""


class ApiKeyLimits(Model):
    """What one key may ask for, within what its Tenant may use."""

    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests that begin in a minute; absent: the gateway's default."""
    concurrent_requests: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Requests and live sessions at a time; absent: the gateway's default."""


class ApiKey(Model):
    """The record of one key."""

    id: str
    """Which key: not secret, in logs and in the labels of what the key created."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the whole key."""
    tenant: Annotated[str, Field(pattern=rf"^{_DNS_LABEL}(\.{_DNS_LABEL})*$", max_length=253)]
    """Name of the Tenant whose limits count."""
    namespace: Annotated[str, Field(pattern=f"^{_DNS_LABEL}$", max_length=63)]
    """Where the key's resources are created."""
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    """What it is for."""
    created: pydantic.AwareDatetime
    """When it was made."""
    expires: pydantic.AwareDatetime | None = None
    """When it stops to be valid; absent: when it is revoked."""
    description: Annotated[str, Field(max_length=256)] = ""
    """Who uses it, for people."""
    limits: ApiKeyLimits = ApiKeyLimits()
    """What it may ask for."""
    webhook_secret: WebhookSecret | None = Field(None, repr=False)
    """What webhooks of its jobs are signed with, in the form of Standard Webhooks; absent: they have none."""

    def matches(self, key: str) -> bool:
        """Return whether this is the record of `key`, in a time that says nothing of the digest."""
        return hmac.compare_digest(self.sha256, digest(key))

    def is_valid(self, now: datetime) -> bool:
        """Return whether the key has not expired."""
        return self.expires is None or now < self.expires


class NewApiKey(NamedTuple):
    """A key that was just made."""

    key: str
    """What its user sends; it is shown once and stored nowhere."""
    record: ApiKey


def new_api_key(
    *,
    tenant: str,
    namespace: str,
    scopes: frozenset[Scope],
    created: datetime,
    expires: datetime | None = None,
    description: str = "",
    limits: ApiKeyLimits | None = None,
    webhooks: bool = False,
) -> NewApiKey:
    """Make a key, and the record by which it is known.

    Args:
        tenant: name of the Tenant whose limits count.
        namespace: where its resources are created.
        scopes: what it is for.
        created: the time now.
        expires: when it stops to be valid; None: when it is revoked.
        description: who uses it.
        limits: what it may ask for; None: the gateway's defaults.
        webhooks: whether its jobs may have webhooks, for which a secret is made.

    Raises:
        pydantic.ValidationError: a value has no legal form.
    """
    key_id = _random_text(_ID_BYTES)
    key = f"steno_{key_id}_{_random_text(_SECRET_BYTES)}"
    record = ApiKey(
        id=key_id,
        sha256=digest(key),
        tenant=tenant,
        namespace=namespace,
        scopes=scopes,
        created=created,
        expires=expires,
        description=description,
        limits=limits or ApiKeyLimits(),
        webhook_secret=_webhook_secret() if webhooks else None,
    )
    return NewApiKey(key, record)


def api_key_id(key: str) -> str | None:
    """Return the ID in a key; None: this is no key."""
    form = _FORM.fullmatch(key) if len(key) <= MAX_API_KEY_CHARS else None
    return form[1] if form else None


def digest(key: str) -> str:
    """Return what is stored of a key: its SHA-256, in hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_records(entries: Mapping[str, bytes]) -> tuple[dict[str, ApiKey], list[str]]:
    """Read the records of a Secret or a directory.

    One that cannot be read costs no other: a key that is not in the answer is not valid.

    Args:
        entries: JSON by name of the entry: the key's ID.

    Returns:
        The records by ID, and the names of the entries that are none.
    """
    records: dict[str, ApiKey] = {}
    damaged: list[str] = []
    for name, text in entries.items():
        try:
            record = ApiKey.model_validate_json(text)
        except pydantic.ValidationError:
            damaged.append(name)
            continue
        if record.id == name:
            records[name] = record
        else:
            damaged.append(name)
    return records, damaged


def secret_manifest(name: str, namespace: str, records: Mapping[str, ApiKey]) -> dict[str, Any]:
    """Return the Secret that has these records.

    Args:
        name: of the Secret.
        namespace: the gateway's.
        records: by ID.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "steno.dev/api-keys",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {key_id: record.to_json() for key_id, record in records.items()},
    }


def _webhook_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(_WEBHOOK_SECRET_BYTES)).decode()}"


def _random_text(count: int) -> str:
    """Return random bytes in base32, lower case: a double click selects all of it, and no letter is doubtful."""
    return base64.b32encode(secrets.token_bytes(count)).decode().lower()
