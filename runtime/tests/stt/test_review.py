"""What a transcript says of itself: speech without text is decoded again or named, and so is doubtful text."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.documents.warnings import WarningReason
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt import review
from steno_runtime.stt.chunks import Span
from steno_runtime.stt.engine import AutoLanguage, Decoded, DecodeProfile, TimedWord
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import TranscriptionResult, transcribe


def span(start: float, end: float) -> Span:
    return Span(int(start * SAMPLE_RATE), int(end * SAMPLE_RATE))


def word(start: float, end: float, probability: float = 0.9) -> TimedWord:
    return TimedWord(f"word{start:.1f}", start, end, probability)


def test_speech_without_a_word_is_found_between_before_and_after_words():
    spans = [span(0, 10), span(20, 30), span(40, 41)]
    words = [word(3, 3.5), word(4, 5), word(22, 29)]
    found = [(gap.start / SAMPLE_RATE, gap.end / SAMPLE_RATE) for gap in review.uncovered_speech(spans, words)]
    assert found == [pytest.approx((0, 2.7)), pytest.approx((5.3, 10)), pytest.approx((20, 21.7))]


@given(
    st.lists(st.tuples(st.floats(0, 60), st.floats(0.01, 5)), max_size=20),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 17)), min_size=1, max_size=6),
)
def test_all_speech_is_covered_short_or_uncovered(words, pieces):
    spans, position = [], 0.0
    for pause, length in pieces:
        spans.append(span(position + pause, position + pause + length))
        position += pause + length
    timed = [word(start, start + length) for start, length in words]
    gaps = review.uncovered_speech(spans, timed)
    assert all(any(one.start <= gap.start and gap.end <= one.end for one in spans) for gap in gaps)
    for gap in gaps:
        middle = (gap.start + gap.end) / 2 / SAMPLE_RATE
        assert not any(one.start <= middle <= one.end for one in timed)
    assert review.uncovered_speech(spans, [word(0, position + 1)]) == []
    long = [one for one in spans if one.seconds >= review.UNCOVERED_SECONDS]
    assert review.uncovered_speech(spans, []) == long


@pytest.mark.parametrize(
    ("probabilities", "stretches"),
    [
        ([0.9] * 30, []),
        ([0.9] * 10 + [0.4] * 6 + [0.9] * 10, [(9, 17)]),
        ([0.9] * 10 + [0.2] * 3 + [0.9] * 10, []),
        ([0.9] * 10 + [0.4] * 12 + [0.9] * 20 + [0.1] * 6 + [0.9] * 10, [(9, 23), (40, 50)]),
        ([0.9] * 4, []),
    ],
)
def test_a_stretch_that_the_recognizer_doubts_is_named_where_it_is(probabilities, stretches):
    words = [word(index, index + 0.5, probability) for index, probability in enumerate(probabilities)]
    found = review.describe_text(words, named=False, silent=False)
    assert {one.reason for one in found} <= {WarningReason.LOW_CONFIDENCE}
    assert [(one.start, one.end) for one in found] == [(first, end - 0.5) for first, end in stretches]


def test_text_that_is_doubted_throughout_has_one_warning_without_a_place():
    words = [word(index, index + 0.5, 0.6) for index in range(40)]
    [found] = review.describe_text(words, named=False, silent=False)
    assert (found.reason, found.start) == (WarningReason.LOW_CONFIDENCE, None)


class ScriptedEngine:
    """Says one word for each half second of a window, but of windows of several seconds only at their beginning."""

    device = "cpu"
    workers = 1
    batch_size = 4
    languages = frozenset({"en", "ko"})

    def __init__(
        self, *, stops_after: float = 99.0, deaf_beyond: float = 99.0, confidence: float = 0.9, heard: float = 0.9
    ) -> None:
        self.stops_after = stops_after
        self.deaf_beyond = deaf_beyond
        self.confidence = confidence
        self.heard = heard
        self.decoded: list[tuple[float, DecodeProfile]] = []

    def detect_languages(self, windows):
        return [{"en": self.heard, "ko": 1 - self.heard} for _ in windows]

    def decode(self, windows, language, profile=DecodeProfile.BEAM_WITH_FALLBACK):
        self.decoded += [(len(window) / SAMPLE_RATE, profile) for window in windows]
        rows = []
        for window in windows:
            seconds = min(len(window) / SAMPLE_RATE, self.stops_after)
            times = [] if profile is DecodeProfile.BEAM and self.deaf_beyond < 99 else np.arange(0, seconds - 0.4, 0.5)
            words = tuple(word(float(at), float(at) + 0.4, self.confidence) for at in times)
            heard = {"en": self.heard, "ko": 1 - self.heard} if isinstance(language, AutoLanguage) else {}
            rows.append(Decoded(" ".join(one.text for one in words), words, -0.2, 0.1, "en", heard))
        return rows


def run(samples: np.ndarray, engine: ScriptedEngine, language: str | None = "en") -> TranscriptionResult:
    options = TranscriptionOptions(model="scripted", language=language, model_store=Path("/nowhere"))
    return transcribe(samples, options, on_progress=lambda _: None, check=lambda: None, engine=engine)


@pytest.fixture(scope="session")
def speech(sample_wav: Path) -> np.ndarray:
    with wave.open(str(sample_wav)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def reasons(result: TranscriptionResult) -> set[WarningReason]:
    return {warning.reason for warning in result.warnings}


def words_of(result: TranscriptionResult) -> int:
    return sum(len(segment.words) for segment in result.segments)


def test_s16_a_script_that_a_model_cannot_be_asked_for_is_named(speech):
    assert WarningReason.LANGUAGE_UNCERTAIN in reasons(run(speech, ScriptedEngine(), "ko-Latn"))
    assert WarningReason.LANGUAGE_UNCERTAIN not in reasons(run(speech, ScriptedEngine(), "ko-Kore-KR"))


def test_a_decoder_that_stops_early_in_its_window_loses_nothing(speech):
    whole = run(speech, ScriptedEngine())
    engine = ScriptedEngine(stops_after=3.0)
    again = run(speech, engine)
    assert any(profile is DecodeProfile.BEAM for _, profile in engine.decoded)
    assert words_of(again) > words_of(run(speech, ScriptedEngine(stops_after=3.0, deaf_beyond=0.0)))
    assert whole.warnings == ()


def test_speech_that_stays_without_text_is_named_with_its_time(speech):
    result = run(speech, ScriptedEngine(stops_after=3.0, deaf_beyond=0.0))
    assert reasons(result) == {WarningReason.SPEECH_NOT_DECODED}
    for warning in result.warnings:
        assert warning.start is not None
        assert warning.end is not None
        assert 0 <= warning.start < warning.end <= 30
        assert f"{warning.start:.1f}" in warning.message


def test_a_language_that_was_guessed_says_so(speech):
    assert reasons(run(speech, ScriptedEngine(heard=0.55), None)) == {WarningReason.LANGUAGE_UNCERTAIN}
    assert reasons(run(speech, ScriptedEngine(heard=0.55), "en")) == set()


def test_text_that_the_recognizer_doubts_says_so(speech):
    assert reasons(run(speech, ScriptedEngine(confidence=0.4))) == {WarningReason.LOW_CONFIDENCE}


def test_audio_without_speech_says_so():
    noise = np.random.default_rng(1).normal(0, 0.01, 5 * SAMPLE_RATE).astype(np.float32)
    result = run(noise, ScriptedEngine())
    assert (result.segments, reasons(result)) == ((), {WarningReason.NO_SPEECH})


def test_decoding_is_reported_before_its_first_batch_ends(speech):
    reports: list[str] = []

    class Reporting(ScriptedEngine):
        def decode(self, windows, language, profile=DecodeProfile.BEAM_WITH_FALLBACK):
            reports.append("batch")
            return super().decode(windows, language, profile)

    options = TranscriptionOptions(model="scripted", language="en", model_store=Path("/nowhere"))
    transcribe(
        speech,
        options,
        on_progress=lambda update: reports.append(update.stage.value),
        check=lambda: None,
        engine=Reporting(),
    )
    assert reports.index("Decoding") < reports.index("batch")
