"""Webhooks that are owed: one object in the gateway's store for each, from before its job is created to its delivery.

The gateway keeps nothing itself, and a job may be deleted before its webhook is sent; so what is owed is beside its
results. It is written before the job is created, and again afterwards with the time of that: without it, the job may
never have been. The object has no secret: that of the job's key signs, and a key that is revoked takes its webhooks
with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Literal

import pydantic

from steno_api.model import Model
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_gateway.cluster.resources import random_name
from steno_gateway.settings import Settings
from steno_gateway.work.store import ObjectStore

WEBHOOK_ANNOTATION = "steno.dev/webhook"
"""Of a job: the ID of the message that is owed for it."""


class WebhookRecord(Model):
    """One message."""

    message: str
    """Its ID, the same in every attempt: `webhook-id`."""
    kind: Literal["TranscriptionJob", "OCRJob"]
    """Of the job."""
    namespace: str
    """The job's."""
    job: str
    """Its name."""
    url: str
    """Where the message goes."""
    key_id: str
    """Of the API key whose secret signs it."""
    created: pydantic.AwareDatetime | None = None
    """When the job was; absent: it may never have been."""
    written: pydantic.AwareDatetime | None = None
    """When the record was."""
    body: str | None = None
    """JSON, the same in every attempt; absent: it was not noticed yet that the job is over."""
    attempts: int = 0
    """That have failed."""
    due: pydantic.AwareDatetime | None = None
    """When the next one is; absent: at once."""


def new_message_id() -> str:
    """Return an ID that no other message has."""
    return random_name("msg")


class WebhookRecords:
    """The records of a release in the store."""

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self._store = store
        self._root = f"{store.webhooks_uri}/{settings.namespace}/{settings.name}"  # another's jobs are not known here

    def place(self, namespace: str, job: str, message: str) -> str:
        """Return the URI of a record.

        Args:
            namespace: the job's.
            job: its name.
            message: the record's ID.
        """
        return f"{self._root}/{namespace}/{job}/{message}"

    async def owe(self, job: TranscriptionJob | OCRJob, url: str, key_id: str) -> None:
        """Have the end of a job reported.

        Args:
            job: with `WEBHOOK_ANNOTATION`; one that is about to be created, or as it was created.
            url: where the message goes.
            key_id: of the API key whose secret signs it.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        metadata = job.metadata
        record = WebhookRecord(
            message=metadata.annotations[WEBHOOK_ANNOTATION],
            kind=job.kind,
            namespace=metadata.namespace or "",
            job=metadata.name,
            created=metadata.creation_timestamp,
            written=datetime.now(UTC),
            url=url,
            key_id=key_id,
        )
        await self.save(record)

    async def disown(self, job: TranscriptionJob | OCRJob) -> None:
        """Delete the record of a job that was not created."""
        metadata = job.metadata
        message = metadata.annotations[WEBHOOK_ANNOTATION]
        await self.discard(self.place(metadata.namespace or "", metadata.name, message))

    async def save(self, record: WebhookRecord) -> None:
        """Write a record.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        place = self.place(record.namespace, record.job, record.message)
        await self._store.write(place, record.to_json().encode())

    async def read(self, place: str) -> WebhookRecord | None:
        """Return a record; None: there is none, or none that can be read.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        found = await self._store.read(place)
        return None if found is None else WebhookRecord.model_validate_json(found)

    async def places(self) -> AsyncIterator[tuple[str, str, str]]:
        """Yield namespace, job and message of every record.

        Raises:
            ApiError: `StoreUnavailable`.
        """
        async for uri in self._store.below(self._root):
            parts = uri.removeprefix(f"{self._root}/").split("/")
            if len(parts) == 3:
                yield parts[0], parts[1], parts[2]

    async def discard(self, place: str) -> None:
        """Delete a record, once its message is delivered or given up."""
        await self._store.discard(place)
