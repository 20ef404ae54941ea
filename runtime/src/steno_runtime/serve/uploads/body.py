"""Request bodies: multipart forms and JSON, with limits that do not rely on headers."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from steno_api.server.errors import ApiError, ErrorCode
from steno_api.sizes import format_bytes

MAX_UPLOAD_BYTES = 100 * 1024 * 1024
"""As the original engine."""
MAX_FIELDS_BYTES = 1024 * 1024
"""Of everything in a form that is not the file."""
MAX_JSON_BYTES = 64 * 1024
RECEIVE_SECONDS = 300.0
"""Within which a body has to be complete: until then it takes a job's place, and disk."""
_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 16 * 1024


@dataclass(frozen=True)
class Form:
    """A form: its text fields, and its file on disk."""

    fields: dict[str, str]
    file: Path

    def get(self, name: str) -> str | None:
        """Return a field's value; None if it is absent or empty."""
        return self.fields.get(name) or None


async def read_form(request: Request, folder: Path) -> Form:
    """Read a multipart form with a field `file` into `folder`.

    Raises:
        ApiError: `TooLarge`, `UploadTimeout` or `InvalidRequest`.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError(ErrorCode.INVALID_REQUEST, "Send multipart/form-data with the file in the field `file`.")
    _check_content_length(request, MAX_UPLOAD_BYTES + MAX_FIELDS_BYTES)
    parser = MultiPartParser(
        request.headers,
        _limited(request, MAX_UPLOAD_BYTES + MAX_FIELDS_BYTES),
        max_files=1,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            form = await parser.parse()
    except TimeoutError:
        raise _timed_out() from None
    except (MultiPartException, ValueError, KeyError):
        raise ApiError(
            ErrorCode.INVALID_REQUEST, "The form cannot be read: one field `file`, and short text fields, are expected."
        ) from None
    try:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise ApiError(ErrorCode.INVALID_REQUEST, "The form has no file in the field `file`.")
        if (upload.size or 0) > MAX_UPLOAD_BYTES:
            raise _too_large(MAX_UPLOAD_BYTES)
        target = folder / "source"
        await asyncio.to_thread(_copy, upload, target)
        return Form({name: value for name, value in form.items() if isinstance(value, str)}, target)
    finally:
        await form.close()


async def read_json(request: Request) -> dict[str, Any]:
    """Read a small JSON object.

    Raises:
        ApiError: `TooLarge`, `UploadTimeout` or `InvalidRequest`.
    """
    _check_content_length(request, MAX_JSON_BYTES)
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            body = b"".join([chunk async for chunk in _limited(request, MAX_JSON_BYTES)])
    except TimeoutError:
        raise _timed_out() from None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ApiError(ErrorCode.INVALID_REQUEST, "The body must be a JSON object.")
    return document


def _check_content_length(request: Request, limit: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise _too_large(limit)
            yield chunk
    except ClientDisconnect:
        raise ApiError(ErrorCode.INVALID_REQUEST, "The request ended before its body did.") from None


def _copy(upload: UploadFile, target: Path) -> None:
    upload.file.seek(0)
    with target.open("wb") as file:
        shutil.copyfileobj(upload.file, file, 1024 * 1024)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        ErrorCode.TOO_LARGE,
        f"The limit is {format_bytes(limit)}. Create a TranscriptionJob or an OCRJob for larger files.",
    )


def _timed_out() -> ApiError:
    return ApiError(
        ErrorCode.UPLOAD_TIMEOUT,
        f"The request's body did not arrive within {RECEIVE_SECONDS:g} s. Send it faster, or create a "
        "TranscriptionJob or an OCRJob for it.",
    )
