from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.stream.buffer import AudioBuffer


@given(st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 60_000))))
def test_windows_are_what_was_appended_and_not_released(steps):
    buffer = AudioBuffer()
    audio = np.zeros(0, np.int16)
    base = 0
    for count, released in steps:
        new = (np.arange(len(audio), len(audio) + count) % 30_000).astype("<i2")
        audio = np.concatenate([audio, new])
        buffer.append(new.tobytes())
        base = max(base, min(len(audio), released))
        buffer.release(released)
        assert buffer.end == len(audio)
        assert buffer.held == len(audio) - base
        expected = audio[max(base, len(audio) - 1000) :].astype(np.float32) / 32768
        assert np.array_equal(buffer.window(max(base, len(audio) - 1000), len(audio) + 10), expected)


def test_a_silent_session_is_small():
    buffer = AudioBuffer()
    buffer.append(bytes(2 * 16_000 * 29))
    assert buffer.nbytes <= 2 * 2**19
    buffer.release(16_000 * 28)
    assert buffer.nbytes <= 64 * 1024
    buffer.clear()
    assert buffer.nbytes == 0
    assert len(buffer.window(0, 100)) == 0
