from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steno_runtime.stream.engine import StreamEngine

from .fake_engine import RATE, FakeEngine


@pytest.fixture(scope="session")
def sample_pcm(sample_wav: Path) -> bytes:
    """The sample as a client sends it: s16le, mono, 16 kHz."""
    from faster_whisper import decode_audio

    return (decode_audio(str(sample_wav), sampling_rate=RATE) * 32767).astype("<i2").tobytes()


@pytest.fixture(scope="session")
def noise_pcm() -> bytes:
    """Ten seconds of noise."""
    return (np.random.default_rng(0).normal(0, 0.02, 10 * RATE) * 32767).astype("<i2").tobytes()


@pytest.fixture
def fake_engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def stream_engine(fake_engine: FakeEngine):
    engine = StreamEngine(fake_engine, model="fake", max_sessions=16)
    yield engine
    fake_engine.unblocked.set()
    engine.close()
