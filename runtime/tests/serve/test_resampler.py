"""Sample rates, in pieces of any length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno_runtime.serve.sessions.resampler import Resampler


def tone(rate: int, hertz: float, seconds: float = 1.0) -> bytes:
    at = np.arange(int(rate * seconds)) / rate
    return (np.sin(2 * np.pi * hertz * at) * 20_000).astype("<i2").tobytes()


@given(sizes=st.lists(st.integers(0, 4_000), max_size=30))
@settings(max_examples=30, deadline=None)
def test_16_khz_is_unchanged_however_it_is_cut(sizes: list[int]):
    data, resampler = tone(16_000, 440), Resampler(16_000)
    out, begin = b"", 0
    for size in sizes:
        out += resampler.convert(data[begin : begin + size])
        begin += size
    out += resampler.convert(data[begin:]) + resampler.flush()
    assert out == data


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_a_tone_keeps_its_frequency(rate: int):
    data, resampler = tone(rate, 440, 2.0), Resampler(rate)
    out = b"".join(resampler.convert(data[begin : begin + 1_001]) for begin in range(0, len(data), 1_001))
    samples = np.frombuffer(out + resampler.flush(), "<i2").astype(float)
    assert len(samples) == pytest.approx(32_000, abs=100)
    spectrum = np.abs(np.fft.rfft(samples[:32_000] * np.hanning(len(samples[:32_000]))))
    assert np.argmax(spectrum) * 16_000 / len(samples[:32_000]) == pytest.approx(440, abs=1)
    assert np.abs(samples).max() == pytest.approx(20_000, rel=0.05)


def test_converting_after_a_flush():
    resampler = Resampler(8_000)
    for _ in range(3):
        out = resampler.convert(tone(8_000, 440)) + resampler.flush()
        assert len(out) == pytest.approx(32_000, abs=64)


@given(cuts=st.lists(st.tuples(st.integers(0, 2_000), st.booleans()), max_size=30))
@settings(max_examples=50, deadline=None)
def test_s4_a_flush_in_the_middle_of_a_sample_loses_nothing(cuts: list[tuple[int, bool]]):
    data, resampler = tone(16_000, 440), Resampler(16_000)
    out, begin = b"", 0
    for size, flushed in cuts:
        out += resampler.convert(data[begin : begin + size])
        begin += size
        if flushed:
            out += resampler.flush()
    assert out + resampler.convert(data[begin:]) == data


def test_s4_a_flush_at_another_rate_keeps_the_half_sample():
    data, resampler = tone(48_000, 440), Resampler(48_000)
    out = resampler.convert(data[:48_001]) + resampler.flush() + resampler.convert(data[48_001:]) + resampler.flush()
    samples = np.frombuffer(out, "<i2").astype(float)
    assert len(samples) == pytest.approx(16_000, abs=64)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * 16_000 / len(samples) == pytest.approx(440, abs=2)
