"""The original engines' REST: `/stt/upload`, `/stt/process`, `/ocr/process`, `/status/{job_id}`, for unchanged clients.

What a request asks for becomes a job, and the answer is the document that the job publishes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from steno_api.documents.pages import Pages
from steno_api.documents.transcript import Transcript
from steno_api.gateway.api_keys import Scope
from steno_api.gateway.jobs import Pages as PageRanges
from steno_api.gateway.jobs import SourceURI, SpokenTag, Tag
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.queries import read_flag
from steno_api.v1alpha1.ocrjob import OCREngine
from steno_gateway.access.access import Access
from steno_gateway.access.principal import Principal
from steno_gateway.settings import Settings
from steno_gateway.transports.http import NO_STORE, admitted, parse_fields, read_json
from steno_gateway.transports.intake import Intake, begun, idempotency_key
from steno_gateway.transports.openapi import (
    IDEMPOTENCY_KEY,
    LATER,
    Accepted,
    SpeechStatus,
    WorkState,
    describe,
    form_of,
    schema_of,
)
from steno_gateway.work.job_kinds import DOCUMENTS, SPEECH, Job, JobKind, failure, has_ended, state
from steno_gateway.work.jobs import JobService

Text = Annotated[str, Field(max_length=512)]


def _split(given: Any) -> Any:
    return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given


Languages = Annotated[list[Tag], Field(max_length=16), BeforeValidator(_split)]


class ClientFields(BaseModel):
    """What clients call themselves and their recordings: free text."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tenant_id: Text | None = None
    user_id: Text | None = None

    def common_spec(self) -> dict[str, Any]:
        """Return the fields of a job's spec that keep them."""
        given = {"tenant_id": self.tenant_id, "user_id": self.user_id}
        metadata = {name: value for name, value in given.items() if value}
        return {"metadata": metadata} if metadata else {}


class SpeechFields(ClientFields):
    """Fields of a recording."""

    meeting_id: Annotated[str, Field(max_length=253)] | None = None
    language: SpokenTag | None = None
    languages: Languages = []
    channels: Literal["mix", "split"] = "mix"
    diarize: bool = True
    min_speakers: Annotated[int, Field(ge=1, le=64)] | None = None
    max_speakers: Annotated[int, Field(ge=1, le=64)] | None = None

    def spec(self) -> dict[str, Any]:
        """Return the fields of the TranscriptionJob's spec."""
        spec = self.common_spec() | {"languages": self.languages}
        if self.language is not None:
            spec["language"] = self.language
        if self.meeting_id:
            spec["meetingID"] = self.meeting_id
        if self.channels == "split":
            spec["audio"] = {"channels": "Split"}
        if self.channels == "split" or not self.diarize:
            spec["diarization"] = None  # not that of the gateway's settings either
        else:
            bounds = {"minSpeakers": self.min_speakers, "maxSpeakers": self.max_speakers}
            spec["diarization"] = {name: bound for name, bound in bounds.items() if bound is not None}
        return spec


class SpeechUrlFields(SpeechFields):
    """Fields of a recording that a worker fetches."""

    audio_url: SourceURI


class DocumentFields(ClientFields):
    """Fields of a document."""

    document_url: SourceURI | None = None
    languages: Languages = []
    engine: OCREngine | None = None
    pages: PageRanges | None = None
    mode: Literal["skip", "redo", "force"] = "skip"

    def spec(self) -> dict[str, Any]:
        """Return the fields of the OCRJob's spec."""
        chosen = {"languages": self.languages, "engine": self.engine, "pages": self.pages}
        given = {name: value for name, value in chosen.items() if value}
        return self.common_spec() | {"mode": self.mode.capitalize()} | given


class OriginalRest:
    """The handlers."""

    def __init__(self, settings: Settings, access: Access, jobs: JobService, ready: Callable[[], bool]) -> None:
        """Serve nothing yet.

        Args:
            settings: of the gateway.
            access: who may ask.
            jobs: what is asked for.
            ready: whether all that exists has been observed.
        """
        self._ready = ready
        self._settings = settings
        self._access = access
        self._jobs = jobs
        self._intake = Intake(settings, jobs)

    def add_routes(self, app: FastAPI) -> None:
        """Add the routes, with their descriptions."""
        options = [IDEMPOTENCY_KEY, LATER]
        form, url = form_of(SpeechFields), schema_of(SpeechUrlFields)
        documents = {"multipart/form-data": form_of(DocumentFields), "application/json": schema_of(DocumentFields)}
        upload = describe(
            "Transcribe a recording", Transcript, later=Accepted, parameters=options, body={"multipart/form-data": form}
        )
        process = describe(
            "Transcribe what a URL names",
            Transcript,
            later=Accepted,
            parameters=options,
            body={"application/json": url},
        )
        read = describe("Read a document", Pages, later=Accepted, parameters=options, body=documents)
        app.get("/stt/status", **describe("The model and the limits", SpeechStatus))(self.speech_status)
        app.post("/stt/upload", **upload)(self.transcribe_file)
        app.post("/stt/process", **process)(self.transcribe_url)
        app.post("/ocr/process", **read)(self.read_document)
        app.get("/status/{job_id}", **describe("A job", WorkState, errors=[404]))(self.job_status)

    async def speech_status(self, request: Request) -> Response:
        """`GET /stt/status`: the model and the limits."""
        async with admitted(self._access, request, Scope.STT) as principal:
            model = self._settings.transcription.get("model", {}).get("name", "large-v3")
            limits = {"max_upload_bytes": self._settings.max_upload_bytes}
            return JSONResponse({"ready": self._ready(), "model": model, "tenant": principal.tenant, "limits": limits})

    async def transcribe_file(self, request: Request) -> Response:
        """`POST /stt/upload`: a form with a file."""
        return await self._upload(request, SPEECH, SpeechFields)

    async def transcribe_url(self, request: Request) -> Response:
        """`POST /stt/process`: JSON with `audio_url`."""
        async with admitted(self._access, request, SPEECH.scope) as principal:
            fields = parse_fields(SpeechUrlFields, await read_json(request))
            return await self._run(request, SPEECH, principal, fields.spec() | {"source": _source(fields.audio_url)})

    async def read_document(self, request: Request) -> Response:
        """`POST /ocr/process`: a form with a file, or JSON with `document_url`."""
        if not request.headers.get("content-type", "").lower().startswith("application/json"):
            return await self._upload(request, DOCUMENTS, DocumentFields)
        async with admitted(self._access, request, DOCUMENTS.scope) as principal:
            fields = parse_fields(DocumentFields, await read_json(request))
            if fields.document_url is None:
                message = "document_url is missing; send it, or send the file as a form."
                raise ApiError(ErrorCode.INVALID_REQUEST, message)
            spec = fields.spec() | {"source": _source(fields.document_url)}
            return await self._run(request, DOCUMENTS, principal, spec)

    async def job_status(self, request: Request, job_id: str) -> Response:
        """`GET /status/{job_id}`: a job's state, and its result once it has one."""
        async with admitted(self._access, request, None) as principal:
            job = await self._jobs.get(principal, job_id)
            request.state.job_id = job_id
            if state(job) == "succeeded":
                document = await begun(self._jobs.result(job))
                body = _with_result(_state_head(job), document)
                return StreamingResponse(body, 200, NO_STORE, "application/json")
            return JSONResponse(_state(job), headers=NO_STORE)

    async def _upload(self, request: Request, kind: JobKind, model: type[SpeechFields | DocumentFields]) -> Response:
        async with admitted(self._access, request, kind.scope) as principal:
            later = read_flag(request.query_params, "async")
            name = self._jobs.new_name(kind, principal, idempotency_key(request))
            async with self._intake.received(request, principal, name) as (form, upload):
                spec = parse_fields(model, dict(form)).spec()
            job = await self._jobs.create_from_upload(kind, principal, name, spec, upload)
            return await self._answer(request, principal, job, later=later)

    async def _run(self, request: Request, kind: JobKind, principal: Principal, spec: Mapping[str, Any]) -> Response:
        later = read_flag(request.query_params, "async")
        name = self._jobs.new_name(kind, principal, idempotency_key(request))
        job = await self._jobs.create(kind, principal, name, spec)
        return await self._answer(request, principal, job, later=later)

    async def _answer(self, request: Request, principal: Principal, job: Job, *, later: bool) -> Response:
        """Answer with a job's document once it has ended, or with its address."""
        request.state.job_id = job.metadata.name
        if not later:
            job = await self._intake.wait(request, principal, job)
        if not has_ended(job):
            url = f"/status/{job.metadata.name}"
            body = {"job_id": job.metadata.name, "status": state(job), "status_url": url}
            return JSONResponse(body, 202, {"Location": url, **NO_STORE})
        if state(job) == "failed":
            raise failure(job)
        headers = {"X-Job-ID": job.metadata.name, **NO_STORE}
        return StreamingResponse(await begun(self._jobs.result(job)), 200, headers, "application/json")


def _source(url: str) -> dict[str, Any]:
    return {"uri": url}


def _state(job: Job) -> dict[str, Any]:
    progress = job.status.progress
    shown: dict[str, Any] = {
        "job_id": job.metadata.name,
        "status": state(job),
        "stage": progress.stage if progress else None,
        "progress": progress.percent / 100 if progress else float(has_ended(job)),
    }
    if state(job) == "failed":
        error = failure(job)
        shown["error"] = {"code": error.status.code, "message": error.message}
    return shown


def _state_head(job: Job) -> bytes:
    return json.dumps(_state(job)).encode()


async def _with_result(head: bytes, document: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the state with the document as its member `result`, which is never parsed."""
    yield head[:-1] + b', "result": '
    async for chunk in document:
        yield chunk
    yield b"}"
