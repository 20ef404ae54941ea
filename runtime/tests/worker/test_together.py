"""Clips that a warm worker transcribes at the same time, with a real model: the same words as one by one."""

from __future__ import annotations

import threading
import wave
from concurrent.futures import ThreadPoolExecutor

import pytest

from hack.models import build
from steno_api.documents.transcript import Transcript
from steno_api.failures import FailureReason
from steno_runtime.stream.engine import BatchEngine
from steno_runtime.stream.scheduler import Scheduler
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import load_engine
from steno_runtime.worker.signals import StopRequest
from steno_runtime.worker.warm import WarmWorker

from .consuming import pool_task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CLIPS, SECONDS = 6, 5


@pytest.fixture(scope="module", params=[False, True], ids=["one worker", "side by side"])
def scheduler(request):
    options = TranscriptionOptions(model="whisper-base", model_store=build(), device="cpu", side_by_side=request.param)
    made = Scheduler(load_engine(options))
    yield made
    made.close()


@pytest.fixture
def clips(sample_wav, tmp_path):
    """Cut the sample into clips that overlap; it begins with silence."""
    files = []
    with wave.open(str(sample_wav)) as reader:
        for number in range(CLIPS):
            reader.setpos((6 + 3 * number) * reader.getframerate())
            files.append(tmp_path / f"clip-{number}.wav")
            with wave.open(str(files[-1]), "wb") as writer:
                writer.setparams(reader.getparams())
                writer.writeframes(reader.readframes(SECONDS * reader.getframerate()))
    return files


def words_of(folder):
    transcript = Transcript.model_validate_json((folder / "transcript.json").read_bytes())
    return [(word.word, word.start, word.end) for segment in transcript.segments for word in segment.words]


def test_clips_that_are_worked_on_together_have_the_same_words(make_task, scheduler, clips, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF and nothing more")
    engine = BatchEngine(scheduler, scheduler._engine)
    worker = WarmWorker(pool_task(tmp_path, model_store=str(build())), engine)
    together = threading.Barrier(CLIPS)

    def task(path, name):
        where = {"uri": f"pvc://results/{name}", "path": str(tmp_path / name), "formats": ["json"]}
        source = {"uri": f"pvc://recordings/{path.name}", "path": str(path)}
        return make_task(source=source, output=where, language="en", modelStore=str(build()))

    def work(path, name, **options):
        return worker.work(task(path, name), StopRequest(), lambda _: None, **options).result

    for number, path in enumerate(clips):
        assert work(path, f"alone-{number}").outcome == "Succeeded"
    with ThreadPoolExecutor(CLIPS + 1) as threads:
        bad = threads.submit(work, broken, "broken")
        ended = [
            threads.submit(work, path, f"together-{number}", on_brief=together.wait)  # all of them at once
            for number, path in enumerate(clips)
        ]
        assert [each.result().outcome for each in ended] == ["Succeeded"] * CLIPS
        assert bad.result().reason is FailureReason.UNSUPPORTED_MEDIA
    for number in range(CLIPS):
        alone, same = words_of(tmp_path / f"alone-{number}"), words_of(tmp_path / f"together-{number}")
        assert alone
        assert same == alone
