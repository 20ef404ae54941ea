"""Uploads to a real S3 server: an object is there as a whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.settings import StoreSettings
from steno_gateway.work.store import PART_BYTES, ObjectStore
from tests.support.s3 import S3Server

pytestmark = pytest.mark.apiserver  # the S3 server has to be built

PART = b"x" * PART_BYTES


@pytest.fixture
def store(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return ObjectStore(StoreSettings(uri="s3://steno", endpoint_url=s3.endpoint))


def left(s3: S3Server, prefix: str) -> tuple[list[str], list[str]]:
    """Objects, and multipart uploads that were not completed."""
    uploads = s3.client.list_multipart_uploads(Bucket="steno").get("Uploads", [])
    return s3.keys("steno", prefix), [each["Key"] for each in uploads]


async def test_a_stream_of_several_parts_is_one_object(store: ObjectStore, s3: S3Server):
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield PART

    await store.put("s3://steno/store/whole", stream())
    assert s3.client.head_object(Bucket="steno", Key="store/whole")["ContentLength"] == 3 * PART_BYTES
    assert b"".join([chunk async for chunk in store.get("s3://steno/store/whole")]) == 3 * PART


async def test_a_stream_that_fails_leaves_nothing(store: ObjectStore, s3: S3Server):
    async def stream() -> AsyncIterator[bytes]:
        yield PART * 2
        raise ApiError(ErrorCode.TOO_LARGE, "It is.")

    with pytest.raises(ApiError, match="TooLarge"):
        await store.put("s3://steno/store/failed", stream())
    assert left(s3, "store/failed") == ([], [])


async def test_a_client_that_goes_away_leaves_nothing(store: ObjectStore, s3: S3Server):
    written = asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield PART * 2
        written.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(store.put("s3://steno/store/cancelled", stream()))
    await written.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert left(s3, "store/cancelled") == ([], [])


async def test_what_is_elsewhere_is_not_read(store: ObjectStore):
    with pytest.raises(ApiError, match="ResultNotFound"):
        [chunk async for chunk in store.get("s3://other/results/a")]
