"""The percentage and the time that is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.v1alpha1.job import Stage
from steno_runtime.progress import OCR_WEIGHTS, ProgressMeter, ProgressUpdate, transcription_weights

STEPS = st.lists(
    st.tuples(st.sampled_from(Stage), st.floats(-1, 2, allow_nan=False), st.floats(0, 100)), min_size=1, max_size=60
)


SPEECH = transcription_weights(diarize=True)
WEIGHTS = {"speakers": SPEECH, "speech": transcription_weights(diarize=False), "pages": OCR_WEIGHTS}


@given(STEPS, st.sampled_from(list(WEIGHTS.values())))
def test_whatever_comes_the_percentage_never_falls_and_never_says_done(steps, weights):
    meter, now, last, audio = ProgressMeter(weights, started=0.0), 0.0, 0, 0.0
    for stage, fraction, passed in steps:
        now += passed
        progress = meter.measure(ProgressUpdate(stage, fraction, audio_seconds=passed), now=now)
        assert last <= progress.percent <= 99
        assert progress.stage is stage
        assert progress.eta_seconds is None or progress.eta_seconds >= 0
        assert progress.audio_seconds is not None
        assert progress.audio_seconds >= audio
        last, audio = progress.percent, progress.audio_seconds


def test_every_stage_has_a_weight():
    assert set().union(*WEIGHTS.values()) == set(Stage)


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_an_orderly_run_ends_close_to_the_end(weights):
    meter = ProgressMeter(weights, started=0.0)
    shown = []
    for now, stage in enumerate(weights):
        shown.append(meter.measure(ProgressUpdate(stage, 0.0), now=now).percent)
        shown.append(meter.measure(ProgressUpdate(stage, 1.0), now=now).percent)
    assert shown == sorted(shown)
    assert shown[0] == 0
    assert shown[-1] == 99


def test_pages_are_counted_up():
    meter = ProgressMeter(OCR_WEIGHTS, started=0.0)
    counts = [
        meter.measure(ProgressUpdate(Stage.RECOGNIZING, 0.1, pages=pages), now=1.0).pages
        for pages in (None, 1, 3, 2, None)
    ]
    assert counts == [None, 1, 3, 3, 3]


def test_the_time_left_follows_the_pace():
    meter = ProgressMeter(SPEECH, started=100.0)
    assert meter.measure(ProgressUpdate(Stage.FETCHING, 0.5), now=101.0).eta_seconds is None
    halfway = meter.measure(ProgressUpdate(Stage.DECODING, 0.5), now=150.0)
    assert halfway.eta_seconds is not None
    assert 40 < halfway.eta_seconds < 150
    later = meter.measure(ProgressUpdate(Stage.DECODING, 1.0), now=180.0)
    assert later.eta_seconds is not None
    assert later.eta_seconds < halfway.eta_seconds


def test_a_message_is_cut_to_what_the_protocol_takes():
    update = ProgressUpdate(Stage.DECODING, 0.1, message="x" * 500)
    message = ProgressMeter(SPEECH, started=0.0).measure(update, now=1.0).message
    assert message is not None
    assert len(message) == 200
