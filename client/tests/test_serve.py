"""`steno serve`, and the keys that it reads from a file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from steno_api.gateway.api_keys import read_records
from steno_api.gateway.key_files import read_entries
from steno_client.cli import app
from steno_runtime.serve import main as server
from steno_runtime.serve.standalone import StandaloneOptions


def steno(*words: str) -> Any:
    return CliRunner().invoke(app, words, env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[StandaloneOptions]:
    """What the server was told."""
    told: list[StandaloneOptions] = []

    def serve(options: StandaloneOptions, _: str) -> int:
        told.append(options)
        return 0

    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(server, "serve_standalone", serve)
    monkeypatch.setattr(server, "end", end)
    return told


def test_the_options_become_the_servers(told: list[StandaloneOptions], tmp_path: Path):
    words = ["--model", "whisper-base", "--model-store", str(tmp_path), "--keys", "keys.json", "--host", "0.0.0.0"]
    sources = ["--audio-root", "/audio", "--allow-source", "s3://a", "--allow-source", "https://b/c"]
    assert steno("serve", *words, *sources).exit_code == 0
    assert told == [
        StandaloneOptions(
            model="whisper-base", model_store=tmp_path, keys=Path("keys.json"), host="0.0.0.0",
            audio_root=Path("/audio"), allow_sources=("s3://a", "https://b/c"),
        )
    ]  # fmt: skip


def test_the_environment_of_the_original_engine_is_read(told: list[StandaloneOptions], monkeypatch):
    for name, value in {"PORT": "8123", "WHISPER_BATCH_SIZE": "8", "STENO_KEYS": "", "STENO_MODEL": "base"}.items():
        monkeypatch.setenv(name, value)
    assert steno("serve").exit_code == 0
    (one,) = told
    assert (one.port, one.batch_size, one.keys, one.model) == (8123, 8, None, "base")


def test_by_default_this_machine_alone_is_served_at_the_original_port(told: list[StandaloneOptions]):
    assert steno("serve").exit_code == 0
    assert told[0] == StandaloneOptions(model_store=told[0].model_store)
    assert (told[0].host, told[0].port, told[0].model) == ("127.0.0.1", 8001, "large-v3")


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_keys_in_a_file(tmp_path: Path, kind: str):
    path = tmp_path / "keys"
    if kind == "directory":
        path.mkdir()
    first = steno("key", "create", "--file", str(path))
    second = steno("key", "create", "--file", str(path), "--tenant", "acme", "--scopes", "ocr", "--description", "desk")
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    records, damaged = read_records(read_entries(path))
    assert not damaged
    mine = next(each for each in records.values() if each.matches(first.stdout.strip()))
    assert (mine.tenant, len(mine.scopes)) == ("local", 3)
    listed = steno("key", "list", "--file", str(path))
    assert "desk" in listed.stdout
    assert steno("key", "revoke", mine.id, "--file", str(path)).exit_code == 0
    assert [each.tenant for each in read_records(read_entries(path))[0].values()] == ["acme"]
    again = steno("key", "revoke", mine.id, "--file", str(path))
    assert (again.exit_code, str(path) in again.stderr) == (66, True)


def test_what_a_file_of_keys_has_not(tmp_path: Path):
    path = tmp_path / "keys.json"
    assert steno("key", "create", "--file", str(path), "--requests-per-minute", "3").exit_code == 2
    assert steno("key", "create").exit_code == 2
    assert "there are no API keys" in steno("key", "list", "--file", str(path)).stdout
    path.write_text("{")
    assert steno("key", "create", "--file", str(path)).exit_code == 73
    assert steno("key", "list", "--file", str(path)).exit_code == 64


@pytest.fixture
def process(store: Path, sample: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """`steno serve` as a process, once it is ready, and its ports."""
    words = ["serve", "--port", "0", "--grpc-port", "0", "--probe-port", "0", "--audio-root", str(sample.parent)]
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        steno = [sys.executable, "-c", "from steno_client.cli import main; main()"]
        started = subprocess.Popen(
            [*steno, *words, "--model", "whisper-base", "--model-store", str(store)], stdout=stderr, stderr=stderr
        )
    until = time.monotonic() + 240
    while '"message": "ready"' not in log.read_text():
        assert started.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < until
        time.sleep(0.1)
    entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    yield started, next(entry for entry in entries if entry["message"] == "listening")
    started.kill()
    started.wait()


@pytest.mark.slow
def test_the_original_engines_request_with_a_real_model(process: tuple[subprocess.Popen[bytes], dict[str, Any]]):
    server, ports = process
    with httpx.Client(base_url=f"http://127.0.0.1:{ports['http_port']}", trust_env=False, timeout=240) as client:
        answer = client.post("/stt/process", json={"audio_url": "/sample.wav", "diarize": False}).json()
    assert "new jersey" in answer["transcript"].lower()
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0
