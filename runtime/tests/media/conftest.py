from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def clean(sample_wav: Path) -> np.ndarray:
    """The sample as float32 at 16 kHz."""
    with wave.open(str(sample_wav)) as file:
        data = file.readframes(file.getnframes())
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768
