"""CORS: which web pages may call the gateway from a browser, and what of the answers they may read.

Separate because it is a matter of the whole application, and of no protocol. Credentials are keys in headers, never
cookies, so that a page can only use what it has itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

_ASKED = (
    "Authorization", "X-API-Key", "api-key", "Content-Type", "Idempotency-Key", "Last-Event-ID",
    "Tus-Resumable", "Upload-Length", "Upload-Offset", "Upload-Metadata", "X-HTTP-Method-Override",
)  # fmt: skip
_SHOWN = (
    "Location", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
    "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size",
    "Upload-Length", "Upload-Offset", "Upload-Metadata", "Upload-Expires",
)  # fmt: skip


def allow_cors(app: FastAPI, origins: Sequence[str]) -> None:
    """Answer the preflight requests of some origins; without any, nothing is added to answers.

    Args:
        app: to add it to; it sees requests before all that was added earlier.
        origins: such as `https://app.example.com`, or `*`.
    """
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
            allow_headers=_ASKED,
            expose_headers=_SHOWN,
            max_age=3600,
        )
