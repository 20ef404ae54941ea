"""Whatever a recording is made of: what is read is the speech that went in, at its time, or a warning says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, note

from steno_api.documents.warnings import WarningReason
from steno_runtime.media.audio import read_audio
from steno_runtime.media.level import QUIET_DB, loudness
from tests.support.properties import examples

from .any_audio import Recipe, expected, make, recipes
from .recordings import RATE, find

NO_EXCUSE = {WarningReason.MANY_TRACKS}
"""Warnings that do not explain why the speech is not heard."""


def check(recipe: Recipe, speech: np.ndarray, folder: Path) -> None:
    path = make(recipe, speech, folder)
    warnings = []
    samples = read_audio(path, check=lambda: None, on_warning=warnings.append)
    path.unlink()
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1.0
    wanted = expected(recipe, speech)
    usual = 1.5 * np.quantile(np.abs(samples), 0.995)  # clicks are no fault of the reader
    at, likeness = find(np.clip(samples, -usual, usual), speech)
    note(f"{at:.3f} s, {likeness:.3f}, {loudness(samples):.1f} dB, {[warning.message for warning in warnings]}")
    if {warning.reason for warning in warnings} - NO_EXCUSE:
        return
    noise = 0.0 if recipe.snr is None else 10 ** (-recipe.snr / 10)
    assert abs(likeness) > 0.93 / np.sqrt(1 + noise), "the speech is there"
    assert at == pytest.approx(recipe.before, abs=0.1), "at its time"
    assert len(samples) == pytest.approx(len(wanted), abs=0.15 * RATE)
    assert loudness(samples) > QUIET_DB - 3, "loud enough for voice activity"


@pytest.fixture(scope="session")
def speech(clean) -> np.ndarray:
    return clean[int(7.2 * RATE) : int(10.2 * RATE)]


@pytest.mark.long
def test_any_recording_is_read_or_warned_of(speech, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")

    @given(recipes())
    @examples(usual=60, long=2000)
    def holds(recipe):
        check(recipe, speech, folder)

    holds()
