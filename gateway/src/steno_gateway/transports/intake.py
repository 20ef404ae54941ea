"""Intake of work over HTTP, the same for every protocol: a form's file is staged, and a job's end is awaited.

A client that goes away has no ID to ask with: what it waited for is deleted, unless it gave an `Idempotency-Key`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.principal import Principal
from steno_gateway.settings import Settings
from steno_gateway.transports.http import NO_STORE
from steno_gateway.transports.multipart import read_form
from steno_gateway.work.job_kinds import Job
from steno_gateway.work.jobs import JobService, Upload

MAX_KEY_CHARS = 255
HEARTBEAT_SECONDS = 15.0
"""After which an event stream without events has a comment: proxies close what is silent."""


def idempotency_key(request: Request) -> str | None:
    """Return what the client calls the request, if it does.

    Raises:
        ApiError: `InvalidRequest`.
    """
    key = request.headers.get("idempotency-key", "").strip()
    if len(key) > MAX_KEY_CHARS:
        message = f"An Idempotency-Key may have {MAX_KEY_CHARS} characters."
        raise ApiError(ErrorCode.INVALID_REQUEST, message)
    return key or None


class Intake:
    """Takes work in."""

    def __init__(self, settings: Settings, jobs: JobService) -> None:
        self._settings = settings
        self._jobs = jobs

    @contextlib.asynccontextmanager
    async def received(
        self, request: Request, principal: Principal, place: str
    ) -> AsyncIterator[tuple[dict[str, str], Upload]]:
        """Read a form with a `file`: its other fields, and the file, which is deleted if they are refused.

        Args:
            request: multipart/form-data.
            principal: who sends it.
            place: name of the job, or of what stands for it until it is known.

        Raises:
            ApiError: those of `read_form` and of `JobService.stage`.
        """
        uploads: list[Upload] = []

        async def save(filename: str, chunks: AsyncIterator[bytes]) -> None:
            uploads.append(await self._jobs.stage(principal, place, filename, chunks))

        try:
            form = await read_form(request, save, file_field="file", max_bytes=self._settings.max_upload_bytes)
            yield form, uploads[0]
        except BaseException:  # also where the client has left, or the gateway stops
            for upload in uploads:
                await self._jobs.discard(upload)
            raise

    async def wait(self, request: Request, principal: Principal, job: Job) -> Job:
        """Wait for a job's end, for as long as the client and the settings do.

        Raises:
            ApiError: those of `JobService.wait`; the client has disconnected.
        """
        waiting = asyncio.ensure_future(self._jobs.wait(principal, job))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            await self.abandon(request, principal, job)
            raise ApiError(ErrorCode.INVALID_REQUEST, "The client has disconnected.")
        finally:
            waiting.cancel()
            gone.cancel()

    async def abandon(self, request: Request, principal: Principal, job: Job) -> None:
        """Delete the job of a client that went away, unless it can find the job again."""
        if idempotency_key(request) is None:
            with contextlib.suppress(ApiError):
                await self._jobs.cancel(principal, job.metadata.name)


class EventStream(StreamingResponse):
    """Server-sent events, for which a request holds its place until they end."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        held: contextlib.AsyncExitStack,
        *,
        after: Callable[[], Awaitable[None]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send nothing yet.

        Args:
            events: as bytes, each with its empty line.
            held: closed at the end.
            after: called at the end, also when the client has gone away; not when the server stops.
            headers: of the answer, beside those that keep proxies from collecting events.
        """
        super().__init__(events, headers={**NO_STORE, "X-Accel-Buffering": "no", **(headers or {})})
        self._held = held
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        async with self._held:
            await super().__call__(scope, receive, send)
            if self._after is not None:
                await self._after()


async def begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return a stream once its first bytes are there: an error before them is an answer of its own."""
    first = await anext(chunks, b"")

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return whole()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
