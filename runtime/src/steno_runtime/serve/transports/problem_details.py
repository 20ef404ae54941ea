"""RFC 9457 problem documents."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import JSONResponse

from steno_runtime.serve.errors import Answer, Refusal

MEDIA_TYPE = "application/problem+json"


def problem(answer: Answer, message: str, retry_after: int | None = None) -> JSONResponse:
    """Returns the document with its status; `code` is stable, `detail` is for people."""
    headers = {"Cache-Control": "no-store"}
    if answer.http == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    body = {
        "type": "about:blank",
        "title": HTTPStatus(answer.http).phrase,
        "status": answer.http,
        "detail": message,
        "code": answer.code,
    }
    return JSONResponse(body, answer.http, headers, MEDIA_TYPE)


def refused(refusal: Refusal) -> JSONResponse:
    """Returns the document of a refusal."""
    return problem(refusal.answer, refusal.message, refusal.retry_after)
