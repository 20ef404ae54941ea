"""The command line: what it takes, and how it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from steno_client.cli import app

run = CliRunner().invoke


@pytest.fixture
def text_as_wav(tmp_path: Path) -> Path:
    path = tmp_path / "notes.wav"
    path.write_text("These are notes, and no sound at all.\n" * 50)
    return path


def test_nothing_heavy_is_imported_before_a_command_runs():
    code = (
        "import sys, steno_client.cli; "
        "heavy = {'torch', 'numpy', 'pydantic', 'whisperx', 'steno_runtime'} & set(sys.modules); "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_and_version():
    assert "transcribe" in run(app, ["--help"]).output
    assert "--max-speakers" in run(app, ["transcribe", "--help"], terminal_width=120).output
    assert run(app, ["--version"]).output.startswith("steno ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "docx"], "not one of json, srt, vtt, txt"),
        (["--format", ","], "name at least one of"),
        (["--format", "json,srt"], "add --output DIR"),
        (["--min-speakers", "3", "--max-speakers", "2"], "--min-speakers is more than --max-speakers"),
        (["--min-speakers", "0"], "Input should be greater than or equal to 1"),
        (["--language", "Korean"], "no language code"),
        (["--device", "tpu"], "'tpu' is not one of"),
        (["--batch-size", "none"], "Input should be a valid integer"),
    ],
)
def test_wrong_options_are_refused_by_name(text_as_wav: Path, arguments: list[str], message: str):
    done = run(app, ["transcribe", str(text_as_wav), *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 2
    assert message in done.output


def test_a_file_that_is_not_there(tmp_path: Path):
    done = run(app, ["transcribe", str(tmp_path / "absent.wav")], env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert done.exit_code == 2
    assert "does not exist" in done.output


@pytest.mark.parametrize("content", [b"", b"These are notes, and no sound at all.\n" * 50], ids=["empty", "text"])
def test_a_file_that_is_no_audio_ends_in_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "notes.wav"
    path.write_bytes(content)
    done = run(app, ["transcribe", str(path), "--quiet", "--model", "whisper-base"])
    assert done.exit_code == 64
    assert done.stdout == ""
    assert done.stderr.startswith("steno: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_directory_that_cannot_be_made(text_as_wav: Path):
    done = run(app, ["transcribe", str(text_as_wav), "--output", str(text_as_wav / "out")])
    assert done.exit_code == 73
    assert "cannot make the directory" in done.stderr


def test_its_own_source_is_not_replaced(tmp_path: Path):
    path = tmp_path / "talk.txt"
    path.write_text("no sound")
    done = run(app, ["transcribe", str(path), "--output", str(tmp_path)])
    assert done.exit_code == 73
    assert "would replace what is transcribed" in done.stderr
    assert path.read_text() == "no sound"
