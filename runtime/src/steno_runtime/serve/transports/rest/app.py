"""FastAPI application of the REST routes: paths, OpenAPI, and how errors are answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from importlib.metadata import version

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steno_api.documents.pages import Pages
from steno_api.documents.transcript import Transcript
from steno_api.server.errors import ApiError, ErrorCode, ErrorStatus
from steno_runtime.serve.errors import to_api_error
from steno_runtime.serve.transports.problem_details import error_response, problem_response
from steno_runtime.serve.transports.rest.openapi import JobState, describe, describe_upload
from steno_runtime.serve.transports.rest.routes import StatusRoutes, UploadRoutes
from steno_runtime.serve.uploads.documents import DocumentFields
from steno_runtime.serve.uploads.transcription import TranscriptionFields, TranscriptionUrlFields

log = logging.getLogger(__name__)

UNAUTHENTICATED_DISCARD_SECONDS, DISCARD_SECONDS = 1.0, 20.0
"""How long the rest of a rejected request's body is discarded before the connection is closed."""

_CODES = {404: "NotFound", 405: "MethodNotAllowed"}


def make_app(
    uploads: UploadRoutes,
    status: StatusRoutes,
    others: Sequence[BaseRoute] = (),
    middleware: Sequence[Middleware] = (),
) -> FastAPI:
    """Build the application. Requests are parsed by hand, so that no body is read before its token.

    Args:
        uploads: endpoints that take work.
        status: endpoints about the server.
        others: routes of other transports on the same port, such as the WebSocket's.
        middleware: around all of them.
    """
    app = FastAPI(
        title="Steno",
        version=version("steno-runtime"),
        summary="The REST endpoints of a RuntimePool; live sessions are at the WebSocket `/stt/realtime`, and gRPC.",
        docs_url=None,  # its page would load scripts from another site
        redoc_url=None,
        routes=[
            *others,
        ],
        exception_handlers={ApiError: _on_api_error, HTTPException: _on_http_error},
        middleware=[*middleware, Middleware(_UnexpectedErrors)],
    )
    route = app.add_api_route
    route("/health", status.health, **describe("Whether the server is ready, and its model", token=False))
    route("/stt/status", status.stt_status, **describe("The engine, its load and its limits"))
    route("/status/{job_id}", uploads.job_status, **describe("A job of `?async=true`, with its result", JobState))
    from_file = describe_upload("Transcribe an uploaded recording", Transcript, form=TranscriptionFields)
    route("/stt/upload", uploads.transcribe_file, methods=["POST"], **from_file)
    from_url = describe_upload("Transcribe a recording at a URL", Transcript, json=TranscriptionUrlFields)
    route("/stt/process", uploads.transcribe_url, methods=["POST"], **from_url)
    document = describe_upload("Read a document", Pages, form=DocumentFields, json=DocumentFields)
    route("/ocr/process", uploads.read_document, methods=["POST"], **document)
    return app


def make_probe_app(status: StatusRoutes, middleware: Sequence[Middleware] = ()) -> Starlette:
    """Build the application of the probes' port, which no Service leads to. Probes need no token.

    Args:
        status: endpoints about the server.
        middleware: around them.
    """
    return Starlette(
        routes=[
            Route("/livez", status.livez),
            Route("/readyz", status.readyz),
            Route("/metrics", status.metrics),
        ],
        exception_handlers={HTTPException: _on_http_error},
        middleware=[*middleware, Middleware(_UnexpectedErrors)],
    )


class _UnexpectedErrors:
    """Middleware that answers errors without a handler; their text is not logged, as it may quote what was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        responding = False

        async def watched_send(message: Message) -> None:
            nonlocal responding
            responding = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception as error:  # noqa: BLE001
            log.error("a request failed", extra={"error": type(error).__name__})  # noqa: TRY400
            if not responding and scope["type"] == "http":
                await error_response(to_api_error(error))(scope, receive, send)


async def _on_api_error(request: Request, error: Exception) -> Response:
    response = error_response(to_api_error(error))
    if request.method == "POST":
        if response.status_code != ErrorCode.UPLOAD_TIMEOUT.value.http:  # it had its time
            await _discard(request, UNAUTHENTICATED_DISCARD_SECONDS if response.status_code == 401 else DISCARD_SECONDS)
        response.headers["Connection"] = "close"
    return response


async def _discard(request: Request, seconds: float) -> None:
    """Discard what the client still sends, for a while: many read the answer only once they have sent everything."""
    if "expect" in request.headers:  # it waits for an answer before it sends
        return
    with contextlib.suppress(TimeoutError, RuntimeError, ClientDisconnect):
        async with asyncio.timeout(seconds):
            async for _ in request.stream():
                pass


async def _on_http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = "There is nothing at this path." if status == 404 else "This path does not accept that method."
    return problem_response(ErrorStatus(_CODES.get(status, "InvalidRequest"), status, 1011, "UNKNOWN"), message)
