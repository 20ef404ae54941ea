"""Bearer token of `/metrics`: read from a file once, and kept as its SHA-256, as API keys are.

Separate because the operator, the gateway and pools' servers each check it. The digest of a token that is long and
random is no secret, so that a server gets it in its task, without a Secret in its namespace.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

MIN_CHARS = 32
"""Of a token: who has its digest must not be able to guess it."""


class MetricsTokenError(Exception):
    """The token cannot be used."""


def read_token_digest(path: Path) -> str:
    """Return the SHA-256 of the token in a file.

    Raises:
        MetricsTokenError: there is none, or it is too short.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise MetricsTokenError(f"{path} cannot be read as ASCII: {type(error).__name__}") from None
    if len(token) < MIN_CHARS or not token.isprintable() or " " in token:
        raise MetricsTokenError(f"{path} needs {MIN_CHARS} characters or more, random and without spaces")
    return hashlib.sha256(token.encode()).hexdigest()


def may_read_metrics(digest: str | None, authorization: str | None) -> bool:
    """Return whether a request may read the metrics.

    Args:
        digest: of the token; None: everyone may.
        authorization: the request's header `Authorization`, if it has one.
    """
    if digest is None:
        return True
    scheme, _, token = (authorization or "").partition(" ")
    found = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
    return scheme.lower() == "bearer" and hmac.compare_digest(found, digest)
