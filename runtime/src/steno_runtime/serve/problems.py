"""RFC 9457 problem documents."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import JSONResponse

from steno_runtime.errors import Stopped, WorkError, is_out_of_memory
from steno_runtime.serve.refusals import Answer, Code, Refusal, answer_to

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


def refusal_of(error: BaseException) -> Refusal:
    """Returns what a client is told about work that failed; nothing of an unexpected error's text."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, WorkError):
        return Refusal(answer_to(error.reason), error.message)
    if isinstance(error, Stopped):
        return Refusal(Code.DRAINING, "The server had to stop before the work was done. Send it again.", retry_after=5)
    if is_out_of_memory(error):
        return Refusal(
            Answer("OutOfMemory", 503, 1011, "UNAVAILABLE"),
            "The server ran out of memory. Send it again later, or give the pool's RuntimeProfile more memory.",
            retry_after=30,
        )
    return Refusal(Code.INTERNAL, f"The server failed unexpectedly ({type(error).__name__}): a defect; report it.")
