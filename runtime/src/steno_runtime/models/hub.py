"""Errors of the Hugging Face hub: a denial, or an outage."""

from __future__ import annotations

from http import HTTPStatus


def is_denied(error: BaseException) -> bool:
    """Return whether the hub answered with a denial: there is no such model, or the token may not read it.

    Retrying is of no use then. The hub's client wraps such an answer in errors that also mean "not reachable", so the
    causes of the error are examined too.

    Args:
        error: what `huggingface_hub` raised.
    """
    from huggingface_hub import errors

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, errors.RepositoryNotFoundError):  # a gated repository's error is one of them
            return True
        response = getattr(cause, "response", None)
        if getattr(response, "status_code", None) in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
