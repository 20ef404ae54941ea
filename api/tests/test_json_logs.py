"""The schema of log lines."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from steno_api.json_logs import JsonFormatter, resource_fields
from steno_api.model import Model

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
        "level": "WARNING",
        "logger": "steno",
        "message": "read 2 pages",
        "resource": {"kind": "OCRJob", "namespace": "team-a", "name": "scan"},
        "attempt": 2,
        "pages": 7,
    }


def test_a_traceback_is_one_field():
    assert line(JsonFormatter(), failed=True)["exception"].endswith("ValueError")


class Amount(Model):
    amount: int


def fail(text: str) -> None:
    """Quote a text in an error of every kind: ours, pydantic's, its cause's, that of a task."""
    try:
        try:
            Amount.model_validate({"amount": text})
        except ValidationError as error:
            raise ValueError(text) from error
    except ValueError as error:
        raise ExceptionGroup(text, [KeyError(text), OSError(28, text)]) from error


@given(st.text("abcdefgh", min_size=12))
def test_l2_a_traceback_has_places_and_types_and_no_values(text: str):
    with pytest.raises(ExceptionGroup) as caught:
        fail(text)
    error = caught.value
    record = logging.LogRecord("steno", logging.ERROR, "x.py", 1, "failed", (), (type(error), error, None))
    written = json.loads(JsonFormatter().format(record))["exception"]
    assert text not in written
    assert all(each in written for each in ("ValidationError", "ValueError", "KeyError", "OSError [Errno 28]"))
    assert "in fail" in written


def test_a_resource_without_a_namespace():
    assert resource_fields("Tenant", None, "acme") == {"resource": {"kind": "Tenant", "name": "acme"}}
