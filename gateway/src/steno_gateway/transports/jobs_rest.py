"""Jobs over HTTP: `/v1/jobs`, for clients that hand work in, follow it and fetch its results, without Kubernetes.

The resources themselves are the state: a list is what the informer has, newest first, and a job that is deleted is gone
here as it is in the cluster.
"""

from __future__ import annotations

import contextlib
import heapq
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from fastapi import FastAPI
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from steno_api.gateway import jobs as shapes
from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.access import Access
from steno_gateway.access.principal import Principal
from steno_gateway.settings import Settings
from steno_gateway.transports.http import NO_STORE, admitted, problem_document, read_json
from steno_gateway.transports.intake import HEARTBEAT_SECONDS, EventStream, Intake, begun, idempotency_key
from steno_gateway.transports.openapi import EVENT, IDEMPOTENCY_KEY, describe, form_of, query_of, schema_of
from steno_gateway.work.job_kinds import DOCUMENTS, KINDS, SPEECH, Job, JobKind, failure, has_ended, require_any, state
from steno_gateway.work.jobs import JobService

MEDIA_TYPES: Mapping[str, tuple[str, str]] = {
    "json": ("application/json", "json"),
    "txt": ("text/plain; charset=utf-8", "txt"),
    "srt": ("application/x-subrip; charset=utf-8", "srt"),
    "vtt": ("text/vtt; charset=utf-8", "vtt"),
    "markdown": ("text/markdown; charset=utf-8", "md"),
    "pdf": ("application/pdf", "pdf"),
}
"""Media type and extension of each format."""
_REQUEST: TypeAdapter[shapes.TranscriptionRequest | shapes.DocumentRequest] = TypeAdapter(shapes.JobRequest)
_QUERY = TypeAdapter(shapes.JobsQuery)
_BY_KIND = {SPEECH: shapes.AskedTranscription, DOCUMENTS: shapes.AskedDocument}
_FORM_PLACE = "form"
"""Stands for the job's name in the place of an upload, which arrives before the job's kind is known."""


class JobsRest:
    """The handlers."""

    def __init__(self, settings: Settings, access: Access, jobs: JobService) -> None:
        self._settings = settings
        self._access = access
        self._jobs = jobs
        self._intake = Intake(settings, jobs)

    def add_routes(self, app: FastAPI) -> None:
        """Add the routes, with their descriptions."""
        form = form_of(shapes.JobForm, spec={"type": "string", "contentMediaType": "application/json", "default": "{}"})
        create = describe(
            "Hand in a recording or a document",
            shapes.JobView,
            status=202,
            parameters=[IDEMPOTENCY_KEY],
            body={"application/json": schema_of(shapes.JobRequest), "multipart/form-data": form},
        )
        app.post("/v1/jobs", **create)(self.create)
        upload = describe("A place in the store for a file of a job", shapes.UploadView, status=201)
        app.post("/v1/uploads", **upload)(self.offer_upload)
        page = describe("Jobs, the newest first", shapes.JobPage, parameters=query_of(shapes.JobsQuery))
        app.get("/v1/jobs", **page)(self.list)
        one = "/v1/jobs/{job_id}"
        app.get(one, **describe("A job", shapes.JobView, errors=[404]))(self.get)
        app.delete(one, **describe("Stop a job, if it runs, and forget it", status=204, errors=[404]))(self.delete)
        events = describe("A job whenever it changes", {"text/event-stream": EVENT}, errors=[404])
        app.get(f"{one}/events", response_class=Response, **events)(self.events)
        wanted = {"name": "format", "in": "query", "schema": {"enum": list(MEDIA_TYPES), "default": "json"}}
        documents = {media_type: {} for media_type, _ in MEDIA_TYPES.values()}
        failures = [404, 408, 409, 413, 422, 501, 502]
        result = describe("A job's document", documents, errors=failures, parameters=[wanted])
        app.get(f"{one}/result", response_class=Response, **result)(self.result)

    async def create(self, request: Request) -> Response:
        """`POST /v1/jobs`: JSON, or a form with a file."""
        async with admitted(self._access, request, None) as principal:
            key = idempotency_key(request)
            if request.headers.get("content-type", "").lower().startswith("multipart/"):
                async with self._intake.received(request, principal, _FORM_PLACE) as (form, upload):
                    kind, spec, webhook = self._read_form(principal, form)
                name = self._jobs.new_name(kind, principal, key)
                job = await self._jobs.create_from_upload(kind, principal, name, spec, upload, webhook=webhook)
            else:
                asked = _parse(_REQUEST, await read_json(request))
                kind = _kind(asked.kind)
                spec = self._spec(principal, kind, asked.spec)
                webhook = self._webhook(principal, asked.webhook)
                name = self._jobs.new_name(kind, principal, key)
                job = await self._jobs.create(kind, principal, name, spec, webhook=webhook)
            request.state.job_id = job.metadata.name
            headers = {"Location": f"/v1/jobs/{job.metadata.name}", **NO_STORE}
            return JSONResponse(view(job).to_wire(), 202, headers)

    async def offer_upload(self, request: Request) -> Response:
        """`POST /v1/uploads`: a presigned URL."""
        async with admitted(self._access, request, None) as principal:
            require_any(principal)
            offered = await self._jobs.direct_uploads.offer(principal)
            answer = shapes.UploadView(
                id=offered.id,
                url=offered.url,
                expires=offered.expires,
                max_bytes=self._settings.max_direct_upload_bytes,
            )
            return JSONResponse(answer.to_wire(), 201, NO_STORE)

    async def list(self, request: Request) -> Response:
        """`GET /v1/jobs`: a page."""
        async with admitted(self._access, request, None) as principal:
            given = {name: value for name, value in request.query_params.items() if name != "api_key"}
            query: shapes.JobsQuery = _parse(_QUERY, given)
            kinds = [kind for kind in KINDS if kind.scope in principal.scopes and query.kind in (None, _name(kind))]
            before = None if query.cursor is None else _place_of(query.cursor)
            found = (
                job
                for job in self._jobs.find(principal, kinds)
                if query.status in (None, state(job)) and (before is None or _place(job) < before)
            )
            page = heapq.nlargest(query.limit + 1, found, key=_place)
            further = _cursor(page[query.limit - 1]) if len(page) > query.limit else None
            answer = shapes.JobPage(jobs=[view(job) for job in page[: query.limit]], next=further)
            return JSONResponse(answer.to_wire(), headers=NO_STORE)

    async def get(self, request: Request, job_id: str) -> Response:
        """`GET /v1/jobs/{job_id}`."""
        async with self._found(request, job_id) as (_, job):
            return JSONResponse(view(job).to_wire(), headers=NO_STORE)

    async def events(self, request: Request, job_id: str) -> Response:
        """`GET /v1/jobs/{job_id}/events`: the job whenever it changes, until it has ended."""
        async with contextlib.AsyncExitStack() as held:
            principal, job = await held.enter_async_context(self._found(request, job_id))
            return EventStream(self._changes(principal, job), held.pop_all())

    async def result(self, request: Request, job_id: str) -> Response:
        """`GET /v1/jobs/{job_id}/result`: a document, from the store."""
        async with self._found(request, job_id) as (_, job):
            wanted = request.query_params.get("format", "json")
            if wanted not in MEDIA_TYPES:
                raise ApiError(ErrorCode.INVALID_REQUEST, f"format is one of {', '.join(MEDIA_TYPES)}.")
            media_type, extension = MEDIA_TYPES[wanted]
            headers = {
                "Content-Disposition": f'attachment; filename="{job_id}.{extension}"',
                "X-Content-Type-Options": "nosniff",
                **NO_STORE,
            }
            if job.status.results is None:
                raise failure(job)
            return StreamingResponse(await begun(self._jobs.result(job, wanted)), 200, headers, media_type)

    async def delete(self, request: Request, job_id: str) -> Response:
        """`DELETE /v1/jobs/{job_id}`: stop it, if it runs, and forget it."""
        async with self._found(request, job_id) as (principal, _):
            await self._jobs.cancel(principal, job_id)
            return Response(status_code=204)

    @contextlib.asynccontextmanager
    async def _found(self, request: Request, job_id: str) -> AsyncIterator[tuple[Principal, Job]]:
        async with admitted(self._access, request, None) as principal:
            job = await self._jobs.get(principal, job_id)
            request.state.job_id = job_id
            yield principal, job

    async def _changes(self, principal: Principal, job: Job) -> AsyncIterator[bytes]:
        shown = ""
        try:
            async for found in self._jobs.changes(principal, job, HEARTBEAT_SECONDS):
                latest = shown if found is None else view(found).to_json()
                yield KEEPALIVE_COMMENT if latest == shown else format_sse_event(event="job", data_str=latest)
                shown = latest
        except ApiError as error:
            yield format_sse_event(event="error", data_str=json.dumps(problem_document(error)))

    def _read_form(self, principal: Principal, form: Mapping[str, str]) -> tuple[JobKind, dict[str, Any], str | None]:
        asked = _parse(TypeAdapter(shapes.JobForm), {name: value for name, value in form.items() if value})
        try:
            spec = json.loads(asked.spec)
        except (ValueError, RecursionError):
            raise ApiError(ErrorCode.INVALID_REQUEST, "The field spec is not JSON.") from None
        kind = _kind(asked.kind)
        wanted = self._spec(principal, kind, _parse(TypeAdapter(_BY_KIND[kind]), spec, "spec"))
        return kind, wanted, self._webhook(principal, asked.webhook)

    def _webhook(self, principal: Principal, url: str | None) -> str | None:
        """Return where a job's end is reported.

        Raises:
            ApiError: `NotSupported`: the key has no secret to sign with; `InvalidRequest`: it is not encrypted.
        """
        if url is None:
            return None
        if not principal.signs_webhooks:
            message = "webhook: this key has no webhook secret. Have one made: steno key create --webhooks …"
            raise ApiError(ErrorCode.NOT_SUPPORTED, message)
        if not (url.startswith("https:") or self._settings.webhooks.allow_http):
            raise ApiError(ErrorCode.INVALID_REQUEST, "webhook has to be an https:// URL.")
        return url

    def _spec(
        self, principal: Principal, kind: JobKind, asked: shapes.AskedTranscription | shapes.AskedDocument
    ) -> dict[str, Any]:
        """Return the fields of the resource's spec.

        Raises:
            ApiError: `ScopeMissing`, `InvalidRequest`.
        """
        principal.require(kind.scope)
        if asked.priority is not None and asked.priority > self._settings.max_priority:
            message = f"spec.priority may be at most {self._settings.max_priority}."
            raise ApiError(ErrorCode.INVALID_REQUEST, message)
        return asked.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


def view(job: Job) -> shapes.JobView:
    """Return what a client learns of a job."""
    status, progress = job.status, job.status.progress
    error = failure(job) if state(job) == "failed" else None
    return shapes.JobView(
        id=job.metadata.name,
        kind=job.kind,
        status=state(job),
        created=_created(job),
        ended=status.completion_time if has_ended(job) else None,
        stage=progress.stage if progress else None,
        progress=progress.percent / 100 if progress else float(has_ended(job)),
        queue=status.queue,
        metadata=job.spec.metadata or None,
        formats=sorted({each.format for each in status.results.artifacts}) if status.results else None,
        summary=status.summary.to_wire() if status.summary else None,
        warnings=status.warnings,
        error=None if error is None else shapes.JobError(code=error.status.code, message=error.message),
    )


def _parse(adapter: TypeAdapter[Any], given: Any, below: str = "") -> Any:
    """Read what a client says.

    Raises:
        ApiError: `InvalidRequest`, with the fields that are not a client's, or that are wrong.
    """
    try:
        return adapter.validate_python(given)
    except ValidationError as error:
        refused: set[str] = set()
        wrong: set[str] = set()
        for fault in error.errors(include_input=False):
            parts = [str(part) for part in fault["loc"] if part not in ("TranscriptionJob", "OCRJob")]
            place = ".".join([*([below] if below else []), *parts]) or "body"
            (refused if fault["type"] == "extra_forbidden" else wrong).add(place[:100])
        messages: list[str] = []
        if refused:
            messages.append(f"Fields that a client of the gateway may not name: {', '.join(sorted(refused)[:16])}.")
        if wrong:
            messages.append(f"Fields that are missing or have an invalid value: {', '.join(sorted(wrong)[:16])}.")
        raise ApiError(ErrorCode.INVALID_REQUEST, " ".join(messages)) from None


def _name(kind: JobKind) -> str:
    return kind.model.definition.kind


def _kind(name: str) -> JobKind:
    return next(kind for kind in KINDS if _name(kind) == name)


def _created(job: Job) -> datetime:
    created = job.metadata.creation_timestamp
    assert created is not None  # noqa: S101 - it comes from the API server
    return created


def _place(job: Job) -> tuple[int, str]:
    """Return a job's place in the list; times are whole seconds, so names decide between those of one."""
    return int(_created(job).timestamp()), job.metadata.name


def _cursor(job: Job) -> str:
    created, name = _place(job)
    return f"{created}.{name}"


def _place_of(cursor: str) -> tuple[int, str]:
    created, _, name = cursor.partition(".")
    return int(created), name
