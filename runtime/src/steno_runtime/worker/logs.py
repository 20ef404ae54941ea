"""Logs of a worker: one JSON object a line on stderr, with the job's name; no transcript's text, no secret."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from steno_api.task import Task

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


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


def configure(task: Task | None) -> None:
    """Sends every library's warnings and our own news to stderr."""
    fields: dict[str, Any] = {}
    if task is not None:
        fields = {"namespace": task.job.namespace, "job": task.job.name, "attempt": task.attempt}
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(fields))
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("steno_runtime").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    # WhisperX sets up a logger to stdout unless it has a handler, and its warnings quote the transcript.
    whisperx = logging.getLogger("whisperx")
    whisperx.addHandler(logging.NullHandler())
    whisperx.setLevel(logging.ERROR)
