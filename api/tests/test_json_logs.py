"""The schema of log lines."""

from __future__ import annotations

import json
import logging

from steno_api.json_logs import JsonFormatter, resource_fields

JOB = resource_fields("OCRJob", "team-a", "scan")


def line(formatter: JsonFormatter, message: str = "read %d pages", *, failed: bool = False, **extra: object) -> dict:
    error = ValueError("bad page")
    caught = (type(error), error, None) if failed else None
    record = logging.LogRecord("steno", logging.WARNING, "x.py", 1, message, (2,), caught)
    vars(record).update(extra)
    text = formatter.format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_has_the_fixed_fields_those_of_the_program_and_its_own():
    entry = line(JsonFormatter(JOB | {"attempt": 2}), pages=7)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "warning",
        "logger": "steno",
        "message": "read 2 pages",
        "resource": {"kind": "OCRJob", "namespace": "team-a", "name": "scan"},
        "attempt": 2,
        "pages": 7,
    }


def test_a_traceback_is_one_field():
    entry = line(JsonFormatter(), failed=True)
    assert entry["exception"].endswith("ValueError: bad page")


def test_a_resource_without_a_namespace():
    assert resource_fields("Tenant", None, "acme") == {"resource": {"kind": "Tenant", "name": "acme"}}
