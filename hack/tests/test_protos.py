"""The generated code is that of the protos."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hack import protos


def test_the_generated_code_is_up_to_date(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["protos", "--check"])
    assert protos.main() == 0


def test_a_difference_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(protos, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(protos, "GO", tmp_path / "go")
    monkeypatch.setattr(protos, "REFERENCE", tmp_path / "docs/grpc.md")
    monkeypatch.setattr(sys, "argv", ["protos", "--check"])
    assert protos.main() == 1
    stale = capsys.readouterr().err
    assert "python/steno/v1/stt_pb2.py" in stale
    assert "go/stt_grpc.pb.go" in stale
    monkeypatch.setattr(sys, "argv", ["protos"])
    assert protos.main() == 0
    assert (tmp_path / "python/steno/v1/stt_pb2.py").exists()
    assert (tmp_path / "go/stt_grpc.pb.go").exists()


def test_the_reference_has_what_a_client_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    [text] = protos.documentation(tmp_path).values()
    lines = text.decode().splitlines()
    assert "## `steno.v1.STTService`" in lines
    assert lines[lines.index("### AudioChunk") + 2] == "| field | number | type |  |"
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    assert (
        "| stream of [AudioChunk](#audiochunk) | stream of [TranscriptEvent](#transcriptevent) |"
        in (rows["StreamingRecognize"])
    )
    assert rows["interim_results"] == "| `interim_results` | 3 | optional bool | Absent: the session's. |"
    assert rows["content"].startswith("| `content` | 2 | bytes, one of `source` |")
    assert "| repeated [Region](#region) |" in rows["regions"]
    assert rows["SESSION_ENDED"] == "| `SESSION_ENDED` | 7 | The last event; see `ended`. |"
