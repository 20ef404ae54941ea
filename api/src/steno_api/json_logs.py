"""JSON log lines: one schema for the operator, workers and servers, so that one query finds a resource in all of them.

Apart from each program's own logging set-up, which may import neither of the others.

| field | |
|---|---|
| `time` | ISO 8601 in UTC, to the millisecond |
| `level` | `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`: `grep ERROR` finds the errors |
| `logger` | the Python module |
| `message` | for people; never a token, a credential, or text of a transcript or document |
| `resource` | the custom resource that the line is about, as `kind`, `namespace` and `name`, where there is one |
| `exception` | the traceback, if there is one: places and types, as the texts of errors quote their input |

Further fields are those of a line's `extra`, and those that a program adds to every line.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formatter that writes a record as one line of JSON."""

    def __init__(self, fields: Mapping[str, Any] | None = None) -> None:
        """Format with `fields` added to every line."""
        super().__init__()
        self._fields = dict(fields or {})

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = format_traceback(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def format_traceback(error: BaseException | None) -> str:
    """Return the traceback of an error and what caused it, without their texts, which may quote a document or token."""
    parts: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        number = f" [Errno {error.errno}]" if isinstance(error, OSError) and error.errno is not None else ""
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.append(f"{frames}{type(error).__qualname__}{number}")
        if isinstance(error, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", error)
            parts += [format_traceback(each) for each in group.exceptions]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nduring the handling of, or caused by\n".join(parts)


def resource_fields(kind: str, namespace: str | None, name: str) -> dict[str, Any]:
    """Return the field `resource` for a line's `extra`, or for every line of a program.

    Args:
        kind: such as `TranscriptionJob`.
        namespace: None for a resource without one.
        name: of the resource.
    """
    return {"resource": {"kind": kind, **({"namespace": namespace} if namespace else {}), "name": name}}
