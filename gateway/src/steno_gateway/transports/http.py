"""HTTP: where a request's key is, how an error is answered (RFC 9457), and how a request is admitted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steno_api.gateway import api_keys
from steno_api.server.errors import ApiError, ErrorCode
from steno_gateway.access.access import Access
from steno_gateway.access.principal import Principal

PROBLEM = "application/problem+json"
NO_STORE = {"Cache-Control": "no-store"}
MAX_JSON_BYTES = 256 * 1024
T = TypeVar("T", bound=BaseModel)


def api_key(connection: HTTPConnection) -> str | None:
    """Return the API key of a request: `Authorization: Bearer`, `X-API-Key`, `api-key` (Azure's), or `?api_key=`."""
    headers = connection.headers
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key") or headers.get("api-key") or connection.query_params.get("api_key")


def problem(error: ApiError) -> JSONResponse:
    """Return the answer of an error."""
    headers = dict(NO_STORE)
    if error.status.http == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse(problem_document(error), error.status.http, headers, PROBLEM)


def problem_document(error: ApiError) -> dict[str, Any]:
    """Return an error as RFC 9457 has it."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(error.status.http).phrase,
        "status": error.status.http,
        "detail": error.message,
        "code": error.status.code,
    }


@contextlib.asynccontextmanager
async def admitted(access: Access, request: Request, scope: api_keys.Scope | None) -> AsyncIterator[Principal]:
    """Authenticate and count a request; what its key has left goes into the answer's headers.

    Raises:
        ApiError: those of `Access.admit`.
    """
    async with access.admit(api_key(request), scope) as found:
        request.state.rate_limit = found.allowance.headers()
        request.state.principal = found.principal
        yield found.principal


class RateLimitHeaders:
    """ASGI middleware that adds `RateLimit-*` to the answer of a request that was counted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(scope.get("state", {}).get("rate_limit", {}))
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


async def read_json(request: Request) -> dict[str, Any]:
    """Read a small JSON object.

    Raises:
        ApiError: `TooLarge` or `InvalidRequest`.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise ApiError(ErrorCode.TOO_LARGE, f"The body may have {MAX_JSON_BYTES // 1024} KiB.")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ApiError(ErrorCode.INVALID_REQUEST, "The body must be a JSON object.")
    return document


def parse_fields(model: type[T], fields: dict[str, Any]) -> T:
    """Parse a request's fields; empty ones count as absent.

    Raises:
        ApiError: `InvalidRequest`, with the names of those that are wrong.
    """
    try:
        return model.model_validate({name: value for name, value in fields.items() if value != ""})
    except ValidationError as error:
        names = sorted({str(item["loc"][0]) if item["loc"] else "body" for item in error.errors(include_input=False)})
        message = f"Fields that are missing or have an invalid value: {', '.join(names)}."
        raise ApiError(ErrorCode.INVALID_REQUEST, message) from None
