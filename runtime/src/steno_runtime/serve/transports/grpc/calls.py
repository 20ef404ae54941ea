"""Calls of any gRPC service: the token in the metadata, and the status that an error ends a call with.

Apart from the services because all of them, and the interceptor, need it.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import grpc

from steno_api.server.errors import ApiError
from steno_runtime.serve.auth import header_token
from steno_runtime.serve.sessions.live_session import SEND_SECONDS

Context = grpc.aio.ServicerContext[Any, Any]


def metadata_token(metadata: Any) -> str | None:
    """Return the token or API key in a call's metadata."""
    found: dict[str, str] = {}
    for key, value in metadata or ():
        if isinstance(value, str):
            found.setdefault(key, value)
    return header_token(found)


async def abort(context: Context, error: ApiError) -> NoReturn:
    """End a call with an error; the trailing metadata `steno-code` has its code, for programs."""
    status = grpc.StatusCode[error.status.grpc]
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await context.abort(status, error.message, (("steno-code", error.status.code),))
    except TimeoutError:  # it waits behind what the client does not read: as good as cancelled
        raise asyncio.CancelledError from None
    raise AssertionError("abort does not return")
