"""Jobs as requests: a request becomes a TranscriptionJob or OCRJob, and its status and document the answer.

The name of a job is its ID: any replica finds it, after any restart. A request with an Idempotency-Key gets a name that
follows from it, so that the same request finds the job it made before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from steno_api.server.errors import ApiError, ErrorCode
from steno_api.v1alpha1.ocrjob import OCRJob
from steno_api.v1alpha1.transcriptionjob import TranscriptionJob
from steno_gateway.access.principal import Principal
from steno_gateway.cluster.resources import (
    DIGEST_ANNOTATION,
    NAME_CHARS,
    Resources,
    derived_name,
    not_found,
    over_defaults,
    random_name,
    read_resource,
)
from steno_gateway.settings import Settings
from steno_gateway.work.direct_uploads import DirectUploads
from steno_gateway.work.job_kinds import KINDS, SPEECH, Job, JobKind, failure, has_ended
from steno_gateway.work.malware import Clamd
from steno_gateway.work.resumable_uploads import ResumableUploads
from steno_gateway.work.store import ObjectStore
from steno_gateway.work.webhook_records import WEBHOOK_ANNOTATION, WebhookRecords, new_message_id
from steno_kube.keys import Key

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upload:
    """A file that was staged."""

    source: dict[str, Any]
    """The `source` of its job."""
    sha256: str


class JobService:
    """Creates jobs, waits for them, and reads their results."""

    def __init__(self, settings: Settings, resources: Resources, store: ObjectStore) -> None:
        self._settings = settings
        self._resources = resources
        self._store = store
        self._webhooks = WebhookRecords(settings, store)
        self._scanner = None if settings.clamd is None else Clamd(settings.clamd)
        self.direct_uploads = DirectUploads(settings, store, self._scanner)
        self.resumable_uploads = ResumableUploads(settings, store, self.direct_uploads)

    def new_name(self, kind: JobKind, principal: Principal, idempotency_key: str | None) -> str:
        """Return the name of a job that is about to be created.

        Args:
            kind: of the job.
            principal: who asks.
            idempotency_key: what the client calls the request, if it does.
        """
        if idempotency_key is None:
            return random_name(kind.prefix)
        # Of the tenant, not of the key: keys are replaced.
        return derived_name(kind.prefix, principal.tenant, principal.namespace, kind.prefix, idempotency_key)

    async def stage(self, principal: Principal, name: str, filename: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Write an upload to the store.

        Args:
            principal: who sends it.
            name: of the job.
            filename: of the upload.
            chunks: its bytes.

        Raises:
            ApiError: `StoreUnavailable`, `MalwareFound`, `ScannerUnavailable`, or whatever the stream raises.
        """
        # A place of its own: a repeated request must not touch what the first one's worker reads.
        place = f"{name}/{secrets.token_hex(8)}"
        uri = self._store.upload_uri(principal.namespace, place, _safe(filename))
        hashed = hashlib.sha256()
        if self._scanner is None:
            await self._store.put(uri, _hashed(chunks, hashed))
        else:
            async with aclosing(self._scanner.passed(_hashed(chunks, hashed))) as scanned:
                await self._store.put(uri, scanned)
        return Upload({"uri": uri, **self._access()}, hashed.hexdigest())

    async def create_from_upload(
        self,
        kind: JobKind,
        principal: Principal,
        name: str,
        spec: Mapping[str, Any],
        upload: Upload,
        *,
        webhook: str | None = None,
    ) -> Job:
        """Create a job of an upload, which is deleted if no job comes of it, or if the job is there already.

        Args:
            kind: of the job.
            principal: whose job it is.
            name: of the job.
            spec: what the client chose.
            upload: its source.
            webhook: where its end is reported; None: nowhere.

        Raises:
            ApiError: as `create`.
        """
        used = False
        try:
            whole = {**spec, "source": upload.source}
            job = await self._create(kind, principal, name, whole, upload.sha256, webhook=webhook)
            used = job.spec.source.uri == upload.source["uri"] and not has_ended(job)
        finally:
            if not used:
                await self.discard(upload)
        return job

    async def discard(self, upload: Upload) -> None:
        """Delete an upload of which no job came."""
        await self._store.discard(upload.source["uri"])

    async def create(
        self, kind: JobKind, principal: Principal, name: str, spec: Mapping[str, Any], *, webhook: str | None = None
    ) -> Job:
        """Create a job, or return the one that the same request has created.

        Args:
            kind: of the job.
            principal: whose job it is.
            name: of the job.
            spec: what the client chose, over the gateway's settings; of its `output` only formats.
            webhook: where its end is reported; None: nowhere.

        Raises:
            ApiError: `InvalidRequest`, `SourceNotAllowed`, `IdempotencyConflict`, `NotReady`,
                `StoreUnavailable`, and those of `DirectUploads.find`.
        """
        if (upload := spec["source"].get("upload")) is not None:
            return await self._create_from_direct_upload(kind, principal, name, spec, upload, webhook=webhook)
        uri = spec["source"]["uri"]
        if uri.startswith("/"):
            spec = {**spec, "source": {"uri": self._in_root(uri)}}
        # The gateway deletes what is staged in its store, and a worker's own identity may read it all.
        elif uri.startswith("pvc://") or self._store.has(uri):
            message = "Name a source by https://… or s3://…, outside the bucket of this gateway, or send the file."
            raise ApiError(ErrorCode.SOURCE_NOT_ALLOWED, message)
        return await self._create(kind, principal, name, spec, webhook=webhook)

    async def _create_from_direct_upload(
        self,
        kind: JobKind,
        principal: Principal,
        name: str,
        spec: Mapping[str, Any],
        upload: str,
        *,
        webhook: str | None,
    ) -> Job:
        content = f"upload {upload}"
        try:
            uri = await self.direct_uploads.find(principal, upload)
        except ApiError:
            # A request that is repeated once its job has ended: the upload is gone, and the job is the answer.
            with contextlib.suppress(ApiError):
                known = await self.get(principal, name)
                if known.metadata.annotations.get(DIGEST_ANNOTATION) == _digest(spec, content, webhook):
                    return known
            raise
        used = False
        try:
            source = {"uri": uri, **self._access()}
            job = await self._create(kind, principal, name, {**spec, "source": source}, content, webhook=webhook)
            used = job.spec.source.uri == uri
        finally:
            await self.direct_uploads.settle(principal, upload, uri, used=used)
        return job

    def _in_root(self, path: str) -> str:
        """Return the URI of a path in a directory that the administrator has named.

        Raises:
            ApiError: `SourceNotAllowed`.
        """
        found = next(filter(None, (root.source(path) for root in self._settings.source_roots)), None)
        if found is None:
            roots = ", ".join(root.path for root in self._settings.source_roots) or "none"
            message = f"A path has to be in a directory that the gateway serves ({roots}). Or send the file."
            raise ApiError(ErrorCode.SOURCE_NOT_ALLOWED, message)
        return found

    async def _create(
        self,
        kind: JobKind,
        principal: Principal,
        name: str,
        spec: Mapping[str, Any],
        content: str = "",
        *,
        webhook: str | None,
    ) -> Job:
        """Create a job; `content` is the digest of an upload, which a repeated request has at another place."""
        defaults = self._settings.transcription if kind is SPEECH else self._settings.ocr
        whole = {
            "ttlSecondsAfterFinished": self._settings.ttl_seconds,
            "ttlPolicy": "DeleteResource",
            **over_defaults(spec, defaults),
            "output": {**spec.get("output", {}), "uri": self._store.results_uri, **self._access()},
            "tenantRef": {"name": principal.tenant},
        }
        job = read_resource(kind.model, principal.namespace, name, whole)
        digest = _digest(spec, content, webhook)
        if webhook is None:
            return _job(await self._resources.create(job, key_id=principal.id, digest=digest))
        message = new_message_id()
        job.metadata.annotations[WEBHOOK_ANNOTATION] = message
        # Before the job: a replica that is lost between the two leaves no job whose end goes unreported.
        await self._webhooks.owe(job, webhook, principal.id)
        try:
            created = _job(await self._resources.create(job, key_id=principal.id, digest=digest))
        except ApiError as error:
            if error.status is ErrorCode.NOT_READY.value:  # it may be there all the same
                raise
            await self._webhooks.disown(job)
            raise
        if created.metadata.annotations.get(WEBHOOK_ANNOTATION) != message:  # an earlier request's
            await self._webhooks.disown(job)
        await self._confirm(created, webhook, principal)
        return created

    async def _confirm(self, job: Job, webhook: str, principal: Principal) -> None:
        """Note that a job is there, so that its end is reported although it is deleted while no replica runs."""
        if has_ended(job):  # an earlier request's, reported or about to be
            return
        try:
            await self._webhooks.owe(job, webhook, principal.id)
        except ApiError as error:  # the record is there already: nothing changes for the client
            log.warning("a webhook's record could not be completed: %s", error, extra={"job": job.metadata.name})

    async def get(self, principal: Principal, job_id: str) -> Job:
        """Return a job of the client's namespace.

        Raises:
            ApiError: `JobNotFound`, `NotReady`, `ScopeMissing`.
        """
        kind = next((each for each in KINDS if re.fullmatch(f"{each.prefix}-[a-z2-7]{{{NAME_CHARS}}}", job_id)), None)
        if kind is None:
            raise not_found()
        principal.require(kind.scope)
        job = _job(await self._resources.get(self._key(kind, principal, job_id)))
        if job.spec.tenant_name != principal.tenant:
            raise not_found()
        return job

    def find(self, principal: Principal, kinds: Iterable[JobKind]) -> list[Job]:
        """Return the client's jobs of some kinds, as far as they have been observed."""
        found = [
            _job(each) for kind in kinds for each in self._resources.of(kind.model.definition.kind, principal.namespace)
        ]
        return [job for job in found if job.spec.tenant_name == principal.tenant]

    async def changes(self, principal: Principal, job: Job, beat: float) -> AsyncIterator[Job | None]:
        """Yield a job now, whenever it has changed, and when it has ended; None after `beat` seconds without a change.

        Raises:
            ApiError: as `wait`.
        """
        yield job
        key = Key(job.kind, principal.namespace, job.metadata.name)
        while not has_ended(job):
            version = job.metadata.resource_version
            latest = await self._resources.wait(key, lambda each: each.metadata.resource_version != version, beat)  # noqa: B023 - within the turn
            changed = latest.metadata.resource_version != version
            job = _job(latest)
            yield job if changed else None

    async def wait(self, principal: Principal, job: Job, seconds: float | None = None) -> Job:
        """Return a job once it has ended, or as it is when the time is over.

        Args:
            principal: whose job it is.
            job: which one.
            seconds: for which to wait; None: as the settings say.

        Raises:
            ApiError: `JobNotFound`: it was deleted meanwhile; `NotReady`.
        """
        key = Key(job.kind, principal.namespace, job.metadata.name)
        limit = self._settings.wait_seconds if seconds is None else seconds
        return _job(await self._resources.wait(key, lambda each: has_ended(_job(each)), limit))

    async def cancel(self, principal: Principal, job_id: str) -> None:
        """Delete a job; what it has published stays.

        Raises:
            ApiError: `JobNotFound`, `NotReady`.
        """
        await self._resources.delete(await self.get(principal, job_id))

    def result(self, job: Job, artifact: str = "json") -> AsyncIterator[bytes]:
        """Return the bytes of a published document.

        Args:
            job: which has succeeded.
            artifact: format of the document.

        Raises:
            ApiError: why there is none.
        """
        results = job.status.results
        if results is None:
            raise failure(job)
        found = next((each for each in results.artifacts if each.format == artifact), None)
        if found is None:
            message = f"The job did not publish {artifact}: ask for it when you create the job."
            raise ApiError(ErrorCode.RESULT_NOT_FOUND, message)
        return self._store.get(found.uri)

    def _key(self, kind: JobKind, principal: Principal, name: str) -> Key:
        return Key(kind.model.definition.kind, principal.namespace, name)

    def _access(self) -> dict[str, Any]:
        """Return how workers reach the store."""
        store = self._settings.store
        access: dict[str, Any] = {"secretRef": {"name": store.secret_name}}
        if store.endpoint_url:
            access["endpointURL"] = store.endpoint_url
        if store.region:
            access["region"] = store.region
        return access


async def _hashed(chunks: AsyncIterator[bytes], into: hashlib._Hash) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        into.update(chunk)
        yield chunk


def _digest(spec: Mapping[str, Any], content: str, webhook: str | None) -> str:
    """Return the digest of what a client asked for; settings may change between two requests."""
    asked = {**spec, **({"source": content} if content else {}), **({"webhook": webhook} if webhook else {})}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _job(resource: Any) -> Job:
    assert isinstance(resource, (TranscriptionJob, OCRJob))  # noqa: S101 - asked for by kind
    return resource


def _safe(filename: str) -> str:
    """Return a file's name as the last part of a key: its extension helps people, nothing else is needed of it."""
    kept = "".join(char for char in filename.rpartition("/")[2] if char.isascii() and (char.isalnum() or char in "._-"))
    return kept.strip(".")[-100:] or "source"
