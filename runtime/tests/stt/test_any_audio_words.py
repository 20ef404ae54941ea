"""Whatever a recording is made of: its words are those of the clean one, or a warning says why not."""

from __future__ import annotations

import jiwer
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from runtime.tests.media.any_audio import make, recipes
from runtime.tests.media.test_any_audio import NO_EXCUSE
from steno_runtime.media.audio import read_audio
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import load_engine, transcribe
from tests.support.properties import slow_examples

from .conftest import RATE, normal

pytestmark = [pytest.mark.slow, pytest.mark.long]

TOLERANCE = 0.25
"""Share of words that may differ: a lossy codec and noise at 10 dB cost some."""


@pytest.fixture(scope="module")
def hear(store):
    """Transcribes with one engine; returns the text and the reasons of warnings."""
    options = TranscriptionOptions(model="whisper-base", model_store=store, device="cpu")
    engine = load_engine(options)

    def heard(samples, language, found=()):
        result = transcribe(
            samples,
            TranscriptionOptions(model="whisper-base", model_store=store, device="cpu", language=language),
            on_progress=lambda _: None,
            check=lambda: None,
            engine=engine,
            source_warnings=found,
        )
        text = normal(" ".join(segment.text for segment in result.segments))
        return text, {warning.reason for warning in result.warnings}

    return heard


def test_any_recording_has_its_words_or_a_warning(hear, sample, tmp_path):
    speech = sample[int(7.0 * RATE) : int(15.5 * RATE)]
    clean, warnings = hear(speech, "en")
    assert len(clean.split()) > 10
    assert not warnings

    @given(recipes(), st.sampled_from(["en", None]))
    @slow_examples(usual=8, long=300)
    def holds(recipe, language):
        path, found = make(recipe, speech, tmp_path), []
        samples = read_audio(path, check=lambda: None, on_warning=found.append)
        path.unlink()
        text, reasons = hear(samples, language, found)
        error = jiwer.wer(clean, text) if text else 1.0
        note(f"{error:.2f} {sorted(reasons)} {text}")
        assert error <= TOLERANCE or reasons - NO_EXCUSE

    holds()
