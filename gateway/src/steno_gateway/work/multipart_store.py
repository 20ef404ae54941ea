"""S3's multipart uploads, through aiobotocore: an object that is written in parts, by one replica after the other.

obstore, which does all else with the store, uploads in parts as well, but only from beginning to end in one process:
it neither lists parts nor goes on with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from steno_api.s3 import DEFAULT_REGION
from steno_gateway.settings import StoreSettings
from steno_gateway.work.store import ObjectStore, store_unavailable

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 120.0
"""A store may put a large object together before it answers."""


@dataclass(frozen=True)
class Part:
    """A part that is in the store."""

    number: int
    """From 1."""
    size: int
    etag: str


class GoneError(Exception):
    """The multipart upload does not exist any more: it was completed or aborted."""


class MultipartStore:
    """Multipart uploads of the gateway's store, with the same credentials."""

    def __init__(self, settings: StoreSettings, store: ObjectStore) -> None:
        """Connect to nothing yet.

        Args:
            settings: where the store is.
            store: the same one, which knows keys.
        """
        self._settings = settings
        self._store = store
        self._open = contextlib.AsyncExitStack()
        self._opening = asyncio.Lock()
        self._client: Any = None

    async def begin(self, uri: str) -> str:
        """Begin an object; return the ID of its multipart upload.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        async with self._calling() as client:
            return (await client.create_multipart_upload(**self._place(uri)))["UploadId"]

    async def put(self, uri: str, upload: str, number: int, data: bytes) -> Part:
        """Write a part; one that is there is replaced.

        Args:
            uri: the object's.
            upload: of `begin`.
            number: from 1.
            data: at least 5 MiB, unless it is the last one.

        Raises:
            GoneError: see there.
            ApiError: `StoreUnavailable`.
        """
        async with self._calling() as client:
            answer = await client.upload_part(**self._place(uri), UploadId=upload, PartNumber=number, Body=data)
        return Part(number, len(data), answer["ETag"])

    async def parts(self, uri: str, upload: str) -> list[Part]:
        """Return the parts that are in the store, in their order.

        Args:
            uri: the object's.
            upload: of `begin`.

        Raises:
            GoneError: see there.
            ApiError: `StoreUnavailable`.
        """
        found: list[Part] = []
        async with self._calling() as client:
            pages = client.get_paginator("list_parts").paginate(**self._place(uri), UploadId=upload)
            async for page in pages:
                found += [Part(each["PartNumber"], each["Size"], each["ETag"]) for each in page.get("Parts", ())]
        return sorted(found, key=lambda part: part.number)

    async def complete(self, uri: str, upload: str, parts: Sequence[Part]) -> None:
        """Make the object of its parts.

        Args:
            uri: the object's.
            upload: of `begin`.
            parts: all of them.

        Raises:
            GoneError: see there.
            ApiError: `StoreUnavailable`.
        """
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        async with self._calling() as client:
            await client.complete_multipart_upload(
                **self._place(uri), UploadId=upload, MultipartUpload={"Parts": listed}
            )

    async def abort(self, uri: str, upload: str) -> None:
        """Delete the parts of an object that is not to be; that there are none is no error.

        Args:
            uri: the object's.
            upload: of `begin`.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        with contextlib.suppress(GoneError):
            async with self._calling() as client:
                await client.abort_multipart_upload(**self._place(uri), UploadId=upload)

    async def begun_before(self, folder: str, moment: datetime) -> AsyncIterator[tuple[str, str]]:
        """Yield object and ID of the multipart uploads that were begun before a moment and are not completed.

        Args:
            folder: URI of what to look at.
            moment: which.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        place = self._place(f"{folder}/")
        async with self._calling() as client:
            pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=place["Bucket"], Prefix=place["Key"])
            async for page in pages:
                for each in page.get("Uploads", ()):
                    if each["Initiated"] < moment:
                        yield f"s3://{place['Bucket']}/{each['Key']}", each["UploadId"]

    async def aclose(self) -> None:
        """Close the connections."""
        async with self._opening:
            self._client = None
            await self._open.aclose()

    def _place(self, uri: str) -> dict[str, str]:
        bucket, key = self._store.place(uri)
        return {"Bucket": bucket, "Key": key}

    @contextlib.asynccontextmanager
    async def _calling(self) -> AsyncIterator[Any]:
        """Yield the client; raise the store's errors as the gateway's."""
        try:
            yield await self._connected()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code == "NoSuchUpload":
                raise GoneError from None
            raise store_unavailable(code) from error
        except (BotoCoreError, ValueError, OSError) as error:  # TimeoutError is an OSError
            raise store_unavailable("") from error

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                endpoint = self._settings.endpoint_url
                config = AioConfig(
                    connect_timeout=_CONNECT_SECONDS,
                    read_timeout=_READ_SECONDS,
                    retries={"mode": "standard", "max_attempts": 3},
                    s3={"addressing_style": "path" if endpoint else "virtual"},
                    # Checksums of its own are AWS's; not all that speak S3 know them.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                region = self._settings.region or os.environ.get("AWS_REGION") or DEFAULT_REGION
                client = get_session().create_client(
                    "s3",
                    region_name=region,
                    endpoint_url=endpoint,
                    verify=os.environ.get("SSL_CERT_FILE"),  # as obstore; None: public certificates
                    config=config,
                )
                self._client = await self._open.enter_async_context(client)
            return self._client
