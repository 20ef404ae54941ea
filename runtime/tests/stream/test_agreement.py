from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.stream.agreement import Agreement, Token, bare, covered, tokens, written
from steno_runtime.stt.engine import TimedWord


def looks(*texts: str, spaced: bool = True) -> Agreement:
    agreement = Agreement()
    for text in texts:
        agreement = agreement.look(tokens(text, spaced=spaced))
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
def test_what_two_looks_agree_on_stands(texts, stable):
    assert looks(*texts).stable_text == stable


def test_characters_stand_where_words_are_not_told_apart():
    agreement = looks("今日は", "今日は、いい", spaced=False)
    assert agreement.stable_text == "今日は"
    assert agreement.shown(tokens("今日はいい天気", spaced=False)) == "今日はいい天気"


def test_what_stands_is_shown_to_the_letter_in_front_of_a_text_that_says_it_otherwise():
    agreement = looks("Hello there, my friend", "Hello there, my friend and")
    assert agreement.stable_text == "Hello there, my friend"
    assert agreement.shown(tokens("hello there. My fiend and you", spaced=True)) == "Hello there, my friend and you"


def test_composed_and_decomposed_letters_are_alike():
    assert bare("Café,") == bare("CAFE\u0301")
    assert bare("...") == "..."


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
def test_how_much_of_a_text_is_known(committed, hypothesis, count):
    assert covered(committed.split(), hypothesis.split()) == count


def test_a_final_that_begins_with_what_stands_is_kept_as_it_is():
    words = timed("Hello there my friend")
    agreement = looks("Hello there my", "Hello there my")
    assert agreement.settled(words, spaced=True, start=0, end=4) == tuple(words)


def test_a_final_that_differs_keeps_what_stands_at_the_times_of_what_it_replaces():
    agreement = looks("Hello there my", "Hello there my")
    settled = agreement.settled(timed("hello, hair my friend"), spaced=True, start=0, end=4)
    assert written(settled) == "Hello there my friend"
    assert [(word.start, word.end) for word in settled] == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_what_stands_stays_when_the_final_is_empty():
    settled = looks("Hello there my", "Hello there my").settled([], spaced=True, start=2, end=4)
    assert written(settled) == "Hello there"
    assert (settled[0].start, settled[-1].end) == (2, 4)


def test_characters_of_a_final_in_words():
    words = [TimedWord("今日", 0, 1, 0.9, spaced=False), TimedWord("は雨", 1, 2, 0.8, spaced=False)]
    agreement = looks("今日わ、い", "今日わ、い", spaced=False)
    assert written(agreement.settled(words, spaced=False, start=0, end=2)).startswith(agreement.stable_text)


texts = st.lists(st.sampled_from(["a", "b", "B,", "b.", "안녕", "...", "e\u0301"]), max_size=8).map(" ".join)


@given(st.lists(texts, max_size=6), texts, st.booleans())
def test_stable_text_only_grows_and_begins_everything_later(heard, last, spaced):
    agreement = Agreement()
    for text in heard:
        before = agreement.stable_text
        agreement = agreement.look(tokens(text, spaced=spaced))
        assert agreement.stable_text.startswith(before)
        assert agreement.shown(tokens(text, spaced=spaced)).startswith(agreement.stable_text)
    words = [TimedWord(word, index, index + 1, 0.5, spaced) for index, word in enumerate(last.split())]
    settled = agreement.settled(words, spaced=spaced, start=0, end=9)
    assert written(settled).startswith(agreement.stable_text)
    assert all(word.start <= word.end for word in settled)


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_as_much_is_covered_as_there_is(committed, hypothesis):
    assert 0 <= covered(committed, hypothesis) <= len(hypothesis)
    assert covered(committed, [*committed, *hypothesis]) == len(committed)


@given(st.text())
def test_taking_apart_loses_nothing_but_space(text):
    for spaced in (True, False):
        assert written(tokens(text, spaced=spaced)).split() == text.split()


def test_words_are_written_with_the_spaces_they_had():
    assert written([Token("한", spaced=True), Token("글", spaced=False), Token("hi", spaced=True)]) == "한글 hi"
