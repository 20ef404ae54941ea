"""API key authentication: records by ID, replaced as their Secrets or files change. Gateway and `steno serve` share it.

A key that is revoked is refused from the next change on that is noticed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from steno_api.gateway.api_keys import ApiKey, Scope, api_key_id, read_records
from steno_api.server.errors import ApiError, ErrorCode

log = logging.getLogger(__name__)


class ApiKeys:
    """The keys that are valid now, of all Secrets (or files) together."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Know no key yet.

        Args:
            clock: says the time, with its zone.
        """
        self._clock = clock
        self._sources: dict[str, dict[str, ApiKey]] = {}
        self._records: dict[str, ApiKey] = {}

    def update(self, source: str, entries: Mapping[str, bytes]) -> None:
        """Take what one source has now, in place of what it had.

        Args:
            source: name of the Secret, or path of the file or directory.
            entries: JSON by ID; empty if the source is gone.
        """
        records, damaged = read_records(entries)
        if damaged:
            log.warning("records of API keys cannot be read: their keys are not valid", extra={"entries": damaged})
        self._sources[source] = records
        self._records = {key_id: record for each in self._sources.values() for key_id, record in each.items()}

    def authenticate(self, key: str | None) -> ApiKey:
        """Return the record of a key that is valid.

        Raises:
            ApiError: `KeyMissing`, `KeyInvalid` or `KeyExpired`; nothing of the key is in the message.
        """
        if not key:
            message = "The API key is missing. Send it as `Authorization: Bearer …` or `X-API-Key`."
            raise ApiError(ErrorCode.KEY_MISSING, message)
        key_id = api_key_id(key)
        record = self._records.get(key_id) if key_id else None
        if record is None or not record.matches(key):
            message = "The API key is not valid: it was never made here, was revoked, or is damaged."
            raise ApiError(ErrorCode.KEY_INVALID, message)
        if not record.is_valid(self._clock()):
            raise ApiError(ErrorCode.KEY_EXPIRED, "The API key has expired. Have another one made: steno key create …")
        return record

    def is_known(self, key_id: str) -> bool:
        """Return whether a key is valid still, for work that it began."""
        record = self._records.get(key_id)
        return record is not None and record.is_valid(self._clock())

    @property
    def sign_webhooks(self) -> bool:
        """Whether any key has a secret for webhooks."""
        return any(record.webhook_secret for record in self._records.values())

    def webhook_secret(self, key_id: str) -> str | None:
        """Return what a key's webhooks are signed with; None: it has no secret, or was revoked."""
        record = self._records.get(key_id)
        return None if record is None else record.webhook_secret


def require_scope(granted: Collection[Scope], scope: Scope) -> None:
    """Check that a key may ask for a kind of work.

    Raises:
        ApiError: `ScopeMissing`.
    """
    if scope not in granted:
        message = (
            f"This key is for {', '.join(sorted(granted))}, not for {scope}. Have one made that is: "
            "steno key create --scopes …"
        )
        raise ApiError(ErrorCode.SCOPE_MISSING, message)
