"""Speaker models that are missing or refused: said before anything is decoded, with what to do about it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from runtime.tests.conftest import reply
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.models.pins import COMMUNITY, PINS, Pin
from steno_runtime.stt.diarization import find_speaker_models
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import transcribe

from .conftest import RATE

INVALID_TOKEN = "Invalid credentials in Authorization header"


class Untouched:
    """An engine that is loaded and must not be asked for anything."""

    languages = frozenset({"en", "ko"})
    device = "cpu"
    workers = 1
    batch_size = 1

    def detect_languages(self, _: Sequence[np.ndarray]) -> list[dict[str, float]]:
        raise AssertionError("languages were detected")

    def decode(self, *_: object) -> list[object]:
        raise AssertionError("audio was decoded")


def failure(sample: np.ndarray, store: Path, **options: object) -> WorkError:
    with pytest.raises(WorkError) as caught:
        transcribe(
            sample,
            TranscriptionOptions(model="any", model_store=store, device="cpu", diarize=True, **options),
            on_progress=lambda *_: None,
            check=lambda: None,
            engine=Untouched(),
        )
    return caught.value


@pytest.fixture(scope="session")
def spoken(sample) -> np.ndarray:
    return sample[: 12 * RATE]


def test_a_store_without_the_speaker_encoder(spoken, tmp_path):
    error = failure(spoken, tmp_path)
    assert error.reason is FailureReason.MODEL_NOT_FOUND
    assert "ge2e/pretrained.pt" in error.message


def test_bounds_that_contradict_each_other(spoken, tmp_path):
    error = failure(spoken, tmp_path, min_speakers=3, max_speakers=2)
    assert error.reason is FailureReason.INVALID_SPEC


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (401, {"X_Error_Message": INVALID_TOKEN}),
        (401, {"X_Error_Code": "RepoNotFound"}),
        (401, {}),
        (403, {"X_Error_Code": "GatedRepo"}),
        (403, {"X_Error_Message": "Please enable access to public gated repositories in your token's settings"}),
        (404, {"X_Error_Code": "RepoNotFound"}),
    ],
)
def test_a_token_that_the_hub_refuses(hub, spoken, tmp_path, status, headers):
    hub.refuse(COMMUNITY, status, **headers)
    error = failure(spoken, tmp_path, hf_token="hf_wrong")
    assert error.reason is FailureReason.MODEL_NOT_FOUND
    assert f"https://huggingface.co/{COMMUNITY}" in error.message
    assert "tokenSecretRef" in error.message
    assert "hf_wrong" not in error.message
    assert hub.web.requests[0][1]["authorization"] == "Bearer hf_wrong"


def test_a_licence_that_was_not_accepted_is_known_only_at_the_first_file(hub, spoken, tmp_path):
    hub.serve(COMMUNITY, {"config.yaml": b"{}"})
    path = next(path for path in hub.web.routes if path.endswith("config.yaml"))
    hub.web.routes[path] = reply(403, X_Error_Code="GatedRepo")
    error = failure(spoken, tmp_path, hf_token="hf_mine")
    assert error.reason is FailureReason.MODEL_NOT_FOUND
    assert "Accept its licence" in error.message


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_is_not_well_is_asked_again(hub, spoken, tmp_path, status):
    hub.refuse(COMMUNITY, status)
    error = failure(spoken, tmp_path, hf_token="hf_mine")
    assert error.reason is FailureReason.MODEL_UNAVAILABLE


@pytest.mark.slow
def test_a_pipeline_is_made_of_what_was_downloaded(hub, tmp_path, monkeypatch):
    segmentation = Path(find_spec("whisperx").submodule_search_locations[0]) / "assets" / "pytorch_model.bin"
    config = b"""
pipeline:
  name: pyannote.audio.pipelines.VoiceActivityDetection
  params: {segmentation: $model/segmentation}
params: {onset: 0.5, offset: 0.4, min_duration_on: 0.0, min_duration_off: 0.0}
"""
    files = {"config.yaml": config, "segmentation/pytorch_model.bin": segmentation.read_bytes()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setitem(PINS, COMMUNITY, Pin(PINS[COMMUNITY].revision, digests))
    hub.serve(COMMUNITY, files | {"README.md": b"#"})
    make = find_speaker_models(tmp_path, token="hf_mine")
    asked = len(hub.web.requests)
    assert make(1.0).instantiated
    assert len(hub.web.requests) == asked
    assert not [path for path, _ in hub.web.requests if path.endswith("README.md")]
    hub.refuse(COMMUNITY, 503)
    find_speaker_models(tmp_path, token="hf_mine")  # what is there stays usable while the hub is not
