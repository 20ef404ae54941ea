"""What a live session hears does not depend on how loud the microphone is."""

from __future__ import annotations

import numpy as np
import pytest

from steno_runtime.stream.engine import SessionConfig
from steno_runtime.stt.vad import LiveVadState, live_speech_probabilities

from .session_client import check_invariants, finals, run_session, split


@pytest.mark.parametrize("decibels", [-40, -20, 6])
async def test_a_voice_in_noise_is_heard_at_any_level(stream_engine, sample_pcm, decibels):
    samples = np.frombuffer(sample_pcm, "<i2").astype(np.float64)
    noisy = samples + np.random.default_rng(7).normal(0, 0.3 * np.sqrt(np.mean(samples**2)), len(samples))

    async def heard(gain: float) -> float:
        pcm = np.clip(noisy * 10 ** (gain / 20), -32_768, 32_767).astype("<i2").tobytes()
        events = await run_session(stream_engine.open(SessionConfig(str(gain), "t")), split(pcm, 3200))
        check_invariants(events)
        return sum(final.end_ms - final.start_ms for final in finals(events)) / 1000

    assert await heard(decibels) == pytest.approx(await heard(0), abs=1.5)


def test_the_level_that_is_known_does_not_depend_on_how_audio_is_cut(sample_pcm):
    audio = np.frombuffer(sample_pcm, "<i2").astype(np.float32) / 32_768
    whole, end = live_speech_probabilities(audio, LiveVadState())
    state, found = LiveVadState(), []
    for begin in range(0, len(audio), 3 * 512):
        part, state = live_speech_probabilities(audio[begin : begin + 3 * 512], state)
        found += part
    assert found == whole
    assert (state.level, state.powers) == (end.level, end.powers)


@pytest.mark.parametrize("decibels", [-60, -30, 0])
def test_noise_is_no_speech_at_any_level(decibels):
    noise = np.random.default_rng(1).normal(0, 0.1 * 10 ** (decibels / 20), 16_000 * 20).astype(np.float32)
    assert max(live_speech_probabilities(noise, LiveVadState())[0]) < 0.5


def test_silence_has_no_level():
    found, state = live_speech_probabilities(np.zeros(16_000, np.float32), LiveVadState())
    assert max(found) < 0.5
    assert np.isfinite(state.level)
