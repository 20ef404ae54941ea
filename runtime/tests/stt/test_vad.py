"""Which speech is found in a recording does not depend on how loud it was recorded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt.chunks import Span
from steno_runtime.stt.vad import detect_speech

TOLERANCE_SECONDS = 0.1
"""By how much less or more may be found: three frames."""


def find(samples: np.ndarray) -> list[Span]:
    return detect_speech(samples, lambda _: None)


def amplified(samples: np.ndarray, decibels: float) -> np.ndarray:
    return samples * np.float32(10 ** (decibels / 20))


def difference(first: list[Span], second: list[Span], length: int) -> float:
    """Return the seconds that are speech in one of two lists alone."""
    masks = np.zeros((2, length), bool)
    for mask, spans in zip(masks, (first, second), strict=True):
        for span in spans:
            mask[span.start : span.end] = True
    return float(np.count_nonzero(masks[0] ^ masks[1])) / SAMPLE_RATE


def after_silence(sample: np.ndarray) -> np.ndarray:
    """Return 8 s of the call after minutes of hiss: so little speech that no percentile shows how loud it is."""
    hiss = np.random.default_rng(7).normal(0, 1e-4, 200 * SAMPLE_RATE).astype(np.float32)
    return np.concatenate([hiss, sample[7 * SAMPLE_RATE : 15 * SAMPLE_RATE]])


@pytest.fixture(scope="module", params=["as it is", "in noise", "after silence", "with a click"])
def recording(request, sample) -> np.ndarray:
    """The sample call, and what else a level must be measured in."""
    generator = np.random.default_rng(7)
    if request.param == "in noise":
        noise = generator.normal(0, 0.2 * np.sqrt(np.mean(sample**2)), len(sample))
        return sample + noise.astype(np.float32)
    if request.param == "after silence":
        return after_silence(sample)
    made = sample.copy()
    if request.param == "with a click":
        made[SAMPLE_RATE] = 1.0
    return made


@given(decibels=st.floats(-20, 12))
@example(decibels=-20)
@example(decibels=-1.9)  # times 0.8
@example(decibels=12)
@settings(max_examples=6, deadline=None)
def test_the_level_does_not_change_which_speech_is_found(recording, decibels):
    expected = find(recording)
    assert sum(span.seconds for span in expected) > 6
    found = find(amplified(recording, decibels))
    assert difference(expected, found, len(recording)) <= TOLERANCE_SECONDS


def test_speech_after_long_silence_is_found(sample):
    recording = after_silence(sample)
    speech = recording[-8 * SAMPLE_RATE :]
    before = len(recording) - len(speech)
    found = [Span(span.start - before, span.end - before) for span in find(recording)]
    assert difference(find(speech), found, len(speech)) <= 0.5


@pytest.mark.parametrize("decibels", [-60.0, -20.0, 0.0, 12.0])
@pytest.mark.parametrize("kind", ["white", "brown", "hum", "chirps"])
def test_noise_is_no_speech_at_any_level(kind, decibels):
    times = np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
    generator = np.random.default_rng(1)
    white = generator.normal(0, 0.1, len(times))
    sounds = {
        "white": white,
        "brown": np.convolve(white, np.ones(40) / 10, "same"),
        "hum": 0.1 * np.sin(2 * np.pi * 50 * times) + 0.05 * np.sin(2 * np.pi * 150 * times),
        "chirps": 0.1 * np.sin(2 * np.pi * (2500 + 800 * np.sin(8 * np.pi * times)) * times) * (times % 1 < 0.2),
    }
    assert find(amplified(sounds[kind].astype(np.float32), decibels)) == []


@pytest.mark.parametrize("samples", [np.zeros(SAMPLE_RATE, np.float32), np.zeros(0, np.float32)])
def test_silence_has_no_level(samples):
    assert find(samples) == []


def test_the_samples_stay_as_they_are(sample):
    before = sample.copy()
    find(sample)
    assert np.array_equal(sample, before)
