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
    monkeypatch.setattr(sys, "argv", ["protos", "--check"])
    assert protos.main() == 1
    stale = capsys.readouterr().err
    assert "python/steno/v1/stt_pb2.py" in stale
    assert "go/stt_grpc.pb.go" in stale
    monkeypatch.setattr(sys, "argv", ["protos"])
    assert protos.main() == 0
    assert (tmp_path / "python/steno/v1/stt_pb2.py").exists()
    assert (tmp_path / "go/stt_grpc.pb.go").exists()
