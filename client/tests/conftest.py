"""Fixtures of the client's tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from hack import models


@pytest.fixture(scope="session")
def store() -> Path:
    """The model store that tests share."""
    return models.build()


@pytest.fixture(scope="session")
def sample() -> Path:
    """Half a minute of two people on the phone, which pyannote's package carries."""
    spec = importlib.util.find_spec("pyannote.audio")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "sample" / "sample.wav"
