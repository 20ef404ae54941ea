"""The pipeline with a real model on real speech: what a user gets."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import jiwer
import numpy as np
import pytest

from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import Stage
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.stt.document import build_transcript
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import transcribe
from steno_runtime.stt.writers import WRITERS

from .conftest import RATE, normal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def diarized(run, sample):
    return run(sample, diarize=True, max_speakers=2)


def test_words_of_the_sample(diarized, reference_text):
    result, _ = diarized
    said = " ".join(segment.text for segment in result.segments)
    error = jiwer.wer(normal(reference_text), normal(said))
    print(f"WER {error:.3f}")
    assert error <= 0.25
    assert result.language == "en"
    assert result.duration == pytest.approx(30, abs=0.1)
    assert 0.5 < result.confidence <= 1


def test_speakers_of_the_sample_with_only_a_bound_from_above(diarized, sample_wav):
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.database.util import load_rttm
    from pyannote.metrics.diarization import DiarizationErrorRate

    result, _ = diarized
    assert {segment.speaker for segment in result.segments} == {"SPEAKER_00", "SPEAKER_01"}
    assert result.segments[0].speaker == "SPEAKER_00"
    found = Annotation()
    for index, segment in enumerate(result.segments):
        found[Segment(segment.start, segment.end), index] = segment.speaker
    reference = load_rttm(str(sample_wav.with_suffix(".rttm")))["sample"]
    whole = Timeline([Segment(0, result.duration)])
    # A quarter of a second is forgiven on each side of a change, as in NIST's evaluations (collar 0.5 in all).
    errors = {collar: DiarizationErrorRate(collar=collar)(reference, found, uem=whole) for collar in (0.0, 0.5)}
    print(f"DER {errors}")
    assert errors[0.5] <= 0.15


def test_a_longer_recording_keeps_its_two_speakers(run, sample):
    result, _ = run(np.tile(sample, 4), diarize=True, max_speakers=2)
    seconds = {}
    for segment in result.segments:
        seconds[segment.speaker] = seconds.get(segment.speaker, 0) + segment.end - segment.start
    assert set(seconds) == {"SPEAKER_00", "SPEAKER_01"}
    assert min(seconds.values()) > 0.25 * sum(seconds.values())


def test_word_times_are_in_order_and_where_speech_is(diarized):
    result, _ = diarized
    words = [word for segment in result.segments for word in segment.words]
    for before, after in pairwise(words):
        assert before.start <= after.start
    for segment in result.segments:
        assert segment.start <= segment.words[0].start
        assert all(word.start <= word.end for word in segment.words)
        assert segment.words[-1].end <= segment.end
    assert result.segments[0].start == pytest.approx(6.68, abs=0.5)
    assert result.segments[-1].end == pytest.approx(29.99, abs=0.5)


def test_progress_only_goes_up_and_names_every_stage(diarized):
    _, reports = diarized
    order = [Stage.LOADING_MODEL, Stage.DETECTING_SPEECH, Stage.DECODING, Stage.DIARIZING]
    assert list(dict.fromkeys(update.stage for update in reports)) == order
    for stage in order:
        fractions = [update.fraction for update in reports if update.stage is stage]
        assert fractions == sorted(fractions)
        assert fractions[-1] == pytest.approx(1)
    seconds = [update.audio_seconds for update in reports if update.stage is Stage.DECODING]
    assert seconds == sorted(seconds)
    assert 15 < seconds[-1] <= 30


@pytest.mark.parametrize(
    "samples", [np.zeros(0, np.float32), np.zeros(100, np.float32), np.zeros(5 * RATE, np.float32)]
)
def test_silence_is_an_empty_transcript(run, samples):
    result, _ = run(samples, diarize=True)
    assert result.segments == ()
    assert result.language == "und"
    document = build_transcript(result, meeting_id="m", tenant_id="t", processing_time=1)
    assert document.transcript == ""
    for write in WRITERS.values():
        write(document)


def test_noise_is_not_speech(run):
    noise = np.random.default_rng(0).normal(0, 0.02, 10 * RATE).astype(np.float32)
    result, _ = run(noise)
    assert result.segments == ()


def test_korean_is_written_in_hangul(run, espeak):
    # The language is given: Whisper base takes espeak's Korean for Thai.
    spoken = espeak(
        "ko",
        "안녕하세요. 저는 한국 사람입니다. 오늘은 날씨가 아주 좋습니다. 우리는 서울에서 회의를 합니다. 감사합니다.",
    )
    result, _ = run(spoken, language="ko")
    assert result.language == "ko"
    said = "".join(segment.text for segment in result.segments).replace(" ", "")
    assert len(said) > 20
    assert sum("가" <= char <= "힣" for char in said) > 0.8 * sum(char.isalpha() for char in said)
    assert all(" " not in word.word for segment in result.segments for word in segment.words)


def test_german_is_detected(run, espeak):
    spoken = espeak("de", "Guten Tag, meine Damen und Herren. Wir beginnen heute mit der Planung für das nächste Jahr.")
    result, _ = run(spoken)
    assert result.language == "de"


def test_a_language_it_does_not_know_is_refused(run, sample):
    with pytest.raises(WorkError, match="xx") as error:
        run(sample, language="xx")
    assert error.value.reason is FailureReason.INVALID_SPEC


def test_a_check_that_raises_stops_at_once(store, sample):
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        transcribe(
            sample,
            TranscriptionOptions(model="whisper-base", model_store=store, device="cpu"),
            on_progress=lambda *_: None,
            check=check,
        )
    assert len(calls) == 3


def test_contradicting_bounds_are_refused(run, sample):
    with pytest.raises(WorkError, match="minSpeakers") as error:
        run(sample[: 10 * RATE], diarize=True, min_speakers=3, max_speakers=2)
    assert error.value.reason is FailureReason.INVALID_SPEC


def test_a_missing_speaker_encoder_is_reported_with_its_remedy(store, sample, tmp_path):
    (tmp_path / "whisper-base").symlink_to(store / "whisper-base")
    with pytest.raises(WorkError, match="ge2e") as error:
        transcribe(
            sample[: 10 * RATE],
            TranscriptionOptions(model="whisper-base", model_store=tmp_path, device="cpu", diarize=True),
            on_progress=lambda *_: None,
            check=lambda: None,
        )
    assert error.value.reason is FailureReason.MODEL_NOT_FOUND


def test_without_speakers_no_torch_is_loaded(store, sample_wav):
    code = f"""
import sys
from pathlib import Path
from faster_whisper import decode_audio
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import transcribe
options = TranscriptionOptions(model="whisper-base", model_store=Path({str(store)!r}), device="cpu")
samples = decode_audio({str(sample_wav)!r})[:160000]
transcribe(samples, options, on_progress=lambda *_: None, check=lambda: None)
print([name for name in ("torch", "whisperx", "pyannote.audio", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_limit_on_openmp_changes_the_speed_and_not_the_words(store, sample_wav):
    # CTranslate2 with more threads than OpenMP grants decodes rubbish, and says nothing.
    code = f"""
from pathlib import Path
from faster_whisper import decode_audio
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import transcribe
options = TranscriptionOptions(model="whisper-base", model_store=Path({str(store)!r}), device="cpu")
samples = decode_audio({str(sample_wav)!r})
result = transcribe(samples, options, on_progress=lambda *_: None, check=lambda: None)
print(" ".join(segment.text for segment in result.segments))
"""
    limited = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=limited)
    assert "New Jersey" in done.stdout
    assert "Chicago" in done.stdout
