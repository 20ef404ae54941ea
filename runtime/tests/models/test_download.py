"""`steno models download`: from a hub that breaks off, forges, or refuses."""

from __future__ import annotations

import hashlib
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtime.tests.conftest import Hub, reply, revision_of
from steno_api.failures import FailureReason
from steno_client.cli import app
from steno_runtime.errors import WorkError
from steno_runtime.models import pins
from steno_runtime.models.download import REPOS, download
from steno_runtime.models.pins import COMMUNITY, PINS, Pin
from steno_runtime.models.store import SUMS, WHISPER_FILES, whisper
from steno_runtime.stt.diarization import find_speaker_models, has_speaker_models

TINY = "Systran/faster-whisper-tiny"
FILES = {name: name.encode() * 1000 for name in (*WHISPER_FILES, "vocabulary.txt")}


def known(monkeypatch: pytest.MonkeyPatch, repo: str, files: dict[str, bytes]) -> None:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setitem(pins.PINS, repo, Pin(PINS[repo].revision, digests))


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)


@pytest.fixture
def tiny(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    known(monkeypatch, TINY, FILES)
    hub.serve(TINY, FILES | {"README.md": b"#"})
    return hub


def failure(store: Path, name: str) -> WorkError:
    with pytest.raises(WorkError) as caught:
        download(store, name)
    return caught.value


def test_a_model_comes_into_the_store_with_its_digests(tiny: Hub, tmp_path: Path):
    folder = download(tmp_path / "new", "whisper-tiny")
    assert {path.name for path in folder.iterdir()} == {*FILES, SUMS}
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"], "no draft is left"
    asked = len(tiny.web.requests)
    assert whisper(tmp_path / "new", "tiny", "Off") == folder
    assert download(tmp_path / "new", "tiny") == folder
    assert len(tiny.web.requests) == asked


def test_what_was_broken_off_goes_on(tiny: Hub, tmp_path: Path):
    data, path = FILES["model.bin"], f"/{TINY}/resolve/{revision_of(TINY)}/model.bin"
    whole, ranges = tiny.web.routes[path], []

    def breaks(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "HEAD":
            whole(handler)
        elif "Range" in handler.headers:
            reply(403)(handler)
        else:
            reply(200, data[:4000], Content_Length=str(len(data)), ETag='"x"')(handler)
            handler.close_connection = True

    def goes_on(handler: BaseHTTPRequestHandler) -> None:
        if (asked := handler.headers.get("Range")) is None:
            whole(handler)
            return
        ranges.append(asked)
        begin = int(asked.removeprefix("bytes=").partition("-")[0])
        reply(206, data[begin:], Content_Range=f"bytes {begin}-{len(data) - 1}/{len(data)}")(handler)

    tiny.web.routes[path] = breaks
    assert failure(tmp_path, "tiny").reason in (FailureReason.MODEL_UNAVAILABLE, FailureReason.MODEL_NOT_FOUND)
    assert not (tmp_path / "tiny").exists()
    tiny.web.routes[path] = goes_on
    assert (download(tmp_path, "tiny") / "model.bin").read_bytes() == data
    assert ranges == ["bytes=4000-"]


def test_forged_bytes_do_not_come_into_the_store(tiny: Hub, tmp_path: Path):
    tiny.serve(TINY, FILES | {"model.bin": b"forged"})
    assert failure(tmp_path, "tiny").reason is FailureReason.MODEL_UNAVAILABLE
    assert not (tmp_path / "tiny").exists()
    tiny.serve(TINY, FILES)
    assert (download(tmp_path, "tiny") / "model.bin").read_bytes() == FILES["model.bin"]


def test_a_damaged_copy_is_replaced(tiny: Hub, tmp_path: Path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.bin").write_bytes(b"half")
    assert (download(tmp_path, "tiny") / "model.bin").read_bytes() == FILES["model.bin"]


def test_speakers_need_a_licence_and_then_no_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = {name: name.encode() for name in PINS[COMMUNITY].files}
    known(monkeypatch, COMMUNITY, files)
    hub.refuse(COMMUNITY, 403, X_Error_Code="GatedRepo")
    error = failure(tmp_path, "community-1")
    assert (error.reason, "HF_TOKEN" in error.message) == (FailureReason.MODEL_NOT_FOUND, True)
    assert not has_speaker_models(tmp_path)
    hub.serve(COMMUNITY, files)
    folder = download(tmp_path, "community-1")
    assert (folder / "embedding" / "pytorch_model.bin").is_file()
    assert has_speaker_models(tmp_path)
    asked = len(hub.web.requests)
    find_speaker_models(tmp_path, token=None)
    assert len(hub.web.requests) == asked


def test_a_store_that_cannot_be_written(tiny: Hub, tmp_path: Path):
    (tmp_path / "file").touch()
    assert failure(tmp_path / "file" / "models", "tiny").reason is FailureReason.OUTPUT_FORBIDDEN


def test_the_command(tiny: Hub, tmp_path: Path):
    words = ["models", "download", "tiny", "--model-store", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'tiny'}\n")
    unknown = CliRunner().invoke(app, ["models", "download", "align-ko", "--model-store", str(tmp_path)])
    assert unknown.exit_code == 64
    assert all(name in unknown.stderr for name in REPOS)
