"""The HTTP half of a server: its routes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable
from importlib.metadata import version

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steno_api.documents.pages import Pages
from steno_api.documents.transcript import Transcript
from steno_api.server.task import PoolTask
from steno_runtime.serve.errors import Answer, Code, Refusal, refusal_of
from steno_runtime.serve.metrics import Metrics
from steno_runtime.serve.transports.problem_details import problem, refused
from steno_runtime.serve.transports.rest.openapi import JobState, described, work
from steno_runtime.serve.transports.websocket.endpoint import MAX_FRAME_BYTES, Realtime
from steno_runtime.serve.uploads.body import MAX_UPLOAD_BYTES
from steno_runtime.serve.uploads.documents import Document, DocumentRest
from steno_runtime.serve.uploads.service import Desk
from steno_runtime.serve.uploads.transcription import MAX_SECONDS, Process, SpeechRest, Upload
from steno_runtime.stream.engine import EngineStatus

log = logging.getLogger(__name__)

Status = Callable[[], EngineStatus | None]

STRANGER_SECONDS, REFUSED_SECONDS = 1.0, 20.0
"""For which the rest of a refused request is thrown away before the connection is closed."""

_CODES = {404: "NotFound", 405: "MethodNotAllowed"}


class _Open:
    """The endpoints that need no token, and `/stt/status`."""

    def __init__(self, task: PoolTask, desk: Desk, metrics: Metrics, status: Status) -> None:
        self._task = task
        self._desk = desk
        self._metrics = metrics
        self._status = status

    async def health(self, _: Request) -> Response:
        state, registry = self._status(), self._desk.registry
        word = "draining" if registry.draining else "ok" if registry.ready else "loading"
        engine = f"{state.model} ({state.device})" if state is not None else self._task.model.name
        loaded = state is not None
        told = {"status": word, "model_loaded": loaded, "engine": engine, "version": version("steno-runtime")}
        return JSONResponse(told)

    async def livez(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(self, _: Request) -> Response:
        registry = self._desk.registry
        if registry.ready:
            return PlainTextResponse("ok")
        return PlainTextResponse("draining" if registry.draining else "loading", 503)

    async def metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def stt_status(self, request: Request) -> Response:
        self._desk.claims(request)
        state, registry = self._status(), self._desk.registry
        told = dataclasses.asdict(state) if state is not None else {"model": self._task.model.name}
        limits = {
            "max_sessions": self._task.max_sessions,
            "max_frame_bytes": MAX_FRAME_BYTES,
            "max_upload_bytes": MAX_UPLOAD_BYTES,
            "max_upload_seconds": MAX_SECONDS,
        }
        jobs = self._desk.jobs.counts()
        return JSONResponse(told | {"ready": registry.ready, "sessions": registry.open, "jobs": jobs, "limits": limits})


def make_app(
    task: PoolTask, desk: Desk, speech: SpeechRest, documents: DocumentRest, *, metrics: Metrics, status: Status
) -> FastAPI:
    """Wires the routes; requests are read by hand, so that nothing of a body is read before its token."""
    unguarded = _Open(task, desk, metrics, status)

    async def job_status(request: Request, job_id: str) -> Response:
        return await desk.status(request, job_id)

    app = FastAPI(
        title="Steno",
        version=version("steno-runtime"),
        summary="The REST endpoints of a RuntimePool; live sessions are at the WebSocket `/stt/realtime`, and gRPC.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        routes=[
            Route("/livez", unguarded.livez),
            Route("/readyz", unguarded.readyz),
            Route("/metrics", unguarded.metrics),
            WebSocketRoute("/stt/realtime", Realtime(desk.registry, desk.access).serve),
        ],
        exception_handlers={Refusal: _on_refusal, HTTPException: _on_http_error},
        middleware=[Middleware(_Unexpected)],
    )
    route = app.add_api_route
    route("/health", unguarded.health, **described("Whether the server is ready, and its model", token=False))
    route("/stt/status", unguarded.stt_status, **described("The engine, its load and its limits"))
    route("/status/{job_id}", job_status, **described("A job of `?async=true`, with its result", JobState))
    uploading = work("Transcribe an uploaded recording", Transcript, form=Upload)
    route("/stt/upload", speech.upload, methods=["POST"], **uploading)
    fetching = work("Transcribe a recording that lies elsewhere", Transcript, json=Process)
    route("/stt/process", speech.process, methods=["POST"], **fetching)
    reading = work("Read a document", Pages, form=Document, json=Document)
    route("/ocr/process", documents.process, methods=["POST"], **reading)
    return app


class _Unexpected:
    """Answers what nobody expected; its text is not logged, as it may quote what was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001
            log.error("a request failed", extra={"error": type(error).__name__})  # noqa: TRY400
            if not begun and scope["type"] == "http":
                await refused(refusal_of(error))(scope, receive, send)


async def _on_refusal(request: Request, error: Exception) -> Response:
    response = refused(refusal_of(error))
    if request.method == "POST":
        if response.status_code != Code.UPLOAD_TIMEOUT.value.http:  # it was waited for long enough
            await _discard(request, STRANGER_SECONDS if response.status_code == 401 else REFUSED_SECONDS)
        response.headers["Connection"] = "close"
    return response


async def _discard(request: Request, seconds: float) -> None:
    """Throws away what a refused client still sends, for a while: many read the answer only once they have sent all."""
    if "expect" in request.headers:  # it waits for our word before it sends
        return
    with contextlib.suppress(TimeoutError, RuntimeError, ClientDisconnect):
        async with asyncio.timeout(seconds):
            async for _ in request.stream():
                pass


async def _on_http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = "There is nothing at this path." if status == 404 else "This path does not take that method."
    return problem(Answer(_CODES.get(status, "InvalidRequest"), status, 1011, "UNKNOWN"), message)
