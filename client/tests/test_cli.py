"""The command line: accepted options and error messages."""

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
        "names = 'torch numpy pydantic kubernetes websockets obstore yaml steno_runtime'; "
        "heavy = set(names.split()) & set(sys.modules); "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


COMMANDS = (
    "transcribe", "ocr", "submit", "submit files", "submit transcription", "submit ocr", "status", "tail", "results",
    "stream",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str):
    done = run(app, [*command.split(), "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


@pytest.mark.parametrize("command", ["transcribe", "ocr", "stream", "submit transcription", "submit ocr"])
def test_the_language_has_one_short_option(command: str, text_as_wav: Path):
    words = command.split()
    file = [] if words[0] == "submit" else [str(text_as_wav)]
    listed = run(app, [*words, "--help"], terminal_width=200, env={"NO_COLOR": "1"}).output
    assert [line for line in listed.splitlines() if "--language" in line and "-l " in line]
    refused = run(app, [*words, *file, "-l"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert refused.exit_code == 2
    assert "'-l' requires an argument" in refused.output


def test_help_states_the_default_tenant():
    for command in ("transcription", "ocr"):
        listed = " ".join(
            run(app, ["submit", command, "--help"], env={"COLUMNS": "250", "NO_COLOR": "1"}).output.split()
        )
        assert "the Tenant that has the namespace, else the namespace's name" in listed


def test_help_and_version():
    output = run(app, ["--help"]).output
    assert all(command.split()[0] in output for command in COMMANDS)
    assert "--max-speakers" in run(app, ["transcribe", "--help"], terminal_width=120).output
    assert run(app, ["--version"]).output.startswith("steno ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "docx"], "not one of json, srt, vtt, txt"),
        (["--format", ","], "give at least one of"),
        (["--format", "json,srt"], "add --output DIR"),
        (["--min-speakers", "3", "--max-speakers", "2"], "--min-speakers is more than --max-speakers"),
        (["--min-speakers", "0"], "Input should be greater than or equal to 1"),
        (["--language", "Korean"], "is not a language tag"),
        (["--channels", "split", "--diarize"], "each channel is a speaker already"),
        (["--languages", "en,Korean"], "is not a language tag"),
        (["--languages", "en,ko", "--language", "ko"], "--languages restricts what is detected"),
        (["--device", "tpu"], "'tpu' is not one of"),
        (["--batch-size", "none"], "Input should be a valid integer"),
    ],
)
def test_wrong_options_are_refused_by_name(text_as_wav: Path, arguments: list[str], message: str):
    done = run(app, ["transcribe", str(text_as_wav), *arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 2
    assert message in done.output


def test_a_missing_file_is_rejected(tmp_path: Path):
    done = run(app, ["transcribe", str(tmp_path / "absent.wav")], env={"COLUMNS": "300", "NO_COLOR": "1"})
    assert done.exit_code == 2
    assert "does not exist" in done.output


@pytest.mark.parametrize("content", [b"", b"These are notes, and no sound at all.\n" * 50], ids=["empty", "text"])
def test_a_file_that_is_not_audio_ends_in_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "notes.wav"
    path.write_bytes(content)
    done = run(app, ["transcribe", str(path), "--quiet", "--model", "whisper-base"])
    assert done.exit_code == 64
    assert done.stdout == ""
    assert done.stderr.startswith("steno: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_directory_that_cannot_be_created(text_as_wav: Path):
    done = run(app, ["transcribe", str(text_as_wav), "--output", str(text_as_wav / "out")])
    assert done.exit_code == 73
    assert "cannot create the directory" in done.stderr


def test_a_source_is_not_overwritten(tmp_path: Path):
    path = tmp_path / "talk.txt"
    path.write_text("no sound")
    done = run(app, ["transcribe", str(path), "--output", str(tmp_path)])
    assert done.exit_code == 73
    assert "would overwrite its own source" in done.stderr
    assert path.read_text() == "no sound"


@pytest.mark.parametrize("content", [b"", b"no picture"], ids=["empty", "text"])
def test_a_file_that_is_not_an_image_ends_in_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "scan.pdf"
    path.write_bytes(content)
    done = run(app, ["ocr", str(path), "--quiet"])
    assert done.exit_code == 64
    assert done.stdout == ""
    assert done.stderr.startswith("steno: The source ")
    assert done.stderr.count("\n") == 1


def test_a_searchable_pdf_does_not_overwrite_its_source(tmp_path: Path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(b"%PDF-")
    done = run(app, ["ocr", str(path), "--format", "pdf", "--output", str(tmp_path)])
    assert done.exit_code == 73
    assert path.read_bytes() == b"%PDF-"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ocr", "FILE", "--format", "srt"], "not one of json, txt, markdown, pdf"),
        (["ocr", "FILE", "--format", "json,pdf"], "add --output DIR"),
        (["ocr", "FILE", "--engine", "eyes"], "'eyes' is not one of"),
        (["submit", "files"], "give at least one FILE"),
        (["submit", "ocr", "--source", "s3://b/k"], "Missing option '--output'"),
        (["status", "standup", "-A"], "not both"),
        (["results", "standup", "-o", "-", "-f", "json,txt"], "give --output DIR"),
        (["stream", "FILE"], "give --session NAME, or --url"),
        (["stream", "FILE", "--url", "ws://h", "--speed", "0"], "greater than or equal to 0.1"),
    ],
)
def test_wrong_options_of_other_commands_are_refused_by_name(text_as_wav: Path, arguments: list[str], message: str):
    words = [str(text_as_wav) if word == "FILE" else word for word in arguments]
    done = run(app, words, env={"COLUMNS": "250", "NO_COLOR": "1"})
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize("command", [["status"], ["tail", "x"], ["results", "x"], ["stream", "-", "--session", "x"]])
def test_without_a_cluster_the_error_says_what_to_set(tmp_path: Path, command: list[str]):
    done = run(app, command, env={"KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)})
    assert done.exit_code == 66
    assert done.stderr.startswith("steno: no cluster is configured: ")
    assert "set KUBECONFIG" in done.stderr
    assert done.stderr.count("\n") == 1
