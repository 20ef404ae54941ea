"""What a worker says that it did: all of it, whatever became of it, and nothing that it only found."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.tests.worker.test_publish import transcript
from steno_api.failures import FailureReason
from steno_api.usage import Work
from steno_api.v1alpha1.job import Stage
from steno_api.worker.termination import Failed, Succeeded, TerminationMessage
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.progress import ProgressUpdate, capped
from steno_runtime.publishing import policies
from steno_runtime.worker.main import execute
from steno_runtime.worker.signals import StopSignal
from steno_runtime.worker.termination import STOPPED, TerminationWriter
from steno_runtime.worker.transcription import TranscriptDocument, TranscriptionHandler


def written(path: str) -> TerminationMessage:
    return TerminationMessage.model_validate_json(Path(path).read_bytes())


@pytest.fixture
def attempt(make_task, monkeypatch):
    """Does an attempt in this process, without a model: it decodes a part, and then makes its document or dies."""
    monkeypatch.setattr(StopSignal, "install", lambda _: None)

    def begin(number: int, *, dies: Exception | None = None) -> TerminationMessage:
        def run(handler, context) -> TranscriptDocument:
            context.on_progress(ProgressUpdate(Stage.DECODING, 0.4, audio_seconds=12.5))
            if dies is not None:
                raise dies
            return TranscriptDocument(transcript(), "cpu")

        monkeypatch.setattr(TranscriptionHandler, "run", run)
        task = make_task(attempt=number)
        execute(task.to_json())
        return written(task.termination_message_path)

    return begin


def test_h5_a_worker_whose_manifest_is_refused_says_what_it_decoded_and_the_next_finds_it(attempt, monkeypatch):
    def refuse(*_, **__):
        raise WorkError(FailureReason.OUTPUT_FORBIDDEN, "The manifest is refused.")

    with monkeypatch.context() as refusing:
        refusing.setattr(policies, "write_manifest", refuse)
        first = attempt(1)
    assert isinstance(first.result, Failed)
    assert first.result.reason is FailureReason.OUTPUT_FORBIDDEN
    assert first.used == Work(audio_millis=30_000)
    second = attempt(2)
    assert isinstance(second.result, Succeeded)
    assert second.result.summary.duration == 30.0
    assert second.used == Work()
    assert attempt(3).used == Work()  # it finds the manifest


@pytest.mark.parametrize("dies", [RuntimeError("x"), MemoryError(), Stopped()], ids=["defect", "memory", "stopped"])
def test_a_worker_that_fails_in_the_middle_says_how_far_it_came(attempt, dies):
    message = attempt(1, dies=dies)
    assert isinstance(message.result, Failed)
    assert message.used == Work(audio_millis=12_500)


def test_a_worker_that_does_everything_itself_says_so(attempt):
    message = attempt(1)
    assert isinstance(message.result, Succeeded)
    assert message.used == Work(audio_millis=30_000)


def test_what_was_done_so_far_is_noted_for_the_case_of_a_kill_and_never_replaces_a_result(tmp_path):
    path = tmp_path / "log"
    writer = TerminationWriter(str(path))
    writer.count(ProgressUpdate(Stage.RECOGNIZING, pages=3))
    assert (written(str(path)).result, written(str(path)).used) == (None, Work(pages=3))
    writer.count(ProgressUpdate(Stage.RECOGNIZING, pages=2))
    writer.write(STOPPED)
    writer.count(ProgressUpdate(Stage.RECOGNIZING, pages=9))
    assert (written(str(path)).result, written(str(path)).used) == (STOPPED, Work(pages=3))


def test_no_more_is_said_to_be_decoded_than_a_recording_has():
    said: list[float | None] = []
    count = capped(lambda update: said.append(update.audio_seconds), 60.0)
    for seconds in (None, 59.0, 61.5):
        count(ProgressUpdate(Stage.DECODING, audio_seconds=seconds))
    assert said == [None, 59.0, 60.0]
