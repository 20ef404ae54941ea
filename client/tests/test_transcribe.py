"""`steno transcribe` on real speech with a real model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from steno_api.documents.transcript import Transcript

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STENO = [sys.executable, "-c", "from steno_client.cli import main; main()", "transcribe"]


def test_two_speakers_in_every_format(sample: Path, store: Path, tmp_path: Path):
    options = ["--model", "whisper-base", "--model-store", str(store), "--max-speakers", "2", "--device", "cpu"]
    command = [*STENO, str(sample), *options, "--format", "json,srt,vtt,txt", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    files = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert set(files) == {"sample.json", "sample.srt", "sample.vtt", "sample.txt"}
    transcript = Transcript.model_validate(json.loads(files["sample.json"]))
    assert transcript.meeting_id == "sample"
    assert transcript.language == "en"
    assert transcript.total_speakers == 2
    assert 29 < transcript.duration < 31
    assert "hello" in transcript.transcript.lower()
    assert "-->" in files["sample.srt"]
    assert files["sample.vtt"].startswith("WEBVTT")
    stages = [line for line in done.stderr.splitlines() if not line.startswith("/")]
    assert stages[:3] == ["starting", "reading", "loading the model"]
    assert "transcribing" in stages
    assert "identifying speakers" in stages


def test_the_text_is_printed(sample: Path, store: Path):
    command = [*STENO, str(sample), "--model", "whisper-base", "--quiet", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"STENO_MODEL_STORE": str(store)})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "hello" in done.stdout.lower()


def test_an_interrupt_leaves_no_files(sample: Path, store: Path, tmp_path: Path):
    options = ["--model", "whisper-base", "--model-store", str(store), "--device", "cpu", "--output", str(tmp_path)]
    process = subprocess.Popen([*STENO, str(sample), *options], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line == "loading the model\n":
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130
    assert rest.endswith("steno: interrupted\n")
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
