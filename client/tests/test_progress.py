"""The progress bar."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from steno_api.v1alpha1.job import Stage
from steno_client.progress import progress_bar, recognition_meter, transcription_meter
from steno_runtime.progress import ProgressUpdate, transcription_weights

ORDER = list(transcription_weights(diarize=True))


@given(st.lists(st.tuples(st.sampled_from(ORDER), st.floats(-0.5, 1.5)), min_size=2), st.booleans())
def test_it_never_goes_back_and_stays_in_range(steps: list[tuple[Stage, float]], diarize: bool):
    meter = transcription_meter(diarize=diarize)
    done = [meter.advance(ProgressUpdate(stage, fraction)) for stage, fraction in steps]
    assert done == sorted(done)
    assert all(0 <= value <= 1 for value in done)


def test_it_ends_at_the_end():
    for meter, last in (
        (transcription_meter(diarize=True), 0.97),
        (transcription_meter(diarize=False), 0.97),
        (recognition_meter(), 0.9),
    ):
        assert meter.advance(ProgressUpdate(Stage.STARTING)) == 0.0
        assert meter.advance(ProgressUpdate(Stage.PUBLISHING)) >= last


def test_without_a_terminal_each_stage_is_one_line():
    out = io.StringIO()
    with progress_bar(transcription_meter(diarize=True), quiet=False, console=Console(file=out)) as on_progress:
        for stage in (Stage.LOADING_MODEL, Stage.DECODING, Stage.DECODING, Stage.DIARIZING):
            on_progress(ProgressUpdate(stage, 0.5))
    assert out.getvalue() == "loading the model\ntranscribing\nidentifying speakers\n"


def test_quiet_says_nothing_and_a_terminal_gets_a_bar():
    quiet, loud = io.StringIO(), io.StringIO()
    with progress_bar(
        transcription_meter(diarize=True), quiet=True, console=Console(file=quiet, force_terminal=True)
    ) as on_progress:
        on_progress(ProgressUpdate(Stage.DECODING, 0.5))
    with progress_bar(
        transcription_meter(diarize=True), quiet=False, console=Console(file=loud, force_terminal=True, width=100)
    ) as on_progress:
        on_progress(ProgressUpdate(Stage.DECODING, 0.5, message="chunk 1 of 2"))
    assert quiet.getvalue() == ""
    assert "transcribing: chunk 1 of 2" in loud.getvalue()
