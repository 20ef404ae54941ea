from __future__ import annotations

from steno_runtime.stream.language import MOST_TRIES, LanguageChoice

KNOWN = frozenset({"en", "ko"})


def test_what_is_told_is_kept():
    choice = LanguageChoice("ko", KNOWN)
    choice.hear({"en": 1.0}, 10)
    assert choice.settled
    assert choice.language == "ko"


def test_a_model_of_one_language_needs_not_ask():
    assert LanguageChoice("auto", frozenset({"en"})).language == "en"


def test_a_sure_answer_is_kept():
    choice = LanguageChoice("auto", KNOWN)
    assert choice.language is None
    choice.hear({"en": 0.7, "ko": 0.3}, 2)
    choice.hear({"en": 0.1, "ko": 0.9}, 2)
    assert choice.language == "en"
    assert choice.settled


def test_an_unsure_answer_or_little_audio_is_asked_again():
    choice = LanguageChoice("auto", KNOWN)
    choice.hear({"en": 0.5, "ko": 0.4}, 2)
    choice.hear({"ko": 0.9}, 0.4)
    assert choice.language == "ko"
    assert not choice.settled
    choice.hear({"ko": 0.9}, 2)
    assert choice.settled


def test_after_many_tries_the_likeliest_of_all_is_kept():
    choice = LanguageChoice("auto", KNOWN)
    for _ in range(MOST_TRIES - 1):
        choice.hear({"en": 0.5, "ko": 0.3}, 2)
    choice.hear({"en": 0.3, "ko": 0.5}, 2)
    assert choice.settled
    assert choice.language == "en"
