"""Resumable uploads: a file comes in pieces, each to any replica, and is then where a direct upload would be.

How far an upload is, only the store knows: a multipart upload has what fills whole parts, an object beside it what came
after them, under a name that says where it ends. All parts but the last have one size. So two replicas that write the
same stretch of a file, since one has not noticed that its client went to the other, write the same; no lock is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pydantic

from steno_api.failures import FailureReason
from steno_api.model import Model
from steno_api.server.errors import ApiError, ErrorCode, failure_status
from steno_gateway.access.principal import Principal
from steno_gateway.cluster.resources import random_name
from steno_gateway.settings import Settings
from steno_gateway.work.direct_uploads import DirectUploads
from steno_gateway.work.multipart_store import GoneError, MultipartStore, Part
from steno_gateway.work.store import PART_BYTES, ObjectStore

log = logging.getLogger(__name__)

MAX_PARTS = 10_000
"""S3's limit."""
_SWEEP_SECONDS = 3600.0
_TAIL = "tail-"


class UploadRecord(Model):
    """What was said of an upload when it was created."""

    length: int
    """Bytes of the file."""
    part_bytes: int
    """Of each part but the last."""
    expires: pydantic.AwareDatetime
    metadata: str
    """`Upload-Metadata`, as it came."""
    multipart: str | None = None
    """ID of the multipart upload; absent: the file is empty."""


@dataclass(frozen=True)
class UploadStatus:
    """How far an upload is."""

    id: str
    offset: int
    """Bytes that are in the store."""
    length: int
    """Bytes of the file."""
    expires: datetime
    metadata: str


@dataclass(frozen=True)
class _Upload:
    id: str
    uri: str
    """Of the file."""
    folder: str
    """URI of what is kept about it."""
    record: UploadRecord

    def at(self, offset: int) -> UploadStatus:
        return UploadStatus(self.id, offset, self.record.length, self.record.expires, self.record.metadata)


@dataclass(frozen=True)
class _Progress:
    parts: list[Part]
    tails: dict[int, str]
    """URIs of what came after parts, by where they end."""
    offset: int
    is_done: bool
    """Whether the file is there."""

    @property
    def whole(self) -> int:
        """Bytes of the parts."""
        return sum(part.size for part in self.parts)


class ResumableUploads:
    """Takes files in pieces."""

    def __init__(self, settings: Settings, store: ObjectStore, direct: DirectUploads) -> None:
        """Prepare.

        Args:
            settings: have the limits.
            store: where the uploads are.
            direct: knows the place of each.
        """
        self._settings = settings
        self._store = store
        self._direct = direct
        self._multipart = MultipartStore(settings.store, store)
        self._lifetime = timedelta(seconds=settings.resumable_upload_seconds)

    async def run(self) -> None:
        """Delete what has expired, until cancelled; every replica does so for all."""
        try:
            while True:
                try:
                    await self.sweep(datetime.now(UTC))
                except ApiError as error:
                    log.warning("expired uploads cannot be looked for: %s", error)
                await asyncio.sleep(min(_SWEEP_SECONDS, self._lifetime.total_seconds()))
        finally:
            await self._multipart.aclose()

    async def sweep(self, now: datetime) -> None:
        """Delete what was left of uploads that have expired by now.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        before = now - self._lifetime
        async for uri, multipart in self._multipart.begun_before(self._store.uploads_uri, before):
            if self._direct.has(uri):  # others are being written from beginning to end
                await self._multipart.abort(uri, multipart)
        async for uri in self._store.below(self._store.resumable_uri, before=before):
            await self._store.discard(uri)

    async def create(self, principal: Principal, length: int, metadata: str) -> UploadStatus:
        """Return an upload that has no bytes yet.

        Args:
            principal: whose it is.
            length: bytes of the file.
            metadata: what the client wants to be told again.

        Raises:
            ApiError: `TooLarge`, `StoreUnavailable`.
        """
        limit = self._settings.max_direct_upload_bytes
        if length > limit:
            raise ApiError(ErrorCode.TOO_LARGE, f"An upload may have {limit} bytes.")
        upload_id = random_name("up")
        uri, multipart = self._direct.uri(principal, upload_id), None
        if length:
            multipart = await self._multipart.begin(uri)
        else:
            await self._store.write(uri, b"")
        expires = datetime.now(UTC).replace(microsecond=0) + self._lifetime
        part_bytes = max(PART_BYTES, -(-length // MAX_PARTS))
        record = UploadRecord(
            length=length, part_bytes=part_bytes, multipart=multipart, expires=expires, metadata=metadata
        )
        upload = _Upload(upload_id, uri, self._folder(principal, upload_id), record)
        await self._store.write(_record_uri(upload.folder), record.to_json().encode())
        return upload.at(0)

    async def status(self, principal: Principal, upload_id: str) -> UploadStatus:
        """Return how far an upload is; one whose replica was lost before its last step is completed.

        Args:
            principal: whose it is.
            upload_id: of `create`.

        Raises:
            ApiError: `SourceNotFound`, `StoreUnavailable`.
        """
        upload = await self._known(principal, upload_id)
        progress = await self._progress(upload)
        if progress.offset == upload.record.length and not progress.is_done:
            with contextlib.suppress(GoneError):  # another request has just done so
                await self._complete(upload, progress.parts)
        return upload.at(progress.offset)

    async def append(
        self, principal: Principal, upload_id: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> UploadStatus:
        """Take what comes next of a file; what has come when the stream ends is in the store.

        Args:
            principal: whose upload it is.
            upload_id: of `create`.
            offset: where the client goes on.
            chunks: its bytes.

        Raises:
            ApiError: `SourceNotFound`, `UploadOffsetMismatch`, `TooLarge`, `StoreUnavailable`.
        """
        upload = await self._known(principal, upload_id)
        progress = await self._progress(upload)
        if offset != progress.offset:
            raise _elsewhere(f"The upload has {progress.offset} bytes, not {offset}.")
        if progress.is_done:
            return upload.at(progress.offset)
        try:
            return upload.at(await self._receive(upload, progress, chunks))
        except GoneError:
            raise _elsewhere("Another request has completed or deleted the upload meanwhile.") from None

    async def _receive(self, upload: _Upload, progress: _Progress, chunks: AsyncIterator[bytes]) -> int:
        """Write what comes, and return where it ends."""
        record, parts, whole = upload.record, list(progress.parts), progress.whole
        buffer = bytearray(await self._tail(progress))
        async for chunk in chunks:
            if whole + len(buffer) + len(chunk) > record.length:
                raise ApiError(ErrorCode.TOO_LARGE, f"More came than the {record.length} bytes of Upload-Length.")
            buffer += chunk
            while len(buffer) >= record.part_bytes:
                parts.append(await self._put(upload, len(parts) + 1, bytes(buffer[: record.part_bytes])))
                del buffer[: record.part_bytes]
                whole += record.part_bytes
        end = whole + len(buffer)
        if end == progress.offset < record.length:  # nothing came
            return end
        if end == record.length:
            if buffer:
                parts.append(await self._put(upload, len(parts) + 1, bytes(buffer)))
            await self._complete(upload, parts)
        elif buffer:
            await self._store.write(f"{upload.folder}/{_TAIL}{end}", bytes(buffer))
        for uri in progress.tails.values():
            await self._store.discard(uri)
        return end

    async def _tail(self, progress: _Progress) -> bytes:
        """Return what came after the parts."""
        length = progress.offset - progress.whole
        tail = (await self._store.read(progress.tails[progress.offset]) or b"") if length else b""
        if len(tail) != length:
            raise _elsewhere("Another request has gone on with the upload meanwhile.")
        return tail

    async def _put(self, upload: _Upload, number: int, data: bytes) -> Part:
        assert upload.record.multipart is not None  # noqa: S101 - an empty file has no parts
        return await self._multipart.put(upload.uri, upload.record.multipart, number, data)

    async def _complete(self, upload: _Upload, parts: list[Part]) -> None:
        assert upload.record.multipart is not None  # noqa: S101 - an empty file is complete
        await self._multipart.complete(upload.uri, upload.record.multipart, parts)

    async def discard(self, principal: Principal, upload_id: str) -> None:
        """Delete an upload, complete or not.

        Args:
            principal: whose it is.
            upload_id: of `create`.

        Raises:
            ApiError: `SourceNotFound`, `StoreUnavailable`.
        """
        upload = await self._known(principal, upload_id)
        if upload.record.multipart is not None:
            await self._multipart.abort(upload.uri, upload.record.multipart)
        await self._store.discard(upload.uri)
        record = _record_uri(upload.folder)
        async for uri in self._store.below(upload.folder):
            if uri != record:
                await self._store.discard(uri)
        await self._store.discard(record)  # at last: until then it can be asked again

    async def _known(self, principal: Principal, upload_id: str) -> _Upload:
        """Return an upload.

        Raises:
            ApiError: `SourceNotFound`: there is none, it is another tenant's, or it has expired; `StoreUnavailable`.
        """
        folder = self._folder(principal, upload_id)
        found = await self._store.read(_record_uri(folder))
        if found is None:
            raise _not_found()
        record = UploadRecord.model_validate_json(found)
        if record.expires <= datetime.now(UTC):
            raise _not_found()
        return _Upload(upload_id, self._direct.uri(principal, upload_id), folder, record)

    async def _progress(self, upload: _Upload) -> _Progress:
        """Return what there is of an upload.

        Raises:
            ApiError: `SourceNotFound`: its job has ended; `StoreUnavailable`.
        """
        parts = await self._parts(upload)
        if parts is None:
            if await self._store.size(upload.uri) is None:
                raise _not_found()
            return _Progress([], {}, upload.record.length, is_done=True)
        tails: dict[int, str] = {}
        async for uri in self._store.below(upload.folder):
            name = uri.rpartition("/")[2]
            if name.startswith(_TAIL):
                tails[int(name.removeprefix(_TAIL))] = uri
        whole = sum(part.size for part in parts)
        # Those that end before are in parts by now.
        offset = max((end for end in tails if whole < end < whole + upload.record.part_bytes), default=whole)
        return _Progress(parts, tails, offset, is_done=False)

    async def _parts(self, upload: _Upload) -> list[Part] | None:
        """Return the parts of an upload; None: there are none any more."""
        if upload.record.multipart is None:
            return None
        try:
            return await self._multipart.parts(upload.uri, upload.record.multipart)
        except GoneError:
            return None

    def _folder(self, principal: Principal, upload_id: str) -> str:
        return f"{self._store.resumable_uri}/{principal.namespace}/{principal.tenant}/{upload_id}"


def _record_uri(folder: str) -> str:
    return f"{folder}/upload"


def _not_found() -> ApiError:
    message = "There is no such upload of this tenant: it has expired, was deleted, or its job has ended."
    return ApiError(failure_status(FailureReason.SOURCE_NOT_FOUND), message)


def _elsewhere(why: str) -> ApiError:
    return ApiError(ErrorCode.UPLOAD_OFFSET_MISMATCH, f"{why} Ask for its Upload-Offset (HEAD), and go on there.")
