"""S17: the language changes after a pause that is too short to end a chunk."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.documents.warnings import WarningReason
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt import pipeline
from steno_runtime.stt.chunks import Chunk, Span, pack
from steno_runtime.stt.engine import AutoLanguage, Decoded, DecodeProfile, TimedWord, likeliest
from steno_runtime.stt.language_changes import CLEAR_SECONDS, LanguageEvidence, describe_languages, spoken_languages
from steno_runtime.stt.mixed_languages import halve, suspects
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import TranscriptionResult, transcribe

LEVELS = {"en": 0.2, "ko": 0.5, "ja": 0.9}


class LevelEngine:
    """Hears the languages that the levels of a window stand for, by their share; says a word a second."""

    device, workers, batch_size = "cpu", 2, 4
    languages = frozenset(LEVELS)

    def __init__(self) -> None:
        self.detected: list[float] = []
        self.decoded: list[tuple[str, float]] = []

    def hear(self, window: np.ndarray) -> dict[str, float]:
        counts = {name: float(np.isclose(window, level).sum()) + 1 for name, level in LEVELS.items()}
        return {name: count / sum(counts.values()) for name, count in counts.items()}

    def detect_languages(self, windows):
        self.detected += [len(window) / SAMPLE_RATE for window in windows]
        return [self.hear(window) for window in windows]

    def decode(self, windows, language, profile=DecodeProfile.BEAM_WITH_FALLBACK):  # noqa: ARG002 - the interface
        return [self.decode_one(window, language) for window in windows]

    def decode_one(self, window, language):
        seconds = len(window) / SAMPLE_RATE
        evidence = self.hear(window) if isinstance(language, AutoLanguage) else {}
        chosen = language if isinstance(language, str) else likeliest(language.among(evidence))
        self.decoded.append((chosen, round(seconds, 1)))
        words = tuple(TimedWord(chosen, at, at + 0.9, 0.9) for at in np.arange(0, seconds - 0.9, 1.0).tolist())
        return Decoded(" ".join(word.text for word in words), words, -0.2, 0.1, chosen, evidence)


def run(
    monkeypatch, pieces: list[tuple[str, float]], pause: float = 0.3, **options: object
) -> tuple[TranscriptionResult, LevelEngine]:
    """Transcribe pieces of speech (each a language and its seconds) with a pause between them.

    A language such as `en+0.3ko` is one in which that share is in another, without a pause.
    """
    samples: list[np.ndarray] = []
    speech: list[Span] = []
    position = 0
    for language, seconds in pieces:
        length = int(seconds * SAMPLE_RATE)
        spoken = np.full(length, LEVELS[language[:2]], np.float32)
        if "+" in language:
            spoken[: int(float(language[3:-2]) * length)] = LEVELS[language[-2:]]
        samples += [spoken, np.zeros(int(pause * SAMPLE_RATE), np.float32)]
        speech.append(Span(position, position + length))
        position += length + int(pause * SAMPLE_RATE)
    monkeypatch.setattr(pipeline.vad, "detect_speech", lambda *_: speech)
    settings = TranscriptionOptions(model="scripted", model_store=Path("/nowhere"), **options)
    engine = LevelEngine()
    result = transcribe(
        np.concatenate(samples), settings, on_progress=lambda _: None, check=lambda: None, engine=engine
    )
    return result, engine


def words_by_time(result: TranscriptionResult) -> list[str]:
    """Return the language of each word; each says what it was decoded in."""
    words = [word for segment in result.segments for word in segment.words]
    assert all(word.word.strip() == segment.language for segment in result.segments for word in segment.words)
    return [word.word.strip() for word in sorted(words, key=lambda word: word.start)]


def test_s17_two_languages_in_one_chunk_are_decoded_apart(monkeypatch):
    result, engine = run(monkeypatch, [("en", 5), ("ko", 6)])
    assert words_by_time(result) == ["en"] * 5 + ["ko"] * 6
    assert [segment.language for segment in result.segments] == ["en", "ko"]
    assert result.segments[1].start == pytest.approx(5.3, abs=0.2)
    assert result.language == "ko"
    assert result.warnings == ()
    assert sorted(language for language, _ in engine.decoded) == ["en", "ko", "ko"]


def test_s17_three_languages_and_pauses_within_them(monkeypatch):
    result, _ = run(monkeypatch, [("en", 2), ("en", 3), ("ko", 5.2), ("ja", 3), ("ja", 2.2)], pause=0.25)
    assert list(dict.fromkeys(words_by_time(result))) == ["en", "ko", "ja"]


def test_s17_the_change_is_looked_for_where_neighbours_differ(monkeypatch):
    # 13 of 14 seconds are English: its probability is clear, but the next chunk is Korean.
    result, _ = run(monkeypatch, [("en", 6.6), ("en", 6.6), ("ko", 16.5)])
    assert words_by_time(result)[-16:] == ["ko"] * 16


def test_one_language_is_decoded_once_and_nothing_is_detected_on_its_own(monkeypatch):
    _, engine = run(monkeypatch, [("en", 4)] * 12)
    assert engine.detected == []
    assert sum(seconds for _, seconds in engine.decoded) == pytest.approx(12 * 4.3, abs=3)


def test_s17_a_short_clear_part_is_a_change_there_and_back(monkeypatch):
    result, engine = run(monkeypatch, [("en", 6), ("ko", 2.2), ("en", 6)])
    assert words_by_time(result) == ["en"] * 6 + ["ko"] * 2 + ["en"] * 6
    assert sorted(language for language, _ in engine.decoded) == ["en", "en", "en", "ko"]
    assert result.warnings == ()


def test_a_short_part_that_is_not_clear_enough_keeps_the_language_and_is_named():
    clear, unclear = {"ko": 0.96, "en": 0.03}, {"ko": 0.9, "en": 0.1}
    around = LanguageEvidence(6.0, {"en": 0.99, "ko": 0.01}, is_part=True)
    spans = [Span(0, 6 * SAMPLE_RATE), Span(6 * SAMPLE_RATE, 8 * SAMPLE_RATE), Span(8 * SAMPLE_RATE, 14 * SAMPLE_RATE)]
    for probabilities, named in ((clear, [(6.0, 8.0)]), (unclear, [])):
        evidence = [around, LanguageEvidence(2.1, probabilities, is_part=True), around]
        languages = spoken_languages(evidence)
        assert languages == ["en"] * 3
        warnings = describe_languages(spans, evidence, languages)
        assert [(warning.start, warning.end) for warning in warnings] == named
        assert all(warning.reason is WarningReason.LANGUAGE_UNCERTAIN for warning in warnings)


@pytest.mark.parametrize(("share", "named"), [(0.02, False), (0.3, True), (0.5, True)])
def test_s17_two_languages_that_no_pause_parts_are_named(monkeypatch, share, named):
    result, engine = run(monkeypatch, [(f"en+{share}ko", 12)])
    assert len(engine.decoded) == 1
    assert [warning.reason for warning in result.warnings] == [WarningReason.LANGUAGE_UNCERTAIN] * named


def test_a_few_foreign_words_do_not_divide_a_chunk(monkeypatch):
    result, engine = run(monkeypatch, [("en", 6), ("ko", 1.6), ("en", 6)])
    assert set(words_by_time(result)) == {"en"}
    assert len(engine.decoded) == 1


def test_a_language_that_is_given_is_not_doubted(monkeypatch):
    result, engine = run(monkeypatch, [("en", 5), ("ko", 6)], language="en")
    assert set(words_by_time(result)) == {"en"}
    assert engine.detected == []


def test_only_what_is_allowed_divides_a_chunk(monkeypatch):
    result, _ = run(monkeypatch, [("en", 5), ("ko", 6)], languages=("en", "ja"))
    assert set(words_by_time(result)) == {"en"}


def test_what_is_clear_is_not_divided_further(monkeypatch):
    _, engine = run(monkeypatch, [("en", 3), ("en", 3), ("en", 3), ("en", 3), ("ko", 3), ("ko", 3)])
    assert 2 <= len(engine.detected) <= 6
    assert max(engine.detected) > 6


def test_a_part_in_none_of_the_allowed_languages_is_not_clear():
    assert LanguageEvidence(3.0, {"en": 0.02, "ja": 0.98}, is_part=True).is_clear
    assert not LanguageEvidence(3.0, {"en": 0.02, "ja": 0.98}, foreign=0.9, is_part=True).is_clear
    assert not LanguageEvidence(3.0, {"en": 0.02, "ja": 0.98}).is_clear


def test_unclear_chunks_are_suspects_if_they_are_long_enough():
    clear, unclear = LanguageEvidence(12.0, {"en": 0.99, "ko": 0.01}), LanguageEvidence(12.0, {"en": 0.7, "ko": 0.3})
    short = LanguageEvidence(2 * CLEAR_SECONDS - 0.1, {"en": 0.5, "ko": 0.5})
    korean = LanguageEvidence(12.0, {"en": 0.02, "ko": 0.98})
    assert suspects([clear, clear, short]) == []
    assert suspects([clear, unclear, clear]) == [1]
    assert suspects([clear, clear, korean, korean]) == [1, 2]


def divide(chunk: Chunk) -> list[Chunk]:
    halves = halve(chunk)
    return [part for half in halves for part in divide(half)] if halves else [chunk]


@given(st.lists(st.tuples(st.floats(0.1, 2), st.floats(0.1, 6)), min_size=1, max_size=12))
def test_parts_keep_all_speech_in_order_and_do_not_overlap(pieces):
    speech: list[Span] = []
    position = 0.0
    for pause, length in pieces:
        speech.append(Span(int((position + pause) * SAMPLE_RATE), int((position + pause + length) * SAMPLE_RATE)))
        position += pause + length
    (chunk, *_) = pack(speech, int((position + 1) * SAMPLE_RATE))
    parts = divide(chunk)
    assert [span for part in parts for span in part.speech] == list(chunk.speech)
    assert (parts[0].start, parts[-1].end) == (chunk.start, chunk.end)
    assert all(one.end <= other.start for one, other in pairwise(parts))
    assert all(part.start <= part.speech[0].start and part.speech[-1].end <= part.end for part in parts)
    if len(parts) > 1:
        assert all(part.speech_seconds >= CLEAR_SECONDS for part in parts)
