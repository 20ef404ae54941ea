"""Multipart forms as streams: a file's bytes go on while they arrive, and are nowhere kept as a whole.

Starlette's parser writes files to disk first; the gateway's own file system is read-only, and an upload may be larger
than its memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, cast

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from starlette.requests import ClientDisconnect, Request

from steno_api.server.errors import ApiError, ErrorCode
from steno_api.sizes import format_bytes

MAX_FIELD_BYTES = 16 * 1024
MAX_FIELDS = 64
RECEIVE_SECONDS = 300.0
"""Within which a form has to be complete."""
_MAX_HEADER_BYTES = 4096

Save = Callable[[str, AsyncIterator[bytes]], Awaitable[None]]
"""Takes a file's name and its bytes."""


@dataclass
class _Part:
    header: bytearray = field(default_factory=bytearray)
    headers: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    name: str = ""
    filename: str | None = None

    def add(self, event: str, data: bytes) -> None:
        """Take a part of a header."""
        if event == "header_field":
            self.header += data
        elif event == "header_value":
            key = bytes(self.header).lower()
            self.headers[key] = self.headers.get(key, b"") + data
        elif event == "header_end":
            self.header.clear()
        if len(self.header) + sum(map(len, self.headers.values())) > _MAX_HEADER_BYTES:
            raise _damaged()

    def read_disposition(self) -> None:
        """Read the names of the field and of the file, once the headers are complete."""
        message = Message()
        message["content-disposition"] = self.headers.get(b"content-disposition", b"").decode("utf-8", "replace")
        self.name = str(message.get_param("name", "", header="content-disposition") or "")
        self.filename = message.get_filename()


class _Events:
    """What the parser has found in the chunk that it was given last."""

    def __init__(self, boundary: bytes) -> None:
        self.found: list[tuple[str, bytes]] = []
        with_data = ("part_data", "header_field", "header_value")
        without = ("part_begin", "part_end", "header_end", "headers_finished", "end")
        callbacks: dict[str, Any] = {f"on_{name}": self._with_data(name) for name in with_data}
        callbacks |= {f"on_{name}": self._without(name) for name in without}
        self.parser = MultipartParser(boundary, cast("Any", callbacks))

    def _with_data(self, name: str) -> Callable[[bytes, int, int], None]:
        return lambda data, start, end: self.found.append((name, data[start:end]))

    def _without(self, name: str) -> Callable[[], None]:
        return lambda: self.found.append((name, b""))


async def read_form(request: Request, save: Save, *, file_field: str, max_bytes: int) -> dict[str, str]:
    """Read a form with one file; return its other fields, those before the file and those after.

    The values of a field that comes several times are joined by commas.

    Args:
        request: multipart/form-data.
        save: is given the file.
        file_field: name of the file's field.
        max_bytes: of the file.

    Raises:
        ApiError: `InvalidRequest`, `TooLarge`, `UploadTimeout`, or what `save` raises.
    """
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            return await _read(_parts(_parse(request)), save, file_field, max_bytes)
    except TimeoutError:
        message = f"The form did not arrive within {RECEIVE_SECONDS:g} s. Create a job with a URI for larger files."
        raise ApiError(ErrorCode.UPLOAD_TIMEOUT, message) from None


async def _read(
    parts: AsyncIterator[tuple[_Part, AsyncIterator[bytes]]], save: Save, file_field: str, max_bytes: int
) -> dict[str, str]:
    fields: dict[str, str] = {}
    count, saved = 0, False
    async for part, data in parts:
        if part.filename is None:
            count += 1
            value = (await _collect(data)).decode("utf-8", "replace")
            fields[part.name] = f"{fields[part.name]},{value}" if part.name in fields else value
            if count > MAX_FIELDS:
                raise ApiError(ErrorCode.INVALID_REQUEST, f"The form has more than {MAX_FIELDS} fields.")
        elif part.name == file_field and not saved:
            await save(part.filename, _limited(data, max_bytes))
            saved = True
        else:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"The form may have one file, in the field `{file_field}`.")
    if not saved:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"The form has no file in the field `{file_field}`.")
    return fields


async def _parts(events: AsyncIterator[tuple[str, bytes]]) -> AsyncIterator[tuple[_Part, AsyncIterator[bytes]]]:
    """Yield the parts, each with its bytes, which have to be read before the next part is asked for."""
    part = _Part()
    async for event, data in events:
        if event == "part_begin":
            part = _Part()
        elif event == "headers_finished":
            part.read_disposition()
            yield part, _data(events)
        else:
            part.add(event, data)


async def _data(events: AsyncIterator[tuple[str, bytes]]) -> AsyncIterator[bytes]:
    async for event, data in events:
        if event == "part_end":
            return
        yield data


async def _collect(data: AsyncIterator[bytes]) -> bytearray:
    value = bytearray()
    async for chunk in data:
        value += chunk
        if len(value) > MAX_FIELD_BYTES:
            raise ApiError(ErrorCode.TOO_LARGE, f"A field of the form has more than {format_bytes(MAX_FIELD_BYTES)}.")
    return value


async def _limited(data: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in data:
        received += len(chunk)
        if received > max_bytes:
            message = f"The limit is {format_bytes(max_bytes)}. Create a job with a URI for larger files."
            raise ApiError(ErrorCode.TOO_LARGE, message)
        yield chunk


async def _parse(request: Request) -> AsyncIterator[tuple[str, bytes]]:
    """Yield the parser's events.

    Raises:
        ApiError: `InvalidRequest`: this is no form, or it ends too early.
    """
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Send multipart/form-data.")
    ended = False
    try:
        events = _Events(boundary.encode("latin-1", "replace"))
        async for chunk in request.stream():
            events.parser.write(chunk)
            found, events.found = events.found, []
            for each in found:
                ended = ended or each[0] == "end"
                yield each
    except (MultipartParseError, ValueError):
        raise _damaged() from None
    except ClientDisconnect:
        raise ApiError(ErrorCode.INVALID_REQUEST, "The request ended before its body did.") from None
    if not ended:
        raise _damaged()


def _damaged() -> ApiError:
    return ApiError(ErrorCode.INVALID_REQUEST, "The form cannot be read: it is damaged, or ends too early.")
