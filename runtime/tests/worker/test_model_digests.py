"""A worker loads a model of the store only if it is the one that the RuntimeProfile names by its digest."""

from __future__ import annotations

import hashlib
import wave

import pytest

from steno_runtime.models.store import WHISPER_FILES


@pytest.fixture
def store(tmp_path):
    """A store with a model that is none, and a recording."""
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 16_000))
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    for name in WHISPER_FILES:
        (folder / name).write_text("{}")
    sums = "".join(f"{hashlib.sha256(b'{}').hexdigest()}  {name}\n" for name in WHISPER_FILES)
    (folder / "SHA256SUMS").write_text(sums)
    return tmp_path / "models"


def test_a_model_that_is_not_the_profiles_ends_the_job(make_task, start, store):
    task = make_task(model={"name": "tiny"}, modelStore=str(store), modelDigests={"tiny": "0" * 64})
    ended = start(task).ended()
    assert (ended.code, ended.result.reason) == (64, "ModelMismatch")
    assert "modelStore.digests" in ended.result.message


def test_the_profiles_model_is_loaded(make_task, start, store):
    digest = hashlib.sha256((store / "tiny" / "SHA256SUMS").read_bytes()).hexdigest()
    ended = start(make_task(model={"name": "tiny"}, modelStore=str(store), modelDigests={"tiny": digest})).ended()
    assert ended.result.reason == "ModelNotFound", "it is the right one, though none that can be loaded"
