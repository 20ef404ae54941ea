"""Resumable uploads over HTTP: tus 1.0.0 with creation, termination and expiration, at `/v1/uploads/tus`.

The last part of an upload's address is its ID, which a job names as its source as it does that of a direct upload. What
kept libraries there are serve from a directory, or need a lock that all replicas share; so the few requests are here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator
from datetime import UTC
from email.utils import format_datetime
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steno_api.failures import FailureReason
from steno_api.server.errors import ApiError, ErrorCode, failure_status
from steno_gateway.access.access import Access
from steno_gateway.settings import Settings
from steno_gateway.transports.http import NO_STORE, admitted, problem
from steno_gateway.transports.openapi import BINARY, describe
from steno_gateway.work.job_kinds import require_any
from steno_gateway.work.resumable_uploads import ResumableUploads, UploadStatus

PATH = "/v1/uploads/tus"
VERSION = "1.0.0"
EXTENSIONS = "creation,expiration,termination"
CHUNK = "application/offset+octet-stream"
SILENT_SECONDS = 60.0
"""After which a client that sends no more bytes is not waited for."""
_MAX_METADATA_CHARS = 4096
_ID = r"up-[a-z2-7]{16}"
_METHODS = ("PATCH", "DELETE", "HEAD")
"""That a client may ask for by POST, where something between refuses them."""


class TusProtocol:
    """ASGI middleware of what all requests and answers of tus have, whatever becomes of them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not re.match(rf"{PATH}(/|$)", scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get("x-http-method-override", "").upper()
        if scope["method"] == "POST" and asked in _METHODS:
            scope["method"] = asked

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({"Tus-Resumable": VERSION, "Tus-Version": VERSION})
            await send(message)

        if scope["method"] != "OPTIONS" and headers.get("tus-resumable") != VERSION:
            error = ApiError(ErrorCode.TUS_VERSION_UNSUPPORTED, f"The header Tus-Resumable has to be {VERSION}.")
            await problem(error)(scope, receive, send_with_version)
            return
        await self._app(scope, receive, send_with_version)


class TusUploads:
    """The handlers."""

    def __init__(self, settings: Settings, access: Access, uploads: ResumableUploads) -> None:
        self._settings = settings
        self._access = access
        self._uploads = uploads

    def add_routes(self, app: FastAPI) -> None:
        """Add the routes, with their descriptions."""
        app.add_middleware(TusProtocol)
        version = _header("Tus-Resumable", {"const": VERSION}, required=True)
        length = {"type": "integer", "minimum": 0, "maximum": self._settings.max_direct_upload_bytes}
        asked = [
            version,
            _header("Upload-Length", length, required=True),
            _header("Upload-Metadata", {"type": "string", "maxLength": _MAX_METADATA_CHARS}),
        ]
        options = describe("What the server knows of tus", status=204, credentials=False)
        app.options(PATH, **options)(self.options)
        create = describe("A resumable upload", status=201, parameters=asked, errors=[412, 413])
        app.post(PATH, response_class=Response, **create)(self.create)
        one = f"{PATH}/{{upload_id}}"
        status = describe("How far an upload is", parameters=[version], errors=[404, 412])
        app.head(one, response_class=Response, **status)(self.status)
        append = describe(
            "The next bytes of an upload",
            status=204,
            parameters=[version, _header("Upload-Offset", {"type": "integer", "minimum": 0}, required=True)],
            body={CHUNK: BINARY},
            errors=[409, 412],
        )
        app.patch(one, **append)(self.append)
        delete = describe("Delete an upload, complete or not", status=204, parameters=[version], errors=[404, 412])
        app.delete(one, **delete)(self.delete)

    async def options(self, _: Request) -> Response:
        """`OPTIONS /v1/uploads/tus`: what is served."""
        limit = str(self._settings.max_direct_upload_bytes)
        return Response(None, 204, {"Tus-Extension": EXTENSIONS, "Tus-Max-Size": limit})

    async def create(self, request: Request) -> Response:
        """`POST /v1/uploads/tus`: an upload without bytes."""
        async with admitted(self._access, request, None) as principal:
            require_any(principal)
            if "upload-defer-length" in request.headers:
                raise ApiError(ErrorCode.NOT_SUPPORTED, "Upload-Defer-Length: say Upload-Length.")
            length, metadata = _number(request, "Upload-Length"), _metadata(request)
            made = await self._uploads.create(principal, length, metadata)
            return Response(None, 201, {"Location": f"{PATH}/{made.id}", **_headers(made)})

    async def status(self, request: Request, upload_id: str) -> Response:
        """`HEAD /v1/uploads/tus/{upload_id}`: where to go on."""
        async with admitted(self._access, request, None) as principal:
            require_any(principal)
            found = await self._uploads.status(principal, _known(upload_id))
            said = {"Upload-Metadata": found.metadata} if found.metadata else {}
            return Response(None, 200, {"Upload-Length": str(found.length), **said, **_headers(found)})

    async def append(self, request: Request, upload_id: str) -> Response:
        """`PATCH /v1/uploads/tus/{upload_id}`: the next bytes; those that came before a connection broke are kept."""
        async with admitted(self._access, request, None) as principal:
            require_any(principal)
            content_type = request.headers.get("content-type", "")
            if content_type.partition(";")[0].strip().lower() != CHUNK:
                await self._uploads.status(principal, _known(upload_id))  # that there is none comes first
                raise ApiError(ErrorCode.CONTENT_TYPE_UNSUPPORTED, f"The Content-Type of an upload's bytes is {CHUNK}.")
            body = _Body(request)
            offset = _number(request, "Upload-Offset")
            done = await self._uploads.append(principal, _known(upload_id), offset, body.chunks())
            if body.is_silent:
                message = f"No bytes came for {SILENT_SECONDS:g} s. Go on at {done.offset}."
                raise ApiError(ErrorCode.UPLOAD_TIMEOUT, message)
            return Response(None, 204, _headers(done))

    async def delete(self, request: Request, upload_id: str) -> Response:
        """`DELETE /v1/uploads/tus/{upload_id}`."""
        async with admitted(self._access, request, None) as principal:
            require_any(principal)
            await self._uploads.discard(principal, _known(upload_id))
            return Response(None, 204)


class _Body:
    """What comes of a request: it ends where the client leaves, or sends nothing for a while."""

    def __init__(self, request: Request) -> None:
        self._stream = aiter(request.stream())
        self.is_silent = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        while True:
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    chunk = await anext(self._stream, None)
            except ClientDisconnect:
                return
            except TimeoutError:
                self.is_silent = True
                return
            if chunk is None:
                return
            yield chunk


def _headers(upload: UploadStatus) -> dict[str, str]:
    expires = format_datetime(upload.expires.astimezone(UTC), usegmt=True)
    return {"Upload-Offset": str(upload.offset), "Upload-Expires": expires, **NO_STORE}


def _header(name: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "schema": schema}


def _number(request: Request, name: str) -> int:
    """Return a header that is a number.

    Raises:
        ApiError: `InvalidRequest`.
    """
    given = request.headers.get(name, "")
    if not re.fullmatch(r"[0-9]{1,18}", given):
        raise ApiError(ErrorCode.INVALID_REQUEST, f"The header {name} has to be a number of bytes.")
    return int(given)


def _metadata(request: Request) -> str:
    """Return `Upload-Metadata` as it came: keys, each with a value in Base64 or none.

    Raises:
        ApiError: `InvalidRequest`.
    """
    given = request.headers.get("upload-metadata", "").strip()
    keys: set[str] = set()
    for pair in given.split(",") if given else ():
        key, _, value = pair.strip().partition(" ")
        if not re.fullmatch(r"[!-+\--~]+", key) or key in keys or not _is_base64(value):
            raise _bad_metadata()
        keys.add(key)
    if len(given) > _MAX_METADATA_CHARS:
        raise _bad_metadata()
    return given


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return False
    return True


def _bad_metadata() -> ApiError:
    message = f"Upload-Metadata is keys, each once, with values in Base64; {_MAX_METADATA_CHARS} characters in all."
    return ApiError(ErrorCode.INVALID_REQUEST, message)


def _known(upload_id: str) -> str:
    """Return an ID that may be one.

    Raises:
        ApiError: `SourceNotFound`.
    """
    if not re.fullmatch(_ID, upload_id):
        raise ApiError(failure_status(FailureReason.SOURCE_NOT_FOUND), "There is no upload of this ID.")
    return upload_id
