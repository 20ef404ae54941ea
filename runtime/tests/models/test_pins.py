"""What the hub sends is compared with the digests in the source, before anything reads it."""

from __future__ import annotations

import hashlib
import pickle
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from runtime.tests.conftest import Hub
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.models import pins
from steno_runtime.models.pins import COMMUNITY, PINS, SIZES, Pin
from steno_runtime.models.store import WHISPER_FILES, whisper
from steno_runtime.stt.diarization import find_speaker_models

TINY = "Systran/faster-whisper-tiny"
FILES = {name: name.encode() for name in (*WHISPER_FILES, "vocabulary.txt")}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def pin(monkeypatch: pytest.MonkeyPatch, repo: str, files: dict[str, bytes]) -> None:
    """Has the digests of these files be the ones that are known."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setitem(pins.PINS, repo, Pin(PINS[repo].revision, digests))


def failure(store: Path, name: str, *downloads: str) -> WorkError:
    with pytest.raises(WorkError) as caught:
        whisper(store, name, *downloads)
    return caught.value


def test_every_pin_is_a_commit_with_a_digest_for_each_file():
    assert set(SIZES.values()) | {COMMUNITY} == set(PINS)
    for one in PINS.values():
        assert re.fullmatch(r"[0-9a-f]{40}", one.revision)
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in one.files.values())
    for repo in SIZES.values():
        assert set(WHISPER_FILES) < PINS[repo].files.keys()


@pytest.mark.parametrize("name", ["tiny", "whisper-tiny", TINY])
def test_m11_a_size_is_downloaded_at_its_commit_and_verified(hub: Hub, store: Path, monkeypatch, name):
    pin(monkeypatch, TINY, FILES)
    hub.serve(TINY, FILES | {"README.md": b"#", "evil.py": b"import os"})
    folder = whisper(store, name)
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert folder.name == PINS[TINY].revision
    asked = len(hub.web.requests)
    assert whisper(store, name) == folder
    assert len(hub.web.requests) == asked


def test_m11_other_bytes_than_the_pinned_ones_are_not_used(hub: Hub, store: Path, monkeypatch):
    pin(monkeypatch, TINY, FILES)
    hub.serve(TINY, FILES | {"model.bin": b"forged"})
    error = failure(store, "tiny")
    assert error.reason is FailureReason.MODEL_UNAVAILABLE
    assert f"model.bin of {TINY}" in error.message
    hub.serve(TINY, FILES)
    assert (whisper(store, "tiny") / "model.bin").read_bytes() == b"model.bin", "the next attempt downloads it anew"


def test_m11_a_file_that_the_hub_no_longer_has(hub: Hub, store: Path, monkeypatch):
    pin(monkeypatch, TINY, FILES)
    hub.serve(TINY, {name: data for name, data in FILES.items() if name != "vocabulary.txt"})
    assert failure(store, "tiny").reason is FailureReason.MODEL_UNAVAILABLE


@pytest.mark.parametrize("name", ["acme/model", "tiny.en", "large-v1", "distil-large-v3"])
def test_m11_what_is_not_pinned_is_not_downloaded(hub: Hub, store: Path, name):
    error = failure(store, name)
    assert error.reason is FailureReason.MODEL_NOT_FOUND
    assert "hub.downloads" in error.message
    assert not hub.web.requests


def test_a_hub_that_is_off_is_not_asked(hub: Hub, store: Path):
    assert failure(store, "tiny", "Off").reason is FailureReason.MODEL_NOT_FOUND
    assert not hub.web.requests


def test_a_pin_holds_where_any_model_may_be_downloaded(hub: Hub, store: Path, monkeypatch):
    pin(monkeypatch, TINY, FILES)
    hub.serve(TINY, FILES | {"config.json": b"forged"})
    assert failure(store, "tiny", "Any").reason is FailureReason.MODEL_UNAVAILABLE


def test_m11_community_1_is_verified_too(hub: Hub, tmp_path: Path):
    hub.serve(COMMUNITY, dict.fromkeys(PINS[COMMUNITY].files, b"forged"))
    with pytest.raises(WorkError) as caught:
        find_speaker_models(tmp_path, token="hf_mine")
    assert caught.value.reason is FailureReason.MODEL_UNAVAILABLE
    assert COMMUNITY in caught.value.message
    assert "hf_mine" not in caught.value.message


class Attack:
    """Runs when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


CONFIG = b"""
pipeline:
  name: pyannote.audio.pipelines.VoiceActivityDetection
  params: {segmentation: $model/segmentation}
params: {onset: 0.5, offset: 0.4, min_duration_on: 0.0, min_duration_off: 0.0}
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_m11_a_checkpoint_is_not_unpickled_even_if_its_digest_is_known(hub: Hub, tmp_path: Path, monkeypatch, form):
    shipped = Path(find_spec("whisperx").submodule_search_locations[0]) / "assets" / "pytorch_model.bin"
    forged, touched = tmp_path / "forged.bin", tmp_path / "touched"
    if form == "zip":
        checkpoint = torch.load(shipped, weights_only=False, map_location="cpu")
        torch.save(checkpoint | {"hyper_parameters": Attack(touched)}, forged)
    else:
        forged.write_bytes(pickle.dumps(Attack(touched)))
    files = {"config.yaml": CONFIG, "segmentation/pytorch_model.bin": forged.read_bytes()}
    pin(monkeypatch, COMMUNITY, files)
    hub.serve(COMMUNITY, files)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    make = find_speaker_models(tmp_path, token="hf_mine")
    with pytest.raises(WorkError) as caught:
        make(1.0)
    assert caught.value.reason is FailureReason.MODEL_UNAVAILABLE
    assert not touched.exists()
