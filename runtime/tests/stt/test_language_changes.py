"""S17: the language changes within a recording: each chunk has the one that is likeliest beside its neighbours."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.documents.warnings import WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt import pipeline
from steno_runtime.stt.chunks import Span
from steno_runtime.stt.engine import AutoLanguage, Decoded, DecodeProfile, TimedWord, likeliest
from steno_runtime.stt.language_changes import LanguageEvidence, describe_languages, main_language, spoken_languages
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import TranscriptionResult, transcribe


def evidence(language: str, seconds: float = 15.0, probability: float = 0.98, other: str = "nn") -> LanguageEvidence:
    return LanguageEvidence(seconds, {language: probability, other: 1 - probability})


def spans(count: int) -> list[Span]:
    return [Span(20 * SAMPLE_RATE * index, 20 * SAMPLE_RATE * index + 15 * SAMPLE_RATE) for index in range(count)]


def test_s17_a_meeting_that_goes_on_in_another_language():
    chunks = [evidence("en")] * 3 + [evidence("ko")] * 8
    languages = spoken_languages(chunks)
    assert languages == ["en"] * 3 + ["ko"] * 8
    assert main_language(chunks, languages) == "ko"


def test_s17_a_clear_chunk_among_others_is_a_change_there_and_back():
    sure = evidence("ko", probability=0.9999, other="en")
    assert spoken_languages([evidence("en"), sure, evidence("en")]) == ["en", "ko", "en"]


def test_s17_an_unclear_chunk_is_none_but_two_of_them_are():
    unclear = LanguageEvidence(15.0, {"ko": 0.8, "en": 0.02})
    english = evidence("en", other="ko")
    assert spoken_languages([english, unclear, english]) == ["en", "en", "en"]
    assert spoken_languages([english, unclear, unclear, english]) == ["en", "ko", "ko", "en"]


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 2.4])
def test_s17_short_speech_keeps_the_language_around_it(seconds):
    short = evidence("cy", seconds, 0.9999)
    assert spoken_languages([short, evidence("en"), short, short, evidence("en"), short]) == ["en"] * 6


def test_s17_noise_in_front_has_no_say():
    noise = LanguageEvidence(0.0, {"la": 0.6, "ko": 0.1})
    assert spoken_languages([noise, noise, evidence("ko")]) == ["ko"] * 3
    assert main_language([noise, evidence("ko")], ["la", "ko"]) == "ko"


def test_one_short_utterance_alone_is_in_its_own_language():
    assert spoken_languages([evidence("ko", 0.8)]) == ["ko"]


chunk = st.builds(
    lambda seconds, weights: LanguageEvidence(
        seconds, {name: weight / sum(weights) for name, weight in zip("abc", weights, strict=True)}
    ),
    st.floats(0, 17),
    st.tuples(*[st.floats(0.001, 1)] * 3),
)


@given(st.lists(chunk, min_size=1, max_size=8))
def test_no_sequence_of_languages_explains_the_chunks_better(chunks):
    from itertools import pairwise, product

    from steno_runtime.stt import language_changes as module

    def score(languages):
        changes = sum(one != two for one, two in pairwise(languages))
        evidence = sum(module._support(chunk, one) for chunk, one in zip(chunks, languages, strict=True))
        return evidence - module.CHANGE_COST * changes

    found = spoken_languages(chunks)
    assert len(found) == len(chunks)
    if len(chunks) <= 5:
        assert score(found) >= max(score(one) for one in product("abc", repeat=len(chunks))) - 1e-9


@given(st.sampled_from(["en", "ko"]), st.lists(st.floats(2.5, 17), min_size=1, max_size=40), st.data())
def test_one_language_stays_one_whatever_few_chunks_are_taken_for(language, lengths, data):
    chunks = [evidence(language, seconds) for seconds in lengths]
    languages = spoken_languages(chunks)
    assert set(languages) == {language}
    if len(chunks) >= 3:
        at = data.draw(st.integers(1, len(chunks) - 2))
        mistaken = LanguageEvidence(lengths[at], {"xx": 0.8, language: 0.15})
        assert set(spoken_languages([*chunks[:at], mistaken, *chunks[at + 1 :]])) == {language}


def test_a_doubt_that_was_not_followed_says_where():
    chunks = [evidence("en"), LanguageEvidence(15.0, {"de": 0.8, "en": 0.1}), evidence("en")]
    languages = spoken_languages(chunks)
    assert languages == ["en"] * 3
    (warning,) = describe_languages(spans(3), chunks, languages)
    assert (warning.reason, warning.start, warning.end) == (WarningReason.LANGUAGE_UNCERTAIN, 20.0, 35.0)


def test_speech_in_none_of_the_languages_that_are_allowed_says_so():
    chunks = [LanguageEvidence(15.0, {"en": 0.9, "de": 0.1}, foreign=0.95)]
    (warning,) = describe_languages(spans(1), chunks, ["en"])
    assert warning.reason is WarningReason.LANGUAGE_UNCERTAIN
    assert describe_languages(spans(1), [dataclasses.replace(chunks[0], foreign=0.1)], ["en"]) == []


class ScriptedEngine:
    """Hears in each window the language that its level stands for, and says one word a second in it."""

    device, workers, batch_size = "cpu", 2, 4
    languages = frozenset({"en", "ko", "ja"})

    def __init__(self, probability: float = 0.99) -> None:
        self.probability = probability
        self.decoded: list[tuple[str, float]] = []

    def detect_languages(self, windows):
        raise AssertionError(windows)  # nothing is encoded only to detect its language

    def decode(self, windows, language, profile=DecodeProfile.BEAM_WITH_FALLBACK):  # noqa: ARG002 - the interface
        return [self.decode_one(window, language) for window in windows]

    def decode_one(self, window, language):
        seconds = len(window) / SAMPLE_RATE
        spoken = "ko" if float(np.abs(window).max()) > LOUD else "en"
        other = "ko" if spoken == "en" else "en"
        evidence = {spoken: self.probability, other: 1 - self.probability} if isinstance(language, AutoLanguage) else {}
        chosen = language if isinstance(language, str) else language.choose(evidence, seconds)
        self.decoded.append((chosen, seconds))
        words = tuple(TimedWord(chosen, at, at + 0.9, 0.9) for at in np.arange(0, seconds - 0.9, 1.0).tolist())
        return Decoded(" ".join(word.text for word in words), words, -0.2, 0.1, chosen, evidence)


LOUD = 0.5


def run(monkeypatch, pieces: list[tuple[str, float]], engine: ScriptedEngine, **options: object) -> TranscriptionResult:
    """Transcribe speech (each piece a language and its seconds; "": silence) with two seconds between the pieces."""
    samples: list[np.ndarray] = []
    speech: list[Span] = []
    position = 0
    for language, seconds in pieces:
        length = int(seconds * SAMPLE_RATE)
        level = {"ko": 0.9, "en": 0.2, "": 0.0}[language]
        samples += [np.full(length, level, np.float32), np.zeros(2 * SAMPLE_RATE, np.float32)]
        if language:
            speech += [
                Span(at, min(at + 15 * SAMPLE_RATE, position + length))
                for at in range(position, position + length, 15 * SAMPLE_RATE)
            ]
        position += length + 2 * SAMPLE_RATE
    monkeypatch.setattr(pipeline.vad, "detect_speech", lambda *_: speech)
    settings = TranscriptionOptions(model="scripted", model_store=Path("/nowhere"), **options)
    return transcribe(np.concatenate(samples), settings, on_progress=lambda _: None, check=lambda: None, engine=engine)


@pytest.mark.parametrize("front", [0.0, 40.0])
def test_s17_every_segment_has_its_language_and_the_document_that_of_most_speech(monkeypatch, front):
    result = run(monkeypatch, [("", front), ("en", 45), ("ko", 120)], ScriptedEngine())
    change = front + (2 if front else 0) + 2 + 45
    assert result.language == "ko"
    assert {segment.language for segment in result.segments if segment.start < change - 1} == {"en"}
    assert {segment.language for segment in result.segments if segment.start > change - 1} == {"ko"}
    assert all(set(segment.text.split()) == {segment.language} for segment in result.segments)
    assert result.warnings == ()


def test_s17_audio_of_one_language_is_decoded_once(monkeypatch):
    engine = ScriptedEngine()
    result = run(monkeypatch, [("en", 150)], engine)
    assert result.language == "en"
    assert len(engine.decoded) == 10
    assert sum(seconds for _, seconds in engine.decoded) == pytest.approx(150, abs=3)


def test_s17_a_short_answer_is_decoded_in_the_language_of_the_conversation(monkeypatch):
    engine = ScriptedEngine()
    result = run(monkeypatch, [("en", 30), ("", 1), ("ko", 1.8), ("", 1), ("en", 30)], engine)
    assert {segment.language for segment in result.segments} == {"en"}
    assert [language for language, seconds in engine.decoded if seconds < 3] == ["ko", "en"]


def test_a_language_that_was_given_is_not_doubted(monkeypatch):
    engine = ScriptedEngine()
    result = run(monkeypatch, [("en", 30), ("ko", 30)], engine, language="en")
    assert {segment.language for segment in result.segments} == {"en"}
    assert result.warnings == ()


@given(
    st.dictionaries(st.sampled_from(["en", "ko", "ja", "nn"]), st.floats(0, 1), min_size=1),
    st.sampled_from(["", "en", "ko"]),
    st.frozensets(st.sampled_from(["en", "ko"])),
    st.floats(0.1, 20),
)
def test_a_window_is_decoded_in_an_allowed_language(probabilities, expected, allowed, seconds):
    auto = AutoLanguage(expected, allowed)
    chosen = auto.choose(probabilities, seconds)
    assert chosen == expected or chosen in (allowed or probabilities)
    assert sum(auto.among(probabilities).values()) == pytest.approx(1) or not allowed
    if not expected:
        assert chosen == likeliest(auto.among(probabilities))


def test_detection_is_restricted_to_the_languages_that_are_given(monkeypatch):
    engine = ScriptedEngine()
    result = run(monkeypatch, [("ko", 20)], engine, languages=("en-GB", "ja"))
    assert {language for language, _ in engine.decoded} <= {"en", "ja"}
    assert [warning.reason for warning in result.warnings] == [WarningReason.LANGUAGE_UNCERTAIN]
    assert "languages" in result.warnings[0].message
    assert run(monkeypatch, [("ko", 20)], ScriptedEngine(), languages=("en", "ko")).language == "ko"


def test_one_language_that_may_be_detected_is_not_detected(monkeypatch):
    engine = ScriptedEngine()
    assert run(monkeypatch, [("en", 20)], engine, languages=("ko",)).language == "ko"
    assert {language for language, _ in engine.decoded} == {"ko"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": ("en", "xx")}, "does not know the language 'xx'"),
        ({"language": "en", "languages": ("en", "ko")}, "languages restricts what is detected"),
    ],
)
def test_languages_that_cannot_be_are_refused_before_anything_is_decoded(monkeypatch, options, message):
    engine = ScriptedEngine()
    with pytest.raises(WorkError, match=message) as caught:
        run(monkeypatch, [("en", 20)], engine, **options)
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert engine.decoded == []
