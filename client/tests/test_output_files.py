"""Output files: what goes to a terminal, and what is redirected."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from steno_client import output_files


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_l1_a_terminal_gets_no_escapes_of_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "txt"
    file.write_text("one \x1b]0;owned\x07two \u202ethree\x9b31m\n네\ttab", encoding="utf-8")
    terminal = _Terminal()
    monkeypatch.setattr(output_files.sys, "stdout", terminal)
    output_files.copy_to_stdout(file)
    assert terminal.getvalue() == "one ]0;ownedtwo three31m\n네\ttab\n"


def test_what_is_redirected_is_the_file_itself(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    file = tmp_path / "txt"
    file.write_bytes(b"one \x1b[1mtwo\r\n")
    output_files.copy_to_stdout(file)
    assert capfdbinary.readouterr().out == b"one \x1b[1mtwo\r\n"
