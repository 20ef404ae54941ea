"""Music and noise that voice activity detection hardly takes for speech cost one pass, and speech loses nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.documents.warnings import WarningReason
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt import pipeline
from steno_runtime.stt.chunks import DOUBTFUL_PROBABILITY, VAD_FRAME, Chunk, Span, speech_spans
from steno_runtime.stt.ctranslate import CTranslateEngine
from steno_runtime.stt.engine import Decoded, DecodeProfile, TimedWord, hallucinated
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import TranscriptionResult, transcribe


def span(start: float, end: float, probability: float) -> Span:
    return Span(int(start * SAMPLE_RATE), int(end * SAMPLE_RATE), probability=probability)


class ScriptedEngine:
    """Says one text in each window, as sure of it as it is told."""

    device, workers, batch_size, languages = "cpu", 1, 4, frozenset({"en", "ko"})

    def __init__(self, text: str = "a guess", avg_logprob: float = -1.5) -> None:
        self.text, self.avg_logprob = text, avg_logprob
        self.profiles: list[DecodeProfile] = []

    def detect_languages(self, windows):
        raise AssertionError(windows)

    def decode(self, windows, language, profile=DecodeProfile.BEAM_WITH_FALLBACK):
        self.profiles += [profile] * len(windows)
        heard = {} if isinstance(language, str) else {"en": 0.95, "ko": 0.05}
        return [
            Decoded(
                self.text,
                tuple(TimedWord(one, 0.1, len(window) / SAMPLE_RATE - 0.1, 0.8) for one in self.text.split()[:1]),
                self.avg_logprob,
                0.3,
                "en",
                heard,
            )
            for window in windows
        ]


def run(
    monkeypatch, spans: list[Span], engine: ScriptedEngine, language: str | None = None
) -> tuple[TranscriptionResult, list[WarningReason]]:
    monkeypatch.setattr(pipeline.vad, "detect_speech", lambda *_: spans)
    options = TranscriptionOptions(model="scripted", model_store=Path("/nowhere"), language=language)
    samples = np.zeros(60 * SAMPLE_RATE, np.float32)
    result = transcribe(samples, options, on_progress=lambda _: None, check=lambda: None, engine=engine)
    return result, [warning.reason for warning in result.warnings]


@pytest.mark.parametrize("language", [None, "en"])
@pytest.mark.parametrize("seconds", [0.4, 8.0])
def test_music_is_decoded_once_and_its_guess_is_named(monkeypatch, language, seconds):
    engine = ScriptedEngine()
    result, reasons = run(monkeypatch, [span(10, 10 + seconds, 0.55)], engine, language)
    assert engine.profiles == [DecodeProfile.BEAM_ONCE]
    assert result.segments == ()
    assert WarningReason.TEXT_DROPPED in reasons


def test_what_is_long_and_has_no_text_is_named_without_a_second_attempt(monkeypatch):
    engine = ScriptedEngine(text="")
    result, reasons = run(monkeypatch, [span(10, 18, 0.55)], engine, "en")
    assert engine.profiles == [DecodeProfile.BEAM_ONCE]
    assert (result.segments, reasons) == ((), [WarningReason.SPEECH_NOT_DECODED])


def test_what_is_short_and_has_no_text_is_no_speech(monkeypatch):
    _, reasons = run(monkeypatch, [span(10, 10.4, 0.55)], ScriptedEngine(text=""), "en")
    assert reasons == [WarningReason.NO_SPEECH]


def test_doubtful_speech_whose_text_passes_the_checks_stays(monkeypatch):
    result, reasons = run(monkeypatch, [span(10, 18, 0.55)], ScriptedEngine("it is said", -0.3), "en")
    assert [segment.text for segment in result.segments] == ["it"]
    assert reasons == []


def test_clear_speech_is_worth_every_effort(monkeypatch):
    engine = ScriptedEngine()
    result, _ = run(monkeypatch, [span(10, 18, 0.95), span(30, 30.5, 0.55)], engine, "en")
    assert sorted(engine.profiles) == [DecodeProfile.BEAM_ONCE, DecodeProfile.BEAM_WITH_FALLBACK]
    assert len(result.segments) == 1


def test_the_doubt_is_that_of_all_speech_in_a_chunk():
    whisper, shout = span(0, 6, DOUBTFUL_PROBABILITY - 0.05), span(7, 9, 0.99)
    assert Chunk(0, 10 * SAMPLE_RATE, (whisper,)).is_doubtful
    assert not Chunk(0, 10 * SAMPLE_RATE, (whisper, shout)).is_doubtful
    assert not Chunk(0, 10 * SAMPLE_RATE).is_doubtful


def test_short_speech_must_be_clearer():
    assert Chunk(0, 10 * SAMPLE_RATE, (span(0, 1.5, 0.65),)).is_doubtful
    assert not Chunk(0, 10 * SAMPLE_RATE, (span(0, 2.5, 0.65),)).is_doubtful
    assert not Chunk(0, 10 * SAMPLE_RATE, (span(0, 0.4, 0.75),)).is_doubtful


@given(st.lists(st.floats(0, 1), max_size=200))
def test_a_span_is_as_probable_as_its_frames(probabilities):
    for found in speech_spans(probabilities, len(probabilities) * VAD_FRAME):
        frames = probabilities[found.start // VAD_FRAME : found.end // VAD_FRAME]
        assert found.probability == pytest.approx(sum(frames) / len(frames))
        assert found == Span(found.start, found.end)


def test_only_a_doubtful_guess_is_taken_for_invented():
    guess = Decoded("a guess", (), -1.5, 0.3)
    assert hallucinated(guess, 9, 8, doubtful=True)
    assert not hallucinated(guess, 9, 8)
    assert not hallucinated(Decoded("it is said", (), -0.3, 0.9), 9, 8, doubtful=True)


@pytest.mark.parametrize(
    ("profile", "decodes"),
    [
        (DecodeProfile.GREEDY, 1),
        (DecodeProfile.BEAM_ONCE, 1),
        (DecodeProfile.BEAM, 2),
        (DecodeProfile.BEAM_WITH_FALLBACK, 3),
    ],
)
def test_a_text_that_fails_the_checks_is_decoded_as_often_as_it_is_worth(monkeypatch, profile, decodes):
    engine = object.__new__(CTranslateEngine)  # without a model
    seen: list[float] = []

    def decode(windows, *_, **__):
        seen.append(len(windows))
        return [Decoded("a guess", (), -1.5, 0.3, "en") for _ in windows]

    monkeypatch.setattr(engine, "_decode", decode)
    (row,) = engine.decode([np.zeros(SAMPLE_RATE, np.float32)], "en", profile)
    assert row.text == "a guess"
    assert len(seen) == decodes


@pytest.mark.parametrize(
    ("no_speech", "seconds", "dropped"),
    [(0.94, 0.4, True), (0.76, 0.4, False), (0.94, 4.0, False)],
    ids=["a note of jazz", "a word", "a voice that Whisper does not know"],
)
def test_what_whisper_hears_no_speech_in_is_dropped_if_it_is_short(no_speech, seconds, dropped):
    decoded = Decoded("you", (), -0.71, no_speech, "en")
    assert hallucinated(decoded, seconds + 0.3, seconds) is dropped
