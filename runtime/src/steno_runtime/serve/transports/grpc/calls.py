"""What the gRPC services have in common: the token in a call's metadata, and how a call is refused."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import grpc

from steno_runtime.serve.auth import bearer
from steno_runtime.serve.errors import Refusal
from steno_runtime.serve.sessions.live_session import SEND_SECONDS

Context = grpc.aio.ServicerContext[Any, Any]


def token_of(metadata: Any) -> str | None:
    """Returns the token in a call's metadata."""
    values = [value for key, value in metadata or () if key == "authorization"]
    return bearer(values[0]) if values and isinstance(values[0], str) else None


async def abort(context: Context, refusal: Refusal) -> NoReturn:
    """Ends a call with a refusal; the trailing metadata `steno-code` has its code, for programs."""
    status = grpc.StatusCode[refusal.answer.grpc]
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await context.abort(status, refusal.message, (("steno-code", refusal.answer.code),))
    except TimeoutError:  # it stands behind what the client does not read: as good as cancelled
        raise asyncio.CancelledError from None
    raise AssertionError("abort does not return")
