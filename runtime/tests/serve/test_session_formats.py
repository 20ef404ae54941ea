"""A session's transcript is published in the formats that can be made."""

from __future__ import annotations

import json

import pytest

from steno_api.documents.transcript import Transcript
from steno_api.documents.warnings import WarningReason
from steno_runtime.errors import WorkError
from steno_runtime.serve.sessions.publish import _contents
from steno_runtime.stt.writers import WRITERS

TRANSCRIPT = Transcript(
    meeting_id="standup", tenant_id="acme", transcript="", segments=[], speakers={}, confidence=0.0,
    processing_time=1.0, language="en", duration=1.0, model="base", total_segments=0, total_speakers=0,
    has_diarization=False,
)  # fmt: skip


def fail(_: Transcript) -> bytes:
    raise ValueError("text of the transcript")


def test_o2_a_format_that_cannot_be_made_does_not_cost_the_others(monkeypatch):
    monkeypatch.setitem(WRITERS, "srt", fail)
    contents, warnings = _contents(TRANSCRIPT, ["json", "srt", "txt"])
    assert set(contents) == {"json", "txt"}
    assert [warning.reason for warning in warnings] == [WarningReason.ARTIFACT_FAILED]
    assert "srt" in warnings[0].message
    assert "text of" not in warnings[0].message
    assert json.loads(contents["json"])["warnings"][0]["reason"] == "ArtifactFailed"


def test_o2_no_format_at_all_is_a_failure(monkeypatch):
    monkeypatch.setitem(WRITERS, "srt", fail)
    with pytest.raises(WorkError):
        _contents(TRANSCRIPT, ["srt"])
