from __future__ import annotations

import hashlib

import pytest

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.models.store import WHISPER_FILES, find, whisper


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "models" / "whisper-tiny"
    folder.mkdir(parents=True)
    lines = []
    for name in WHISPER_FILES:
        (folder / name).write_text(name)
        lines.append(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n")
    (folder / "SHA256SUMS").write_text("".join(lines))
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.mark.parametrize("name", ["whisper-tiny", "tiny"])
def test_what_the_store_has_is_found_by_either_name(store, name):
    assert whisper(store, name) == store / "whisper-tiny"


def test_a_directory_is_found_by_its_path(store, tmp_path):
    assert whisper(tmp_path / "nowhere", str(store / "whisper-tiny")) == store / "whisper-tiny"


def test_an_unknown_name_says_what_the_store_has(store):
    with pytest.raises(WorkError) as error:
        whisper(store, "my-model")
    assert error.value.reason is FailureReason.MODEL_NOT_FOUND
    assert "my-model" in error.value.message
    assert "whisper-tiny" in error.value.message
    assert str(store) in error.value.message


@pytest.mark.parametrize("name", ["../models/whisper-tiny", "whisper-tiny/..", ".", ".hidden"])
def test_a_name_does_not_leave_the_store(store, name):
    assert find(store, name, WHISPER_FILES) is None


def test_a_missing_file_is_named(store):
    (store / "whisper-tiny" / "tokenizer.json").unlink()
    with pytest.raises(WorkError, match=r"tokenizer\.json") as error:
        whisper(store, "whisper-tiny")
    assert error.value.reason is FailureReason.MODEL_NOT_FOUND


def test_a_damaged_file_is_refused(store):
    (store / "whisper-tiny" / "model.bin").write_text("model.biN")
    with pytest.raises(WorkError, match=r"model\.bin") as error:
        whisper(store, "whisper-tiny")
    assert error.value.reason is FailureReason.MODEL_UNAVAILABLE


def test_without_digests_files_are_taken_as_they_are(store):
    (store / "whisper-tiny" / "SHA256SUMS").unlink()
    (store / "whisper-tiny" / "model.bin").write_text("other")
    assert whisper(store, "whisper-tiny") == store / "whisper-tiny"


def test_an_unreachable_hub_is_the_environments_fault(store, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(WorkError) as error:
        whisper(store, "large-v3")
    assert error.value.reason is FailureReason.MODEL_UNAVAILABLE
    assert "large-v3" in error.value.message
