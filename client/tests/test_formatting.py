"""Formatting of resources."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.v1alpha1 import TranscriptionJob
from steno_client import formatting
from steno_client.errors import CommandError
from steno_client.resource import ResourceView

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def job(**status: Any) -> ResourceView:
    metadata = {"name": "회의", "namespace": "team-a", "creationTimestamp": (NOW - timedelta(hours=3)).isoformat()}
    return ResourceView.from_body(TranscriptionJob.definition, {"metadata": metadata, "spec": {}, "status": status})


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172799, "47h"), (172800, "2d")],
)
def test_ages_are_written_as_kubectl_writes_them(seconds: int, age: str):
    assert formatting.format_age(seconds) == age


@given(st.floats(-10, 1e9))
def test_an_age_is_never_more_than_it_is(seconds: float):
    text = formatting.format_age(seconds)
    size = {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]
    assert 0 <= int(text[:-1]) * size <= max(0.0, seconds)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (91.4, "1:31"), (3723, "1:02:03"), (-3, "0:00")])
def test_remaining_times(seconds: float, text: str):
    assert formatting.format_remaining(seconds) == text


@given(st.text())
def test_stripped_text_moves_no_cursor(text: str):
    assert all(
        character.isprintable() or ord(character) > 0xA0 for character in formatting.strip_control_characters(text)
    )


def test_a_table_is_aligned_by_display_width():
    head, row = formatting.format_table(
        [job(phase="Running", progress={"stage": "Decoding", "percent": 7})], NOW, namespaces=True
    )
    assert head == "NAMESPACE  NAME                   PHASE    PROGRESS  AGE  WHY"
    assert row == "team-a     transcriptionjob/회의  Running  7 %       3h   Decoding"


def test_a_retry_is_explained_by_its_condition():
    waiting = {"type": "Ready", "status": "False", "reason": "Retrying", "message": "attempt 1: NodeLost\x1b[2J",
               "lastTransitionTime": NOW.isoformat()}  # fmt: skip
    assert formatting.explain_state(job(phase="Retrying", conditions=[waiting])) == "Retrying: attempt 1: NodeLost[2J"


def test_unknown_values_of_a_newer_version_ask_for_an_update():
    with pytest.raises(CommandError, match="update steno-client"):
        job(progress={"stage": "Dreaming", "percent": 1})
    assert job(phase="Dreaming", unknown=1).phase == "Dreaming"


@given(st.text())
def test_text_for_a_terminal_keeps_its_lines_and_commands_nothing(text: str):
    shown = formatting.strip_escapes(text)
    assert all(c in "\n\t\f" or c.isprintable() or ord(c) >= 0xA0 for c in shown)
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(shown)
    assert shown.count("\n") == text.count("\n")
