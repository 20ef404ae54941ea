"""Delivery of webhooks, at least once: one replica, the holder of a lease, sends what is owed.

What a job's end was is written into its record before the first attempt, and each failed attempt after it; so another
replica goes on where one stopped. A message that was sent just then is sent again, with the same ID.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prometheus_client import Counter
from pydantic import ValidationError

from steno_api.gateway.jobs import EndedJob, JobEvent
from steno_api.gateway.known_keys import ApiKeys
from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.cluster.resources import Record, Resources
from steno_gateway.settings import Settings
from steno_gateway.work.job_kinds import KINDS, Job, failure, has_ended
from steno_gateway.work.webhook_records import WEBHOOK_ANNOTATION, WebhookRecord, WebhookRecords
from steno_gateway.work.webhook_requests import WebhookRequests
from steno_kube.keys import Key
from steno_kube.leader_election import Leadership
from steno_kube.object_cache import Change, Entry

log = logging.getLogger(__name__)

ATTEMPTS = Counter("steno_gateway_webhooks", "Attempts to deliver webhooks", ["outcome"])
for _outcome in ("delivered", "failed", "given up"):
    ATTEMPTS.labels(_outcome)  # each is there from the beginning
_KEYS_SECONDS = 5.0
"""How often it is looked whether any key signs webhooks: without one, no lease is held."""
_LIST_SECONDS = 300.0
"""Between two looks at everything that is owed, for what was not noticed."""
_AGAIN_SECONDS = 15.0
"""After which something is tried again that the store or the API server did not answer."""
_UNSEEN = timedelta(minutes=10)
"""After which a record is forgotten whose job nothing shows to have been: the request that wrote it is over by then."""
_AT_A_TIME, _OF_A_KEY = 64, 8
"""Requests: a client whose server is slow holds up its own."""


@dataclass(frozen=True)
class _Over:
    """A job that is over, for which a message is owed."""

    place: str
    job: Job | None
    """As it was last seen, deleted since if it had not ended; None: it is not there."""


class WebhookDelivery:
    """Reports the end of jobs."""

    def __init__(
        self,
        settings: Settings,
        resources: Resources,
        records: WebhookRecords,
        keys: ApiKeys,
        leadership: Leadership,
    ) -> None:
        """Send nothing yet.

        Args:
            settings: how messages are sent.
            resources: the jobs.
            records: what is owed.
            keys: whose secrets sign.
            leadership: of the replica that sends.
        """
        self._settings = settings.webhooks
        self._requests = WebhookRequests(settings)
        self._resources = resources
        self._records = records
        self._keys = keys
        self._leadership = leadership
        self._found: asyncio.Queue[_Over] | None = None
        self._all = asyncio.Semaphore(_AT_A_TIME)
        self._of_key: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_OF_A_KEY))
        resources.add_event_handler(self._observe)

    async def run(self, observed: Iterable[asyncio.Event]) -> None:
        """Deliver whenever this replica leads, until cancelled.

        Args:
            observed: set once all jobs and keys are known.
        """
        for each in observed:
            await each.wait()
        while True:
            while not self._keys.sign_webhooks:  # noqa: ASYNC110 - keys change elsewhere
                await asyncio.sleep(_KEYS_SECONDS)
            await self._leadership.acquire()
            try:
                await self._lead()
            finally:
                await self._leadership.release()

    async def _lead(self) -> None:
        """Deliver until the lease is lost."""
        holding = asyncio.create_task(self._leadership.hold(), name="webhooks-lease")
        working = asyncio.create_task(self._work(), name="webhooks-work")
        try:
            await asyncio.wait({holding, working}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (holding, working):
                task.cancel()
            ends = await asyncio.gather(holding, working, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                log.error("the delivery of webhooks stopped, and begins again", exc_info=end)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _work(self) -> None:
        self._found = found = asyncio.Queue[_Over]()
        active: set[str] = set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look(found))
                while True:
                    over = await found.get()
                    if over.place not in active:
                        active.add(over.place)
                        task = tasks.create_task(self._deliver(over))
                        task.add_done_callback(lambda _, place=over.place: active.discard(place))
        finally:
            self._found = None

    def _observe(self, change: Change[Record]) -> None:
        """Take note of a job that has ended, or is gone."""
        if self._found is None:
            return
        old, new = _job(change.old), _job(change.new)
        is_same = old is not None and new is not None and old.metadata.uid == new.metadata.uid
        if old is not None and not is_same and not has_ended(old):
            self._note(self._found, old)
        if new is not None and has_ended(new) and not (is_same and old is not None and has_ended(old)):
            self._note(self._found, new)

    def _note(self, found: asyncio.Queue[_Over], job: Job) -> None:
        message = job.metadata.annotations.get(WEBHOOK_ANNOTATION)
        if message is not None:
            place = self._records.place(job.metadata.namespace or "", job.metadata.name, message)
            found.put_nowait(_Over(place, job))

    async def _look(self, found: asyncio.Queue[_Over]) -> None:
        """Look at everything that is owed, now and from time to time."""
        while True:
            pause = _LIST_SECONDS
            try:
                async with asyncio.timeout(_LIST_SECONDS):
                    async for namespace, name, message in self._records.places():
                        is_over, job = await self._state(namespace, name, message)
                        if is_over:
                            found.put_nowait(_Over(self._records.place(namespace, name, message), job))
            except (ApiError, TimeoutError) as error:
                log.warning("webhooks cannot be looked for: %s", error)
                pause = _AGAIN_SECONDS
            await asyncio.sleep(pause)

    async def _state(self, namespace: str, name: str, message: str) -> tuple[bool, Job | None]:
        """Return whether the job of a message is over, and how it ended if it is there still."""
        kind = next((each for each in KINDS if name.startswith(f"{each.prefix}-")), None)
        if kind is None:
            return False, None
        try:
            job = await self._resources.get(Key(kind.model.definition.kind, namespace, name))
        except ApiError as error:
            if error.status is not ErrorCode.JOB_NOT_FOUND.value:
                raise
            return True, None
        if not isinstance(job, Job) or job.metadata.annotations.get(WEBHOOK_ANNOTATION) != message:
            return True, None  # another one of the same name
        return has_ended(job), job

    async def _deliver(self, over: _Over) -> None:
        """Send a message until it has arrived, or no attempt is left."""
        while True:
            try:
                await self._send(over)
            except ApiError as error:
                log.warning("a webhook waits for the store: %s", error.message)
                await asyncio.sleep(_AGAIN_SECONDS)
            except ValidationError:
                log.error("the record of a webhook is damaged: delete it", extra={"uri": over.place})  # noqa: TRY400
                return
            else:
                return

    async def _send(self, over: _Over) -> None:
        record = await self._records.read(over.place)
        if record is None:
            return
        body = record.body
        if body is None and over.job is None and record.created is None:
            # Its request is about to create the job, or its replica was lost before.
            if record.written is None or datetime.now(UTC) - record.written > _UNSEEN:
                await self._records.discard(over.place)
            return
        if body is None:
            body = _event(record, over.job).to_json()
            record = record.model_copy(update={"body": body})
            await self._records.save(record)
        while True:
            if record.due is not None:
                await asyncio.sleep(max(0.0, (record.due - datetime.now(UTC)).total_seconds()))
            if await self._attempt(record, body):
                await self._records.discard(over.place)
                return
            delay = self._settings.retry_seconds[record.attempts] * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load
            due = datetime.now(UTC) + timedelta(seconds=delay)
            record = record.model_copy(update={"attempts": record.attempts + 1, "due": due})
            await self._records.save(record)

    async def _attempt(self, record: WebhookRecord, body: str) -> bool:
        """Send a message once; return whether no attempt follows."""
        async with contextlib.AsyncExitStack() as held:
            await held.enter_async_context(self._of_key[record.key_id])
            await held.enter_async_context(self._all)
            secret = self._keys.webhook_secret(record.key_id)
            answer = "revoked" if secret is None else await self._requests.post(record, body, secret)
        is_delivered = isinstance(answer, int) and 200 <= answer < 300
        is_last = answer in ("revoked", 410) or record.attempts >= len(self._settings.retry_seconds)
        outcome = "delivered" if is_delivered else "given up" if is_last else "failed"
        ATTEMPTS.labels(outcome).inc()
        details = {"job": record.job, "api_key": record.key_id, "attempt": record.attempts + 1, "status": answer}
        log.log(logging.INFO if is_delivered else logging.WARNING, "webhook %s", outcome, extra=details)
        return is_delivered or is_last


def _event(record: WebhookRecord, job: Job | None) -> JobEvent:
    """Return what a client learns of the end of a job."""
    created = record.created or (job and job.metadata.creation_timestamp)
    data = EndedJob(id=record.job, kind=record.kind, status="cancelled", created=created)
    now = datetime.now(UTC).replace(microsecond=0)
    if job is None or not has_ended(job):
        return JobEvent(type="job.cancelled", timestamp=now, data=data)
    if job.status.phase == "Succeeded":
        data = data.model_copy(update={"status": "succeeded", "ended": job.status.completion_time})
        return JobEvent(type="job.succeeded", timestamp=now, data=data)
    ended = {"status": "failed", "ended": job.status.completion_time, "error": failure(job).status.code}
    return JobEvent(type="job.failed", timestamp=now, data=data.model_copy(update=ended))


def _job(entry: Entry[Record] | None) -> Job | None:
    resource = entry.value.resource if entry is not None else None
    return resource if isinstance(resource, Job) else None
