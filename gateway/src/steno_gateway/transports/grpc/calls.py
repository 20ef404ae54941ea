"""Calls of gRPC: the key in the metadata, who is admitted before a message is read, and the audit log.

Separate because both services need it, and know nothing of each other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import unquote

import grpc

from steno_api.gateway.api_keys import Scope
from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.access import Access, Admitted
from steno_gateway.transports.audit import note
from steno_gateway.transports.live_calls import Disconnected

log = logging.getLogger(__name__)

SEND_SECONDS = 30.0
"""A client that reads nothing for so long has gone."""
IDEMPOTENCY_KEY = "idempotency-key"
JOB_ID = "x-job-id"
Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request")


@dataclass
class Call(Generic[Request]):
    """A call of a client that was let in.

    Attributes:
        requests: its messages, each read when it is asked for.
        admitted: the client.
        metadata: of the call; of a name that is there twice, the first.
        state: what the audit log says of it.
        trailing: metadata that goes with its status.
    """

    requests: AsyncIterator[Request]
    admitted: Admitted
    metadata: dict[str, str]
    context: Context
    state: dict[str, Any]
    trailing: dict[str, str] = field(default_factory=dict[str, str])

    async def first(self, seconds: float) -> Request:
        """Return the first message.

        Raises:
            ApiError: `StartTimeout`, `InvalidMessage`.
        """
        try:
            async with asyncio.timeout(seconds):
                request = await anext(self.requests, None)
        except TimeoutError:
            message = f"The call's first message did not arrive within {seconds:g} s."
            raise ApiError(ErrorCode.START_TIMEOUT, message) from None
        if request is None:
            raise ApiError(ErrorCode.INVALID_MESSAGE, "The call ended before its first message.")
        return request

    async def send(self, message: Any) -> None:
        """Send a message, unless the client reads too slowly.

        Raises:
            Disconnected: it reads nothing for `SEND_SECONDS`.
        """
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self.context.write(message)
        except TimeoutError as error:
            raise Disconnected from error


@dataclass(frozen=True)
class Method(Generic[Request]):
    """A method of a service."""

    name: str
    """`/package.Service/Method`."""
    scope: Scope
    request: Any
    """Class of its messages."""
    response: Any
    serve: Callable[[Call[Request]], Awaitable[None]]


def handler_of(method: Method[Any], access: Access, ready: Callable[[], bool]) -> Any:
    """Return the handler of a method, which lets in who has a key of its scope.

    It is one of streams, whatever the method is: so nothing of a message is read before that.

    Args:
        method: which one.
        access: who may call it.
        ready: whether all that exists has been observed.
    """

    async def serve(requests: AsyncIterator[Any], context: Context) -> None:
        begun, status, state = time.monotonic(), "CANCELLED", dict[str, Any]()
        metadata = _metadata(context)
        trailing: dict[str, str] = {}
        try:
            _require(ready())
            async with access.admit(_key(metadata), method.scope) as admitted:
                state["principal"] = admitted.principal
                allowance = {name.lower(): value for name, value in admitted.allowance.headers().items()}
                await context.send_initial_metadata(tuple(allowance.items()))
                await method.serve(Call(requests, admitted, metadata, context, state, trailing))
                context.set_trailing_metadata(tuple(trailing.items()))
                status = "OK"
        except Disconnected:
            raise asyncio.CancelledError from None
        except ApiError as error:
            status, state["error_code"] = error.status.grpc, error.status.code
            await _abort(context, error, trailing)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception:
            status = ErrorCode.INTERNAL.value.grpc
            log.exception("a call met an unexpected error")
            message = "The gateway met an unexpected error. Please report it."
            await _abort(context, ApiError(ErrorCode.INTERNAL, message), trailing)
        finally:
            client = unquote(context.peer()).rpartition(":")[0].partition(":")[2].strip("[]")
            note(method.name, "GRPC", status, seconds=time.monotonic() - begun, state=state, client=client)

    return grpc.stream_stream_rpc_method_handler(serve, method.request.FromString, method.response.SerializeToString)


def _require(ready: bool) -> None:
    if not ready:
        raise ApiError(ErrorCode.NOT_READY, "The gateway has just started. Try again.", retry_after=1)


def _metadata(context: Context) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            found.setdefault(key, value)
    return found


def _key(metadata: dict[str, str]) -> str | None:
    """Return the API key of a call: `authorization: Bearer …` or `x-api-key`."""
    scheme, _, token = metadata.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return metadata.get("x-api-key")


async def _abort(context: Context, error: ApiError, trailing: dict[str, str]) -> NoReturn:
    """End a call with an error; the trailing metadata `steno-code` has its code, for programs."""
    about = {**trailing, "steno-code": error.status.code}
    if error.retry_after is not None:
        about["retry-after"] = str(error.retry_after)
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await context.abort(grpc.StatusCode[error.status.grpc], error.message, tuple(about.items()))
    except TimeoutError:  # it waits behind what the client does not read: as good as cancelled
        raise asyncio.CancelledError from None
    raise AssertionError("abort does not return")
