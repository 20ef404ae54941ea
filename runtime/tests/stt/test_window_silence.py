"""What follows the audio in a window is silence to the decoder: the same as if the recording went on in silence."""

from __future__ import annotations

import numpy as np
import pytest

from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt.ctranslate import CTranslateEngine
from steno_runtime.stt.engine import DecodeProfile

pytestmark = pytest.mark.slow

FIRST, LAST = 7 * SAMPLE_RATE, 11 * SAMPLE_RATE
SILENCE = np.zeros(SAMPLE_RATE * 3 // 4, np.float32)
"""So little that the window stays as long as it is."""


@pytest.fixture(scope="module")
def engine(store) -> CTranslateEngine:
    """Whisper without the rounding of int8."""
    return CTranslateEngine(store / "whisper-base", device="cpu", compute_type="float32")


@pytest.mark.parametrize("decibels", [0, -30])
def test_silence_after_the_audio_changes_nothing(engine, sample, decibels):
    speech = sample[FIRST:LAST] * np.float32(10 ** (decibels / 20))
    longer = np.concatenate([speech, SILENCE])
    profile = DecodeProfile.BEAM_WITH_FALLBACK
    assert profile.window_frames(len(speech)) == profile.window_frames(len(longer))
    [found], [same] = (engine.decode([window], "en", profile) for window in (speech, longer))
    assert found.text == same.text
    assert found.avg_logprob == pytest.approx(same.avg_logprob, abs=1e-3)
    assert found.no_speech_prob == pytest.approx(same.no_speech_prob, abs=1e-3)


def test_a_silent_window_is_silent_to_its_end(engine):
    [heard], [same] = (engine.decode([np.zeros(length, np.float32)], "en") for length in (16_000, 48_000))
    assert heard.no_speech_prob == pytest.approx(same.no_speech_prob, abs=1e-3)
