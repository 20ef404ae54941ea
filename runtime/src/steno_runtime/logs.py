"""Logs: one JSON object a line on stderr, with fixed fields saying whose; no transcript's text, no secret."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_TALKATIVE = [
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
"""Libraries that log URLs (which hold tokens) or frames (which hold text) when they may."""


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON: its message, its `extra`, the traceback if there is one, and fixed fields."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """Returns one line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
        }
        entry |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure(fields: dict[str, Any], level: str = "INFO") -> None:
    """Sends every library's warnings and our own news, from `level` on, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(fields))
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("steno_runtime").setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    # WhisperX sets up a logger to stdout unless it has a handler, and its warnings quote the transcript.
    whisperx = logging.getLogger("whisperx")
    whisperx.addHandler(logging.NullHandler())
    whisperx.setLevel(logging.ERROR)
