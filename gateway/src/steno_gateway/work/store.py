"""Object store: uploads are staged in it, and results read from it, as streams through obstore.

Nothing is kept in memory or on disk here: a part of an upload is sent on as soon as it is full.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from steno_api.s3 import DEFAULT_REGION, parse_error
from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.settings import StoreSettings

if TYPE_CHECKING:
    from obstore.store import S3Config

log = logging.getLogger(__name__)

PART_BYTES = 5 * 1024 * 1024
"""Of a part of an upload: S3's least."""
_ERRORS: tuple[type[Exception], ...] = (BaseError, FileNotFoundError, ValueError, OSError)
_TIMEOUT = timedelta(seconds=30)


class ObjectStore:
    """The store of uploads and results, with the gateway's own credentials (from the environment)."""

    def __init__(self, settings: StoreSettings) -> None:
        """Connect to nothing yet.

        Args:
            settings: where it is.
        """
        parts = urlsplit(settings.uri)
        self._root = settings.uri.rstrip("/")
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        endpoint = settings.endpoint_url
        self._store = self._connect(endpoint, settings.region)
        self._public = self._connect(settings.public_endpoint_url or endpoint, settings.region)

    def _connect(self, endpoint: str | None, region: str | None) -> S3Store:
        config: S3Config = {"region": region or os.environ.get("AWS_REGION") or DEFAULT_REGION}
        if endpoint is not None:
            config["endpoint"] = endpoint
        config["virtual_hosted_style_request"] = endpoint is None
        return S3Store(
            self._bucket,
            config=config,
            client_options={
                "allow_http": bool(endpoint and endpoint.startswith("http://")),
                "timeout": _TIMEOUT,
                "connect_timeout": timedelta(seconds=5),
            },
        )

    @property
    def results_uri(self) -> str:
        """The output of jobs."""
        return f"{self._root}/results"

    @property
    def webhooks_uri(self) -> str:
        """Where webhooks wait until they are delivered."""
        return f"{self._root}/webhooks"

    @property
    def uploads_uri(self) -> str:
        """Where uploads are staged."""
        return f"{self._root}/uploads"

    @property
    def resumable_uri(self) -> str:
        """Where it is kept how far resumable uploads are."""
        return f"{self._root}/resumable"

    def upload_uri(self, namespace: str, job: str, name: str) -> str:
        """Return the URI of a job's upload.

        Args:
            namespace: the job's.
            job: its name.
            name: of the file, safe for a key.
        """
        return f"{self.uploads_uri}/{namespace}/{job}/{name}"

    async def put(self, uri: str, chunks: AsyncIterator[bytes]) -> None:
        """Write an object from a stream: it is there as a whole, or not at all.

        Raises:
            ApiError: `StoreUnavailable`, or whatever the stream raises.
        """
        try:
            async with obstore.open_writer_async(self._store, self._key(uri), buffer_size=PART_BYTES) as writer:
                async for chunk in chunks:
                    await writer.write(chunk)
        except _ERRORS as error:
            raise _unavailable(error) from error

    async def presign_put(self, uri: str, lifetime: timedelta) -> str:
        """Return a URL with which anyone may write an object.

        Args:
            uri: the object's.
            lifetime: for how long a PUT may begin.

        Raises:
            ApiError: `StoreUnavailable`: there are no credentials to sign with.
        """
        try:
            return await obstore.sign_async(self._public, "PUT", self._key(uri), lifetime)
        except _ERRORS as error:
            raise _unavailable(error) from error

    async def size(self, uri: str) -> int | None:
        """Return the bytes of an object; None: there is none.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        try:
            return (await obstore.head_async(self._store, self._key(uri)))["size"]
        except FileNotFoundError:
            return None
        except _ERRORS as error:
            raise _unavailable(error) from error

    async def write(self, uri: str, data: bytes) -> None:
        """Write a small object.

        Args:
            uri: the object's.
            data: all of it.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        try:
            await obstore.put_async(self._store, self._key(uri), data)
        except _ERRORS as error:
            raise _unavailable(error) from error

    async def read(self, uri: str) -> bytes | None:
        """Return a small object; None: there is none.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        try:
            result = await obstore.get_async(self._store, self._key(uri))
            return bytes(await result.bytes_async())
        except FileNotFoundError:
            return None
        except _ERRORS as error:
            raise _unavailable(error) from error

    async def below(self, uri: str, *, before: datetime | None = None) -> AsyncIterator[str]:
        """Yield the URIs of what is in a folder.

        Args:
            uri: the folder's.
            before: only of what was written before then; None: of all.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        try:
            async for page in obstore.list(self._store, prefix=self._key(uri)):
                for each in page:
                    if before is None or each["last_modified"] < before:
                        yield f"s3://{self._bucket}/{each['path']}"
        except _ERRORS as error:
            raise _unavailable(error) from error

    async def copy(self, uri: str, to: str) -> None:
        """Copy an object within the store.

        Args:
            uri: the object's.
            to: URI of the copy.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        try:
            await obstore.copy_async(self._store, self._key(uri), self._key(to))
        except _ERRORS as error:
            raise _unavailable(error) from error

    async def get(self, uri: str) -> AsyncIterator[bytes]:
        """Yield the bytes of a result.

        Raises:
            ApiError: `ResultNotFound`, `StoreUnavailable`.
        """
        try:
            result = await obstore.get_async(self._store, self._key(uri))
            async for chunk in result.stream(min_chunk_size=256 * 1024):
                yield bytes(chunk)
        except FileNotFoundError:
            message = "The result is not in the store any more: it was deleted there."
            raise ApiError(ErrorCode.RESULT_NOT_FOUND, message) from None
        except _ERRORS as error:
            raise _unavailable(error) from error

    async def discard(self, uri: str) -> None:
        """Delete an object; that it is gone already is no error, that it cannot be deleted is only logged."""
        try:
            await obstore.delete_async(self._store, self._key(uri))
        except FileNotFoundError:
            pass
        except _ERRORS as error:
            log.warning("an object could not be deleted: %s", parse_error(error).phrase, extra={"uri": uri})

    def has(self, uri: str) -> bool:
        """Return whether a URI is in this store, uploads or not."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        within = not self._prefix or key.startswith(f"{self._prefix}/")
        return uri.startswith("s3://") and bucket == self._bucket and within

    def is_upload(self, uri: str) -> bool:
        """Return whether a source was staged here."""
        return uri.startswith(f"{self.uploads_uri}/")

    def place(self, uri: str) -> tuple[str, str]:
        """Return bucket and key of an object, which has to be in this store.

        Raises:
            ApiError: `ResultNotFound`: it is somewhere else.
        """
        return self._bucket, self._key(uri)

    def _key(self, uri: str) -> str:
        """Return the key of an object, which has to be in this store.

        Raises:
            ApiError: `ResultNotFound`: it is somewhere else.
        """
        if not self.has(uri):
            raise ApiError(ErrorCode.RESULT_NOT_FOUND, "The result is not in the gateway's store.")
        return uri.removeprefix(f"s3://{self._bucket}/")


def _unavailable(error: Exception) -> ApiError:
    return store_unavailable(parse_error(error).phrase)


def store_unavailable(answer: str) -> ApiError:
    """Return the error of a store that does not work, with its answer in a few words; empty: there was none."""
    message = f"The object store does not work at present ({answer or 'no answer'}). Try again later."
    return ApiError(ErrorCode.STORE_UNAVAILABLE, message, retry_after=5)
