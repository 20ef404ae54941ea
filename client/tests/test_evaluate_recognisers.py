"""`steno evaluate`: who recognises, a server or the pipelines on this machine, with real models too."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pikepdf
import pytest
from typer.testing import CliRunner, Result

from runtime.tests.serve.conftest import StartServer, TokenIssuer, issuer, pipeline, start_server
from runtime.tests.serve.rest_support import FakePipeline
from steno_client import local
from steno_client.cli import app
from steno_client.evaluation.local import LocalPipelines
from steno_client.evaluation.manifest import read_manifest
from steno_client.evaluation.recognisers import RecogniserOptions
from steno_client.evaluation.recognisers import evaluate as evaluate_items
from steno_client.evaluation.server import PoolServer, upload_url
from steno_client.local import LocalResult
from steno_client.target import Target
from steno_runtime.stt.options import TranscriptionOptions

from .server import recording
from .test_evaluate import Tags, report_of, transcript
from .test_ocr import TEXT, page

__all__ = ["issuer", "pipeline", "start_server"]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A manifest with a recording, a page, an encrypted page, and a file that does not exist."""
    recording(tmp_path / "speech.wav", seconds=2)
    page(TEXT).save(tmp_path / "page.png", dpi=(200, 200))
    page(TEXT).save(tmp_path / "plain.pdf", resolution=200)
    with pikepdf.open(tmp_path / "plain.pdf") as pdf:
        pdf.save(tmp_path / "locked.pdf", encryption=pikepdf.Encryption(user="secret", owner="secret"))
    text = " ".join(TEXT)
    items = [
        {"id": "speech", "path": "speech.wav", "language": "en-GB", "text": "hello", "duration_seconds": 2},
        {"id": "page", "path": "page.png", "language": "en", "text": text},
        {"id": "locked", "path": "locked.pdf", "language": "en", "text": text, "password": "secret"},
        {"id": "wrong", "path": "locked.pdf", "language": "en", "text": text, "password": "other"},
        {"id": "missing", "path": "missing.wav", "language": "en", "text": "hello"},
        {"id": "both", "path": "speech.wav", "language": "en,ko", "text": "hello", "duration_seconds": 3},
    ]
    (tmp_path / "media.jsonl").write_text("\n".join(json.dumps(item) for item in items))
    return tmp_path / "media.jsonl"


async def test_a_server(
    start_server: StartServer, issuer: TokenIssuer, pipeline: FakePipeline, media: Path, tmp_path: Path
):
    server = await start_server()
    command = ["evaluate", str(media), "--quiet", "--url", f"ws://127.0.0.1:{server.http_port}"]

    def run(*words: str, token: str) -> Result:
        return CliRunner().invoke(app, [*command, *words], env={"STENO_TOKEN": token, "COLUMNS": "200"})

    out = tmp_path / "out.json"
    done = await asyncio.to_thread(run, "--json", str(out), token=issuer.token())
    assert done.exit_code == 1, done.output
    assert "steno: wrong failed: the password does not open locked.pdf" in done.stderr
    assert f"steno: missing failed: there is no file {tmp_path / 'missing.wav'}" in done.stderr
    report = report_of(out)
    assert report.recogniser == f"http://127.0.0.1:{server.http_port}: whisper-base"
    by_id = {one.id: one for one in report.items}
    assert (by_id["speech"].amount, by_id["speech"].error_rate) == (2.0, 1.0)
    told = [(options.language, options.languages, options.diarize) for options in pipeline.options]
    assert told == [("en-GB", (), False), (None, ("en", "ko"), False)]
    assert by_id["page"].error_rate == by_id["locked"].error_rate == 0
    assert by_id["page"].seconds > 0

    done = await asyncio.to_thread(run, token="nonsense")
    assert done.exit_code == 77
    assert done.stderr.startswith("steno: TokenInvalid: ")


@pytest.fixture
def answers() -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """A server that answers each upload with the next of a list."""
    given: list[tuple[int, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = given.pop(0)
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.server_address[1]}", given
        server.shutdown()
        thread.join()


def test_a_server_that_is_busy_or_something_else(answers: tuple[str, list[tuple[int, str]]], media: Path):
    url, given = answers
    busy = json.dumps({"code": "QueueFull", "detail": "Try again."})
    given += [(429, busy), (503, busy), (200, transcript("hello")), (200, "<html>"), (502, "no upstream")]
    speech = read_manifest(media)[0]
    with PoolServer(Target(url), RecogniserOptions()) as server:
        right, other, broken = evaluate_items([speech, speech, speech], server)
    assert (right.error, right.text, right.seconds) == (None, "hello", 2.0)
    assert "answered with something that is not a document" in (other.error or "")
    assert (broken.error or "").startswith("502: ")
    assert given == []


def test_the_address_of_uploads_is_that_of_the_session():
    assert upload_url(Target("wss://host:1/pool/stt/realtime?session=a/b")) == "https://host:1/pool"
    assert upload_url(Target("ws://host/stt/realtime")) == "http://host"


@pytest.mark.parametrize(("device", "loads"), [("cpu", 2), ("cuda", 1)])
def test_the_model_is_loaded_once_for_each_number_of_workers(
    media: Path, monkeypatch: pytest.MonkeyPatch, device: str, loads: int
):
    loaded: list[Any] = []

    def load_engine(*_: object) -> Any:
        loaded.append(SimpleNamespace(device=device))
        return loaded[-1]

    def transcribe_file(*_: object, engine: Any) -> LocalResult:
        used.append(engine)
        return LocalResult(lambda _, path: Path(path).write_text(transcript("hello")))

    used: list[Any] = []
    monkeypatch.setattr(local, "load_engine", load_engine)
    monkeypatch.setattr(local, "transcribe_file", transcribe_file)
    monkeypatch.setattr("steno_client.evaluation.local.available_cores", lambda: 2)
    speech = read_manifest(media)[0]
    short, long = replace(speech, duration=5.0), replace(speech, duration=300.0)
    pipelines = LocalPipelines(
        TranscriptionOptions(model="m", model_store=Path()),
        local.RecognitionRequest(Path(), Path()),
        RecogniserOptions(),
    )
    outcomes = list(evaluate_items([short, long, short, long], pipelines))
    assert [one.error for one in outcomes] == [None] * 4
    assert len(loaded) == loads
    assert used == [loaded[0], loaded[-1]] * 2
    assert device in pipelines.description


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_models_on_speech_and_pages(sample: Path, store: Path, media: Path, tmp_path: Path):
    rows = [line.split(maxsplit=5) for line in sample.with_suffix(".stm").read_text().splitlines() if line.strip()]
    lines = [json.loads(line) for line in media.read_text().splitlines()[1:3]]
    lines.append(
        {
            "id": "sample",
            "path": str(sample),
            "language": "en",
            "kind": "telephone",
            "text": " ".join(row[5] for row in rows),
            "rttm": str(sample.with_suffix(".rttm")),
            "duration_seconds": 30,
        }
    )
    media.write_text("\n".join(json.dumps(line) for line in lines))
    command = [sys.executable, "-c", "from steno_client.cli import main; main()", "evaluate", str(media), "--local"]
    options = ["--model", "whisper-base", "--model-store", str(store), "--device", "cpu", "--fail-above", "25"]
    files = ["--json", str(tmp_path / "out.json"), "--html", str(tmp_path / "out.html")]
    done = subprocess.run([*command, *options, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path / "out.json")
    by_id = {one.id: one for one in report.items}
    spoken = by_id["sample"].scores
    assert spoken is not None
    assert spoken.words is not None
    assert 0 < (spoken.words.rate or 0) <= 0.25
    assert spoken.speakers is not None
    assert (spoken.speakers.rate or 0) <= 0.3
    assert by_id["page"].error_rate == by_id["locked"].error_rate == 0
    assert report.load_seconds > 0
    assert report.recogniser == "this machine: whisper-base on cpu, OCR engine auto"
    speed = report.media[0].total.audio_speed
    assert speed is not None
    assert speed.amount == pytest.approx(30, abs=0.1)
    parsed = Tags()
    parsed.feed((tmp_path / "out.html").read_text())
    assert parsed.open == []
