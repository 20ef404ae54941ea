"""REST handlers: uploads and their jobs, health, metrics and status."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Literal

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from steno_api.metrics_token import may_read_metrics
from steno_api.server.claims import SessionClaims
from steno_api.server.errors import ApiError, ErrorCode
from steno_api.server.queries import read_flag
from steno_api.server.task import PoolTask
from steno_runtime.serve.auth import header_token
from steno_runtime.serve.metrics import Metrics
from steno_runtime.serve.sessions.driver import MAX_AUDIO_BYTES
from steno_runtime.serve.sessions.registry import SessionRegistry
from steno_runtime.serve.uploads.body import MAX_UPLOAD_BYTES, read_form, read_json
from steno_runtime.serve.uploads.documents import DocumentFields, DocumentService
from steno_runtime.serve.uploads.job_queue import Job
from steno_runtime.serve.uploads.service import UploadService, parse_fields
from steno_runtime.serve.uploads.transcription import (
    MAX_SECONDS,
    TranscriptionFields,
    TranscriptionService,
    TranscriptionUrlFields,
)

_POLL_SECONDS = 1.0
_NO_STORE = {"Cache-Control": "no-store"}


class UploadRoutes:
    """The endpoints that take work, and `GET /status/{job_id}`."""

    def __init__(
        self, uploads: UploadService, transcriptions: TranscriptionService, documents: DocumentService
    ) -> None:
        self._uploads = uploads
        self._transcriptions = transcriptions
        self._documents = documents

    async def transcribe_file(self, request: Request) -> Response:
        """`POST /stt/upload`: a form with a file."""
        async with self._authorized(request, "stt") as claims:
            later = read_flag(request.query_params, "async")
            async with self._uploads.queue.reserve() as folder:
                form = await read_form(request, folder)
                fields = parse_fields(TranscriptionFields, dict(form.fields))
                submitter = self._uploads.submitter(claims, fields)
                job = self._transcriptions.submit_file(fields, submitter, folder, form.file)
            return await self._answer(request, job, later=later)

    async def transcribe_url(self, request: Request) -> Response:
        """`POST /stt/process`: JSON with `audio_url`."""
        async with self._authorized(request, "stt") as claims:
            later = read_flag(request.query_params, "async")
            fields = parse_fields(TranscriptionUrlFields, await read_json(request))
            submitter = self._uploads.submitter(claims, fields)
            async with self._uploads.queue.reserve() as folder:
                job = self._transcriptions.submit_url(fields, submitter, folder)
            return await self._answer(request, job, later=later)

    async def read_document(self, request: Request) -> Response:
        """`POST /ocr/process`: a form with a file, or JSON with `document_url`."""
        async with self._authorized(request, "ocr") as claims:
            later = read_flag(request.query_params, "async")
            async with self._uploads.queue.reserve() as folder:
                if request.headers.get("content-type", "").lower().startswith("application/json"):
                    fields, file = parse_fields(DocumentFields, await read_json(request)), None
                    if fields.document_url is None:
                        message = "document_url is missing; send it, or send the file as a form."
                        raise ApiError(ErrorCode.INVALID_REQUEST, message)
                else:
                    form = await read_form(request, folder)
                    fields, file = parse_fields(DocumentFields, dict(form.fields)), form.file
                job = self._documents.submit(fields, self._uploads.submitter(claims, fields), folder, file)
            return await self._answer(request, job, later=later)

    async def job_status(self, request: Request, job_id: str) -> Response:
        """`GET /status/{job_id}`: a job's state, and its result once it has one."""
        claims = self._uploads.authenticate(_token(request))
        job = self._uploads.job(claims, job_id)
        async with self._uploads.access.hold(claims):
            state = job.state()
            if job.result is not None:
                state["result"] = json.loads(await asyncio.to_thread(job.result.read_bytes))
        return JSONResponse(state, headers=_NO_STORE)

    @contextlib.asynccontextmanager
    async def _authorized(self, request: Request, kind: Literal["stt", "ocr"]) -> AsyncIterator[SessionClaims]:
        """Check the token, and go on checking it until the answer."""
        claims = self._uploads.authorize(_token(request), kind)
        async with self._uploads.access.hold(claims):
            yield claims

    async def _answer(self, request: Request, job: Job, *, later: bool) -> Response:
        """Answer with the result, or with 202 if `?async=true` was asked for."""
        if later:
            url = f"/status/{job.id}"
            body = {"job_id": job.id, "status": "queued", "status_url": url}
            return JSONResponse(body, 202, {"Location": url, **_NO_STORE})
        while not job.done.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await job.done.wait()
            if not job.done.is_set() and await request.is_disconnected():
                self._uploads.queue.cancel(job)
                raise ApiError(ErrorCode.INVALID_REQUEST, "The client has disconnected.")
        return FileResponse(job.result_file(), media_type="application/json", headers=_NO_STORE)


class StatusRoutes:
    """Health, metrics and `/stt/status`; health needs no token, metrics one of Prometheus if the task says so."""

    def __init__(self, task: PoolTask, uploads: UploadService, registry: SessionRegistry, metrics: Metrics) -> None:
        self._task = task
        self._uploads = uploads
        self._readiness = uploads.readiness
        self._registry = registry
        self._metrics = metrics

    async def health(self, _: Request) -> Response:
        """`GET /health`: the original engine's health document."""
        status = self._readiness.engine_status()
        body = {
            "status": self._state(),
            "model_loaded": status is not None,
            "engine": self._task.model.name if status is None else f"{status.model} ({status.device})",
            "version": version("steno-runtime"),
        }
        return JSONResponse(body)

    async def livez(self, _: Request) -> Response:
        """`GET /livez`: the process answers."""
        return PlainTextResponse("ok")

    async def readyz(self, _: Request) -> Response:
        """`GET /readyz`: whether sessions and uploads are accepted."""
        return PlainTextResponse(self._state(), 200 if self._readiness.ready else 503)

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`, for Prometheus."""
        if not may_read_metrics(self._task.metrics_token_sha256, request.headers.get("authorization")):
            return PlainTextResponse("a bearer token is needed", 401, {"WWW-Authenticate": "Bearer"})
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def stt_status(self, request: Request) -> Response:
        """`GET /stt/status`: the engine, its load and the server's limits."""
        self._uploads.authenticate(_token(request))
        status = self._readiness.engine_status()
        engine = {"model": self._task.model.name} if status is None else dataclasses.asdict(status)
        server = {
            "operator_silent_seconds": round(self._uploads.access.silence, 1),
            "ready": self._readiness.ready,
            "sessions": self._registry.open_sessions,
            "jobs": self._uploads.queue.counts(),
            "limits": {
                "max_sessions": self._task.max_sessions,
                "max_frame_bytes": MAX_AUDIO_BYTES,
                "max_upload_bytes": MAX_UPLOAD_BYTES,
                "max_upload_seconds": MAX_SECONDS,
            },
        }
        return JSONResponse(engine | server)

    def _state(self) -> str:
        return "draining" if self._readiness.draining else "ok" if self._readiness.ready else "loading"


def _token(request: Request) -> str | None:
    return header_token(request.headers)
