from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.stream.agreement import Agreement, Token, join_tokens, matched_prefix, normalize, tokenize
from steno_runtime.stt.engine import TimedWord


def after_checks(*texts: str, spaced: bool = True) -> Agreement:
    agreement = Agreement()
    for text in texts:
        agreement = agreement.update(tokenize(text, spaced=spaced))
    return agreement


def timed(text: str) -> list[TimedWord]:
    return [TimedWord(word, index, index + 1, 0.9) for index, word in enumerate(text.split())]


@pytest.mark.parametrize(
    ("texts", "stable"),
    [
        (["hello"], ""),
        (["hello there", "hello there my"], "hello there"),
        (["hello there", "hello there"], "hello"),  # the last word may be half a word
        (["hello there,", "Hello there. My friend"], "Hello there."),
        (["hello where", "hello there my friend", "hello there my friend and"], "hello there my friend"),
        (["a b c d", "a b c d e", "x b c d e f g"], "a b c d e"),
        (["안녕하세요 여러분", "안녕하세요, 여러분 오늘은"], "안녕하세요, 여러분"),
    ],
)
def test_what_two_checks_agree_on_is_stable(texts, stable):
    assert after_checks(*texts).stable_text == stable


def test_characters_are_stable_where_words_are_not_separated():
    agreement = after_checks("今日は", "今日は、いい", spaced=False)
    assert agreement.stable_text == "今日は"
    assert agreement.display_text(tokenize("今日はいい天気", spaced=False)) == "今日はいい天気"


def test_stable_text_is_displayed_literally_before_a_hypothesis_that_differs():
    agreement = after_checks("Hello there, my friend", "Hello there, my friend and")
    assert agreement.stable_text == "Hello there, my friend"
    assert (
        agreement.display_text(tokenize("hello there. My fiend and you", spaced=True))
        == "Hello there, my friend and you"
    )


def test_composed_and_decomposed_letters_are_alike():
    assert normalize("Café,") == normalize("CAFE\u0301")
    assert normalize("...") == "..."


@pytest.mark.parametrize(
    ("committed", "hypothesis", "count"),
    [
        ("", "a b", 0),
        ("a b", "a b c", 2),
        ("a b c", "a x c d", 3),
        ("a b c", "a c d e", 2),
        ("a b", "a x b c", 3),
        ("a b", "", 0),
        ("a b", "a x", 2),
    ],
)
def test_how_much_of_a_hypothesis_is_committed_already(committed, hypothesis, count):
    assert matched_prefix(committed.split(), hypothesis.split()) == count


def test_a_final_that_begins_with_the_stable_text_is_kept_unchanged():
    words = timed("Hello there my friend")
    agreement = after_checks("Hello there my", "Hello there my")
    assert agreement.finalize(words, spaced=True, start=0, end=4) == tuple(words)


def test_a_final_that_differs_keeps_the_stable_words_at_the_times_of_those_replaced():
    agreement = after_checks("Hello there my", "Hello there my")
    finalized = agreement.finalize(timed("hello, hair my friend"), spaced=True, start=0, end=4)
    assert join_tokens(finalized) == "Hello there my friend"
    assert [(word.start, word.end) for word in finalized] == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_stable_text_remains_when_the_final_is_empty():
    finalized = after_checks("Hello there my", "Hello there my").finalize([], spaced=True, start=2, end=4)
    assert join_tokens(finalized) == "Hello there"
    assert (finalized[0].start, finalized[-1].end) == (2, 4)


def test_characters_of_a_final_in_words():
    words = [TimedWord("今日", 0, 1, 0.9, spaced=False), TimedWord("は雨", 1, 2, 0.8, spaced=False)]
    agreement = after_checks("今日わ、い", "今日わ、い", spaced=False)
    assert join_tokens(agreement.finalize(words, spaced=False, start=0, end=2)).startswith(agreement.stable_text)


texts = st.lists(st.sampled_from(["a", "b", "B,", "b.", "안녕", "...", "e\u0301"]), max_size=8).map(" ".join)


@given(st.lists(texts, max_size=6), texts, st.booleans())
def test_stable_text_only_grows_and_begins_everything_later(hypotheses, last, spaced):
    agreement = Agreement()
    for text in hypotheses:
        before = agreement.stable_text
        agreement = agreement.update(tokenize(text, spaced=spaced))
        assert agreement.stable_text.startswith(before)
        assert agreement.display_text(tokenize(text, spaced=spaced)).startswith(agreement.stable_text)
    words = [TimedWord(word, index, index + 1, 0.5, spaced) for index, word in enumerate(last.split())]
    finalized = agreement.finalize(words, spaced=spaced, start=0, end=9)
    assert join_tokens(finalized).startswith(agreement.stable_text)
    assert all(word.start <= word.end for word in finalized)


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_a_matched_prefix_is_at_most_the_hypothesis(committed, hypothesis):
    assert 0 <= matched_prefix(committed, hypothesis) <= len(hypothesis)
    assert matched_prefix(committed, [*committed, *hypothesis]) == len(committed)


@given(st.text())
def test_tokenizing_loses_nothing_but_space(text):
    for spaced in (True, False):
        assert join_tokens(tokenize(text, spaced=spaced)).split() == text.split()


def test_tokens_are_joined_with_the_spaces_they_had():
    assert join_tokens([Token("한", spaced=True), Token("글", spaced=False), Token("hi", spaced=True)]) == "한글 hi"
