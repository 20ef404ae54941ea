from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.stream.agreement import Agreement, Token, align, join_tokens, matched_prefix, normalize, tokenize
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
    assert matched_prefix(committed.split(), [], hypothesis.split()) == count


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
    assert 0 <= matched_prefix(committed, [], hypothesis) <= len(hypothesis)
    assert matched_prefix(committed, [], [*committed, *hypothesis]) == len(committed)


@given(st.text())
def test_tokenizing_loses_nothing_but_space(text):
    for spaced in (True, False):
        assert join_tokens(tokenize(text, spaced=spaced)).split() == text.split()


def test_tokens_are_joined_with_the_spaces_they_had():
    assert join_tokens([Token("한", spaced=True), Token("글", spaced=False), Token("hi", spaced=True)]) == "한글 hi"


def final(*texts: str, spaced: bool = True) -> str:
    """Return the final of an utterance whose last text is the final decode's."""
    finalized = after_checks(*texts[:-1], spaced=spaced).finalize(
        [replace(word, start=word.start * 0.3, end=word.end * 0.3) for word in timed(texts[-1])],
        spaced=spaced, start=0, end=5,
    )  # fmt: skip
    for before, after in pairwise(finalized):
        assert before.start <= before.end <= after.start + 1e-9
    return join_tokens(finalized)


@pytest.mark.parametrize(
    ("checks", "last", "text"),
    [
        (("안녕 하세요 여러", "안녕 하세요 여러분"), "안녕하세요 여러분 반갑습니다", "안녕 하세요 여러분 반갑습니다"),
        (("안녕하세요 여러", "안녕하세요 여러분"), "안녕 하세요 여러분 반갑습니다", "안녕하세요 여러분 반갑습니다"),
        (("2024 년 매출", "2024 년 매출 은"), "2024년 매출은 늘었습니다", "2024 년 매출은 늘었습니다"),
        (("twenty five dollar", "twenty five dollars pl"), "25 dollars please", "twenty five dollars please"),
        (("25 dol", "25 dollars pl"), "twenty five dollars please", "25 dollars please"),
        (("every one is", "everyone is here"), "every one is here now", "everyone is here now"),
        (("everyone is", "every one is here"), "Everyone is here, now", "every one is here, now"),
        (("I can not do", "I can not do it"), "I cannot do it.", "I can not do it."),
        (("the web site is", "the web site is up"), "The website is up again", "the web site is up again"),
        (("we walk home", "we walk home now"), "we walked home now and", "we walk home now and"),
        (("yes I think", "yes I think so"), "yeah I thing so yes I think so", "yes I think so yes I think so"),
    ],
)
def test_s1_no_word_is_lost_or_doubled_when_the_spacing_changes(checks, last, text):
    assert final(*checks, last) == text


def test_s1_a_part_of_a_word_belongs_to_it():
    agreement = after_checks("2024 년 매출", "2024 년 매출 은")
    finalized = agreement.finalize(timed("2024년 매출은, 늘었습니다"), spaced=True, start=0, end=5)
    assert [word.text for word in finalized] == ["2024", "년", "매출은,", "늘었습니다"]
    assert [(word.start, word.end) for word in finalized[2:]] == [(1, 2), (2, 3)]


def test_s1_two_checks_agree_whatever_their_spaces():
    assert after_checks("안녕 하세요 여러분", "안녕하세요 여러분 반갑").stable_text == "안녕하세요 여러분"
    assert after_checks("there", "the reason is").stable_text == ""


@st.composite
def spacings(draw):
    """A text, and looks at more and more of it, each with spaces anywhere."""
    text = draw(st.text(st.sampled_from("가나다라마abc12"), min_size=1, max_size=40))

    def spaced(length):
        words, at = [], 0
        while at < length:
            size = draw(st.integers(1, 6))
            words.append(text[at : min(length, at + size)])
            at += size
        return " ".join(words)

    lengths = sorted(draw(st.lists(st.integers(1, len(text)), max_size=4)))
    return text, [spaced(length) for length in lengths], spaced(len(text))


@given(spacings())
def test_s1_every_character_is_there_once_whatever_the_spaces(example):
    text, checks, last = example
    agreement = Agreement()
    for check in checks:
        agreement = agreement.update(tokenize(check, spaced=True))
        shown = agreement.display_text(tokenize(check, spaced=True))
        assert shown.startswith(agreement.stable_text)
        assert shown.replace(" ", "") == check.replace(" ", "")
    finalized = agreement.finalize(timed(last), spaced=True, start=0, end=99)
    assert join_tokens(finalized).startswith(agreement.stable_text)
    assert join_tokens(finalized).replace(" ", "") == text
    assert all(before.end <= after.start + 1e-9 for before, after in pairwise(finalized))
    assert all(word.start < word.end for word in finalized)


@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_s1_an_alignment_is_in_order_and_of_equal_characters(text, other):
    counterparts = align(text, other)
    assert len(counterparts) == len(text)
    found = [at for at in counterparts if at is not None]
    assert found == sorted(set(found))
    assert all(at is None or other[at] == char for char, at in zip(text, counterparts, strict=True))
