"""Languages as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.documents.warnings import WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.stt.languages import (
    describe_ignored,
    language_tag,
    match_language,
    require_translation,
    whisper_code,
)

KNOWN = frozenset({"en", "ko", "zh", "jv", "no", "he", "id", "tl", "ja", "pt", "de", "fa", "ro", "yi", "nn"})


@pytest.mark.parametrize(
    ("given_tag", "meant"),
    [
        ("jv", "jv"), ("jw", "jv"), ("jav", "jv"), ("ko-KR", "ko"), ("KO", "ko"), ("zh-CN", "zh"), ("zh_Hant_TW", "zh"),
        ("nb", "no"), ("nb-NO", "no"), ("iw", "he"), ("in", "id"), ("fil", "tl"), ("jp", "ja"), ("cmn-Hans-CN", "zh"),
        ("pt-BR", "pt"),
        ("deu", "de"), ("yue", "zh"), ("zh-yue", "zh"), (" en ", "en"), ("mo", "ro"), ("prs", "fa"),
        ("xx", None), ("", None), ("auto", None), ("korean", None),
    ],
)  # fmt: skip
def test_s16_a_tag_is_matched_by_its_language(given_tag, meant):
    assert match_language(given_tag, KNOWN) == meant


@pytest.mark.parametrize(
    ("given_tag", "meant"),
    [("zh-Hant", "zh"), ("zh_Hans_CN", "zh"), ("sr-Latn", "sr"), ("ja-Latn", "ja"), ("en-Cyrl", "en"), ("yue", "zh"),
     ("zh-yue", "zh"), ("de-Latf", "de")],
)  # fmt: skip
def test_s16_what_a_model_cannot_be_asked_for_is_named(given_tag, meant):
    [warning] = describe_ignored([given_tag, "en"], KNOWN | {"sr"})
    assert warning.reason is WarningReason.LANGUAGE_UNCERTAIN
    assert warning.message.startswith(f"{given_tag} was transcribed as {meant}")


@pytest.mark.parametrize(
    "given_tag", ["zh", "zh-TW", "ko-Kore-KR", "ja-Jpan", "en-Latn", "de-1996", "pt-BR", "auto", "xx-Cyrl", "nb-NO"]
)
def test_s16_a_tag_that_says_no_more_is_not_named(given_tag):
    assert describe_ignored([given_tag], KNOWN) == []


def test_a_model_that_knows_cantonese_is_asked_for_it():
    assert describe_ignored(["yue", "zh-yue"], KNOWN | {"yue"}) == []


def test_s16_codes_that_only_whisper_has_stay_inside():
    assert (whisper_code("jv"), language_tag("jw")) == ("jw", "jv")
    assert (whisper_code("ko"), language_tag("ko")) == ("ko", "ko")


@given(st.text(max_size=12))
def test_any_text_is_a_known_language_or_none(text):
    assert match_language(text, KNOWN) in {*KNOWN, None}


@pytest.mark.parametrize("model", ["turbo", "large-v3-turbo", "Systran/faster-distil-whisper-large-v3", "small.en"])
def test_models_that_do_not_translate_are_refused_before_they_are_loaded(model):
    with pytest.raises(WorkError, match="does not translate") as error:
        require_translation(model)
    assert error.value.reason is FailureReason.INVALID_SPEC


def test_an_english_model_by_any_name_does_not_translate():
    require_translation("own-model", frozenset({"en", "ko"}))
    with pytest.raises(WorkError, match="does not translate"):
        require_translation("own-model", frozenset({"en"}))
