"""The text of an utterance, from its stability checks to its final, as a scripted engine decodes it."""

from __future__ import annotations

import pytest

from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stream.endpointing import UtteranceEnded
from steno_runtime.stream.events import Final
from steno_runtime.stream.utterance import Utterance
from steno_runtime.stt.chunks import VAD_FRAME
from steno_runtime.stt.engine import Decoded, TimedWord


def decoded(text: str) -> Decoded:
    words = tuple(TimedWord(word, at * 0.3, at * 0.3 + 0.25, 0.9) for at, word in enumerate(text.split()))
    return Decoded(text, words, -0.2, 0.0)


def final_of(utterance: Utterance, last: Decoded, language: str, seconds: float = 5.0) -> Final:
    frames = int(seconds * SAMPLE_RATE) // VAD_FRAME
    finalized = utterance.finalize(last, UtteranceEnded(0, frames, frames, frames), language)
    assert finalized is not None
    return finalized[0]


@pytest.mark.parametrize(
    ("checks", "last", "text", "language"),
    [
        (
            ("안녕 하세요 여러", "안녕 하세요 여러분"),
            "안녕하세요 여러분 반갑습니다",
            "안녕 하세요 여러분 반갑습니다",
            "ko",
        ),
        (
            ("안녕하세요 여러", "안녕하세요 여러분"),
            "안녕 하세요 여러분 반갑습니다",
            "안녕하세요 여러분 반갑습니다",
            "ko",
        ),
        (("2024 년 매출", "2024 년 매출 은"), "2024년 매출은 늘었습니다", "2024 년 매출은 늘었습니다", "ko"),
        (("twenty five dollar", "twenty five dollars pl"), "25 dollars please", "twenty five dollars please", "en"),
    ],
)
def test_s1_the_final_has_every_word_once(checks, last, text, language):
    utterance = Utterance(0, 0, 0)
    for number, check in enumerate(checks, 1):
        utterance.check_stability(decoded(check), 2 * number * SAMPLE_RATE, language)
    final = final_of(utterance, decoded(last), language)
    assert final.text == text == " ".join(word.word for word in final.words)
    for before, after in zip(final.words, final.words[1:], strict=False):
        assert before.start_ms < before.end_ms <= after.start_ms


def test_s14_stable_words_take_time_though_the_final_is_empty():
    utterance = Utterance(0, 0, 0)
    utterance.check_stability(decoded("hello there my"), 2 * SAMPLE_RATE, "en")
    utterance.check_stability(decoded("hello there my"), 4 * SAMPLE_RATE, "en")
    final = final_of(utterance, decoded(""), "en", seconds=2.0)
    assert final.text == "hello there"
    assert all(word.start_ms < word.end_ms <= 2_000 for word in final.words)
