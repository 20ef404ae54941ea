"""`steno models export-triton`, and what `steno ocr` says of a Triton server that it cannot use."""

from __future__ import annotations

import hashlib

import pytest
from typer.testing import CliRunner

from steno_client.cli import app


def steno(*words: str):
    return CliRunner().invoke(app, list(words))


def test_a_model_repository_and_its_digests(tmp_path):
    folder = tmp_path / "models"
    done = steno("models", "export-triton", "--output", str(folder), "--backend", "python", "--threads", "2")
    assert done.exit_code == 0, done.output
    written = dict(reversed(line.split("  ")) for line in done.stdout.splitlines())
    assert {"ppocr_det/config.pbtxt", "ppocr_det/1/model.py", "ppocr_rec/1/model.onnx"} < written.keys()
    for path, digest in written.items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest
    again = steno("models", "export-triton", "--output", str(folder))
    assert again.exit_code == 64
    assert "is not empty" in again.stderr


@pytest.mark.slow
def test_ocr_by_a_server_of_another_protocol(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    done = steno("ocr", str(tmp_path / "a.png"), "--triton", "http://triton:8000")
    assert done.exit_code == 64
    assert "grpc://HOST:8001" in done.stderr
