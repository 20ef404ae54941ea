"""API key authentication: records by ID, replaced as their Secrets change.

A key that is revoked is refused from the next event of the watch on. A request that it began before is still answered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from steno_api.gateway.api_keys import ApiKey, api_key_id, read_records
from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.principal import Principal

log = logging.getLogger(__name__)


class ApiKeys:
    """The keys that are valid now, of all Secrets (or directories) together."""

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
            source: name of the Secret, or path of the directory.
            entries: JSON by ID; empty if the source is gone.
        """
        records, damaged = read_records(entries)
        if damaged:
            log.warning("records of API keys cannot be read: their keys are not valid", extra={"entries": damaged})
        self._sources[source] = records
        self._records = {key_id: record for each in self._sources.values() for key_id, record in each.items()}

    def authenticate(self, key: str | None) -> Principal:
        """Return who a key belongs to.

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
        return Principal(record.id, record.tenant, record.namespace, record.scopes, record.limits)
