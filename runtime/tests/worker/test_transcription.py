"""The options of the pipeline, from the task and the environment."""

from __future__ import annotations

import pytest

from steno_api.failures import FailureReason
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.worker.task_handler import AttemptContext
from steno_runtime.worker.transcription import TranscriptionHandler


@pytest.fixture
def options(make_task, sample_wav, tmp_path, monkeypatch):
    """The options of the pipeline for a task with that diarization; nothing is transcribed."""

    def make(**changes) -> TranscriptionOptions:
        given = []

        def transcribe(_, options, **__):
            given.append(options)
            raise Stopped

        monkeypatch.setattr("steno_runtime.stt.pipeline.transcribe", transcribe)
        task = make_task(source={"uri": "pvc://recordings/a.wav", "path": str(sample_wav)}, **changes)
        attempt = AttemptContext(
            task=task,
            check=lambda: None,
            on_progress=lambda *_: None,
            scratch=tmp_path,
            fetch=lambda _: sample_wav,
            seconds=lambda: 1.0,
        )
        with pytest.raises(Stopped):
            TranscriptionHandler(task).run(attempt)
        return given[0]

    return make


def test_a_profiles_token_does_not_change_the_speaker_models(options, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_profile")
    made = options(diarization={"minSpeakers": 2})
    assert made.diarize
    assert made.hf_token is None


def test_the_jobs_token_takes_community_1(options, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_job\n")
    assert options(diarization={"tokenSecretRef": {"name": "hf"}}).hf_token == "hf_job"


def test_without_diarization_there_is_no_token(options, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_profile")
    made = options()
    assert not made.diarize
    assert made.hf_token is None


@pytest.mark.parametrize("token", ["", " \n"])
def test_a_secret_without_a_token_is_said_before_anything_is_read(options, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(WorkError, match="hf-of-ann") as caught:
        options(diarization={"tokenSecretRef": {"name": "hf-of-ann"}})
    assert caught.value.reason is FailureReason.INVALID_SPEC
