"""Problem details (RFC 9457): the HTTP answer of an error, also of a WebSocket handshake that is rejected."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import JSONResponse

from steno_api.server.errors import ApiError, ErrorStatus

MEDIA_TYPE = "application/problem+json"


def problem_response(status: ErrorStatus, message: str, retry_after: int | None = None) -> JSONResponse:
    """Return the problem document with its status.

    Args:
        status: gives the HTTP status, and `code`, which is stable.
        message: the document's `detail`, for people.
        retry_after: seconds, for the header `Retry-After`.
    """
    headers = {"Cache-Control": "no-store"}
    if status.http == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status.http).phrase,
        "status": status.http,
        "detail": message,
        "code": status.code,
    }
    return JSONResponse(body, status.http, headers, MEDIA_TYPE)


def error_response(error: ApiError) -> JSONResponse:
    """Return the problem document of an error."""
    return problem_response(error.status, error.message, error.retry_after)
