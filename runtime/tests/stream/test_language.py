from __future__ import annotations

from steno_runtime.stream.language import MAX_DETECTIONS, LanguageChoice

KNOWN = frozenset({"en", "ko"})


def test_a_requested_language_is_kept():
    choice = LanguageChoice("ko", KNOWN)
    choice.add_detection({"en": 1.0}, 10)
    assert choice.decided
    assert choice.language == "ko"


def test_a_model_of_one_language_needs_no_detection():
    assert LanguageChoice("auto", frozenset({"en"})).language == "en"


def test_a_confident_detection_is_kept():
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
