"""Logging set-up: JSON lines on stderr in the schema of `steno_api.json_logs`; no transcript's text, no secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from steno_api.json_logs import JsonFormatter

_VERBOSE_LIBRARIES = [
    "asyncio",
    "fastapi",
    "grpc",
    "h11",
    "hpack",
    "httpcore",
    "httpx",
    "multipart",
    "python_multipart",
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "uvicorn.asgi",
    "websockets",
]
"""Libraries that log URLs (which contain tokens) or frames (which contain text) below the level WARNING."""


def configure(fields: Mapping[str, Any], level: str = "INFO") -> None:
    """Send the runtime's logs from `level` on, and every library's warnings, to stderr.

    Args:
        fields: added to every line.
        level: of the runtime's own logs.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(fields))
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    for name in ("steno_runtime", "steno_api"):
        logging.getLogger(name).setLevel(level)
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    # WhisperX sets up a logger to stdout unless it has a handler, and its warnings quote the transcript.
    whisperx = logging.getLogger("whisperx")
    whisperx.addHandler(logging.NullHandler())
    whisperx.setLevel(logging.ERROR)
