"""Direct uploads: a client PUTs a file into the store with a presigned URL, and names it as the source of a job.

The bytes do not pass the gateway, so a file may be larger than a request. Nothing is remembered: the place of an upload
follows from its ID and from whose it is, and another tenant's ID leads nowhere.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from steno_api.failures import FailureReason
from steno_api.server.errors import ApiError, ErrorCode, failure_status
from steno_gateway.access.principal import Principal
from steno_gateway.cluster.resources import random_name
from steno_gateway.settings import Settings
from steno_gateway.work.malware import Clamd
from steno_gateway.work.store import ObjectStore

_FOLDER = "direct"


@dataclass(frozen=True)
class DirectUpload:
    """Where a client may put one file."""

    id: str
    url: str
    """Presigned, for one PUT of the whole file."""
    expires: datetime


class DirectUploads:
    """Offers places for uploads, and finds what came."""

    def __init__(self, settings: Settings, store: ObjectStore, scanner: Clamd | None) -> None:
        """Prepare.

        Args:
            settings: have the limits.
            store: where the uploads are.
            scanner: what they have to pass; None: nothing.
        """
        self._settings = settings
        self._store = store
        self._scanner = scanner

    async def offer(self, principal: Principal) -> DirectUpload:
        """Return a place for one file.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        upload_id = random_name("up")
        lifetime = timedelta(seconds=self._settings.upload_url_seconds)
        expires = datetime.now(UTC).replace(microsecond=0) + lifetime
        url = await self._store.presign_put(self.uri(principal, upload_id), lifetime)
        return DirectUpload(upload_id, url, expires)

    async def find(self, principal: Principal, upload_id: str) -> str:
        """Return the URI of what a client has put, once it may be a source.

        Args:
            principal: whose upload it is.
            upload_id: of `offer`.

        Raises:
            ApiError: `SourceNotFound`, `TooLarge`, `MalwareFound`, `ScannerUnavailable`, `StoreUnavailable`.
        """
        uri = self.uri(principal, upload_id)
        size, limit = await self._store.size(uri), self._settings.max_direct_upload_bytes
        if size is None:
            message = "Nothing was put at the upload's URL yet, or its job has ended. Ask for a new upload."
            raise ApiError(failure_status(FailureReason.SOURCE_NOT_FOUND), message)
        if size > limit:
            await self._store.discard(uri)
            raise ApiError(ErrorCode.TOO_LARGE, f"An upload may have {limit} bytes, and this one has {size}.")
        return uri if self._scanner is None else await self._scanned(self._scanner, uri)

    async def _scanned(self, scanner: Clamd, uri: str) -> str:
        """Return the URI of a copy that has passed the scanner: the client can still write to the original.

        Each request has a copy of its own, so that none changes what another one's worker reads.
        """
        copy = f"{uri}-{secrets.token_hex(8)}"
        await self._store.copy(uri, copy)
        try:
            async with aclosing(scanner.passed(self._store.get(copy))) as chunks:
                await _exhaust(chunks)
        except BaseException:
            await self._store.discard(copy)
            raise
        return copy

    async def settle(self, principal: Principal, upload_id: str, uri: str, *, used: bool) -> None:
        """Delete what is not needed of an upload and its copy, once it is known whether a job came of it.

        Args:
            principal: whose upload it is.
            upload_id: of `offer`.
            uri: what `find` returned.
            used: whether that is the source of a job.
        """
        original = self.uri(principal, upload_id)
        if uri != original:
            await self._store.discard(original if used else uri)

    def uri(self, principal: Principal, upload_id: str) -> str:
        """Return the place of an upload."""
        return self._store.upload_uri(principal.namespace, f"{_FOLDER}/{principal.tenant}", upload_id)

    def has(self, uri: str) -> bool:
        """Return whether a place is one of these."""
        return uri.removeprefix(f"{self._store.uploads_uri}/").split("/")[1:2] == [_FOLDER]


async def _exhaust(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass
