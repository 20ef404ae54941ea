"""A second of speech and bounds that it cannot meet: a transcript with or without speakers, never a failed job."""

from __future__ import annotations

import numpy as np
import pytest

from steno_api.documents.warnings import WarningReason
from steno_runtime.errors import Stopped
from steno_runtime.stt import review
from steno_runtime.stt.diarization import diarize

from .conftest import RATE


class Raising:
    """A pipeline that fails as pyannote's does."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def to(self, device: object) -> None:
        """Take a device."""

    def __call__(self, _: object, **__: object) -> None:
        raise self.error


def run_raising(error: Exception) -> list[object]:
    return diarize(
        np.zeros(RATE, np.float32),
        pipeline_factory=lambda _: Raising(error),
        device="cpu",
        min_speakers=2,
        max_speakers=2,
        on_progress=lambda _: None,
        check=lambda: None,
    )


@pytest.mark.slow  # imports torch
def test_s24_what_pyannote_cannot_do_costs_the_speakers_and_not_the_text():
    for error in (
        ValueError("num_clusters must be at least 2"),
        RuntimeError("Trying to create tensor with negative dimension -3"),
        IndexError("index 0 is out of bounds"),
    ):
        assert run_raising(error) == []
    for error in (Stopped(), RuntimeError("CUDA error: device-side assert triggered"), MemoryError()):
        with pytest.raises(type(error)):
            run_raising(error)


@pytest.mark.parametrize(
    ("words", "speakers", "least", "said"),
    [(0, 0, 2, False), (1, 1, None, False), (1, 0, None, True), (1, 1, 2, True), (9, 2, 2, False), (9, 2, 3, True)],
)
def test_s24_fewer_speakers_than_asked_for_are_named(words, speakers, least, said):
    found = review.describe_speakers(words, speakers, least)
    assert [warning.reason for warning in found] == ([WarningReason.SPEAKERS_UNCERTAIN] if said else [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "bounds"),
    [
        ("a word", {"min_speakers": 2}),
        ("a word", {"min_speakers": 20}),
        ("3 s", {"min_speakers": 2, "max_speakers": 2}),
        ("mostly silence", {"max_speakers": 1}),
    ],
)
def test_s24_few_words_have_at_most_one_speaker(run, sample, case, bounds):
    word = sample[int(7.0 * RATE) : int(7.6 * RATE)]
    samples = {
        "a word": word,
        "3 s": sample[int(6.7 * RATE) : int(9.7 * RATE)],
        "mostly silence": np.concatenate([np.zeros(12 * RATE, np.float32), word, np.zeros(7 * RATE, np.float32)]),
    }[case]
    result, _ = run(samples, language="en", diarize=True, **bounds)
    speakers = {word.speaker for segment in result.segments for word in segment.words}
    print(case, bounds, speakers, [warning.message for warning in result.warnings])
    assert speakers <= {None, "SPEAKER_00"}
    if result.segments and len(speakers - {None}) < bounds.get("min_speakers", 1):
        assert WarningReason.SPEAKERS_UNCERTAIN in {warning.reason for warning in result.warnings}
