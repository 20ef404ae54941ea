"""Cleanup of uploads: once a job has ended, or is gone, what was staged for it is deleted.

Every replica observes every job and deletes for itself: a second delete of an object does nothing, and no upload stays
because one replica stopped. Beside it the store should expire `uploads/`, for what is left when all of them did.
Separate because it goes on beside the requests, which only add to what it deletes.
"""

from __future__ import annotations

import asyncio

from steno_gateway.cluster.resources import Record, Resources
from steno_gateway.work.job_kinds import Job, has_ended
from steno_gateway.work.store import ObjectStore
from steno_kube.object_cache import Change, Entry


class UploadCleanup:
    """Deletes uploads, one after the other."""

    def __init__(self, resources: Resources, store: ObjectStore) -> None:
        """Observe the jobs from now on.

        Args:
            resources: of the gateway.
            store: with the uploads.
        """
        self._store = store
        self._ended: asyncio.Queue[str] = asyncio.Queue()
        resources.add_event_handler(self._observe)

    async def run(self) -> None:
        """Delete until cancelled."""
        while True:
            await self._store.discard(await self._ended.get())

    def _observe(self, change: Change[Record]) -> None:
        before, after = _job(change.old), _job(change.new)
        last = after or before
        source = None if last is None else last.spec.source.uri
        if source is None or not self._store.is_upload(source):
            return
        is_over = after is None or has_ended(after)
        was_over = before is not None and has_ended(before)
        if is_over and not was_over:
            self._ended.put_nowait(source)


def _job(entry: Entry[Record] | None) -> Job | None:
    resource = entry.value.resource if entry is not None else None
    return resource if isinstance(resource, Job) else None
