"""The Hugging Face hub: what its refusals mean."""

from __future__ import annotations

from http import HTTPStatus


def denied(error: BaseException) -> bool:
    """Tells whether the hub said no, rather than nothing: there is no such model, or the token may not read it.

    Asking again is of no use then. The hub's client wraps such an answer in errors that also mean "not reachable", so
    its causes are looked at too.

    Args:
        error: what `huggingface_hub` raised.
    """
    from huggingface_hub import errors

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, errors.RepositoryNotFoundError):  # a gated repository's error is one of them
            return True
        response = getattr(seen, "response", None)
        if getattr(response, "status_code", None) in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
