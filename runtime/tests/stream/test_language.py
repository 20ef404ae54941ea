from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.stream.language import MAX_DETECTIONS, LanguageChoice
from steno_runtime.stt.engine import AutoLanguage

KNOWN = frozenset({"en", "ko"})


def test_a_requested_language_is_kept():
    choice = LanguageChoice("ko", KNOWN)
    choice.add_detection({"en": 1.0}, 10)
    assert choice.decided
    assert choice.language == "ko"


def test_a_model_of_one_language_needs_no_detection():
    assert LanguageChoice("auto", frozenset({"en"})).language == "en"


def test_a_confident_detection_begins_the_session():
    choice = LanguageChoice("auto", KNOWN)
    assert choice.language is None
    choice.add_detection({"en": 0.7, "ko": 0.3}, 2)
    choice.add_detection({"en": 0.1, "ko": 0.9}, 2)
    assert choice.language == "en"
    assert choice.decided


def test_an_unsure_detection_or_little_audio_is_repeated():
    choice = LanguageChoice("auto", KNOWN)
    choice.add_detection({"en": 0.5, "ko": 0.4}, 2)
    choice.add_detection({"ko": 0.9}, 0.4)
    assert choice.language == "ko"
    assert not choice.decided
    choice.add_detection({"ko": 0.9}, 2)
    assert choice.decided


def test_after_many_detections_the_likeliest_of_all_is_kept():
    choice = LanguageChoice("auto", KNOWN)
    for _ in range(MAX_DETECTIONS - 1):
        choice.add_detection({"en": 0.5, "ko": 0.3}, 2)
    choice.add_detection({"en": 0.3, "ko": 0.5}, 2)
    assert choice.decided
    assert choice.language == "en"


def session(language: str = "en") -> LanguageChoice:
    choice = LanguageChoice("auto", KNOWN)
    choice.add_detection({language: 0.95}, 2)
    return choice


KOREAN, MAYBE_KOREAN = {"ko": 0.97, "en": 0.01}, {"ko": 0.7, "en": 0.2}


def test_s17_a_clear_utterance_changes_the_language():
    choice = session()
    assert choice.follow({"en": 0.9}, 4) == "en"
    assert choice.follow(KOREAN, 4) == "ko"
    assert choice.to_decode == AutoLanguage("ko")
    assert choice.follow({"ko": 0.6}, 1) == "ko"


def test_s17_an_unclear_one_does_so_the_second_time():
    choice = session()
    assert [choice.follow(MAYBE_KOREAN, 4), choice.follow(MAYBE_KOREAN, 4)] == ["en", "ko"]
    choice = session()
    assert [choice.follow(heard, 4) for heard in (MAYBE_KOREAN, {"en": 0.8}, MAYBE_KOREAN)] == ["en"] * 3


@pytest.mark.parametrize("seconds", [0.4, 1.0, 1.9])
def test_s17_short_utterances_keep_the_language(seconds):
    choice = session()
    assert {choice.follow(KOREAN, seconds) for _ in range(5)} == {"en"}


def test_s17_an_unfinished_utterance_is_in_doubt_before_it_is_in_another_language():
    choice = session()
    assert choice.hear(KOREAN, 1.5) == "en"
    assert choice.hear(KOREAN, 2.2) is None
    assert choice.hear(KOREAN, 5.0) == "ko"
    assert choice.hear({"en": 0.5, "ko": 0.45}, 5.0) == "en"
    assert choice.language == "en"  # only a final decides


def test_the_main_language_is_that_of_most_speech():
    choice = session()
    for heard, seconds in (({"en": 0.9}, 5), (KOREAN, 8), ({"ko": 0.4}, 8)):
        choice.follow(heard, seconds)
    assert (choice.main_language, choice.main_confidence) == ("ko", pytest.approx((0.97 + 0.4) / 2))
    assert LanguageChoice("ko", KNOWN).main_confidence == 1


def test_only_the_languages_that_are_allowed_are_detected():
    choice = LanguageChoice("auto", frozenset({"en", "ko", "ja"}), ["en", "ko"])
    choice.add_detection({"ja": 0.9, "ko": 0.06, "en": 0.01}, 2)
    assert (choice.language, choice.decided) == ("ko", True)
    assert choice.follow({"ja": 0.9, "en": 0.09}, 5) == "en"
    assert LanguageChoice("auto", frozenset({"en", "ko", "ja"}), ["ko"]).language == "ko"


@given(
    st.lists(st.tuples(st.sampled_from([KOREAN, MAYBE_KOREAN, {"en": 1.0}, {}]), st.floats(0.1, 17)), max_size=20),
    st.sampled_from(["en", "auto"]),
)
def test_a_requested_language_never_changes_and_another_one_only_to_what_is_heard(utterances, language):
    choice = session() if language == "auto" else LanguageChoice("en", KNOWN)
    for heard, seconds in utterances:
        before = choice.language
        after = choice.follow(heard, seconds)
        assert after == choice.language
        if after != before:
            assert language == "auto"
            assert seconds >= 2
            assert heard[after] >= 0.6
