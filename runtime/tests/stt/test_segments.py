from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.stt.engine import Decoded, TimedWord, compression, invented, suspicious
from steno_runtime.stt.segments import Turn, assign, ends_sentence, segments, smooth, snap

times = st.floats(0, 100, allow_nan=False)
words_in_order = st.lists(
    st.tuples(st.sampled_from(["so", "well.", "Mr.", "세계", "why?", "no,"]), times, times, st.floats(0, 1)),
    max_size=30,
).map(lambda rows: [TimedWord(text, min(a, b), max(a, b), p) for text, a, b, p in rows])
speech = st.lists(times, max_size=20, unique=True).map(
    lambda edges: list(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
)
turns = st.lists(st.tuples(times, st.floats(0.1, 20), st.sampled_from("ABC")), max_size=12).map(
    lambda rows: [Turn(start, start + length, speaker) for start, length, speaker in rows]
)


def say(*rows: tuple[str, float, float]) -> list[TimedWord]:
    return [TimedWord(text, start, end, 0.9) for text, start, end in rows]


@given(words_in_order, speech)
def test_snapped_words_are_the_same_words_with_times_in_order(words, spans):
    snapped = snap(words, spans)
    assert [word.text for word in snapped] == [word.text for word in words]
    for word in snapped:
        assert 0 <= word.start <= word.end
    for before, after in pairwise(snapped):
        assert before.start <= after.start
        assert before.end <= after.start or before.end == before.start


def test_a_word_that_reaches_into_a_pause_is_pulled_back():
    (word,) = snap(say(("hello", 0.0, 3.0)), [(2.0, 2.8)])
    assert word.start == pytest.approx(2.0 - 0.12)
    assert word.end == pytest.approx(2.8 + 0.12)


@given(words_in_order, turns)
def test_every_word_has_the_speaker_it_overlaps_most(words, given_turns):
    found = assign(words, given_turns)
    assert len(found) == len(words)
    for word, speaker in zip(words, found, strict=True):
        if not given_turns:
            assert speaker is None
            continue
        overlap: dict[str, float] = {}
        for turn in given_turns:
            shared = min(word.end, turn.end) - max(word.start, turn.start)
            overlap[turn.speaker] = overlap.get(turn.speaker, 0) + max(0.0, shared)
        assert speaker is not None
        assert overlap[speaker] == pytest.approx(max(overlap.values()))


def test_a_word_outside_every_turn_goes_to_the_nearest():
    given_turns = [Turn(0, 1, "A"), Turn(10, 11, "B")]
    assert assign(say(("x", 2, 2.5), ("y", 8, 8.5)), given_turns) == ["A", "B"]


def test_one_stray_word_goes_back_to_its_sentence_but_an_answer_stays():
    words = say(("I", 0, 0.2), ("was", 0.2, 0.4), ("there", 0.4, 0.6), ("too.", 0.6, 0.9), ("Yes.", 0.9, 1.2))
    assert smooth(words, ["A", "A", "A", "B", "B"]) == ["A", "A", "A", "A", "B"]


@given(words_in_order, st.data())
def test_segments_keep_every_word_of_one_speaker_each(words, data):
    words = snap(words, [])
    speakers = data.draw(
        st.lists(st.sampled_from(["A", "B"]), min_size=len(words), max_size=len(words)) if data.draw(st.booleans())
        else st.just([None] * len(words))
    )  # fmt: skip
    made = segments(words, speakers)
    assert [word.word for segment in made for word in segment.words] == [word.text for word in words]
    assert [word.speaker for segment in made for word in segment.words] == speakers
    for segment in made:
        assert {word.speaker for word in segment.words} == {segment.speaker}
        assert segment.start <= segment.end
        assert 0 <= segment.confidence <= 1


def test_words_are_joined_as_their_language_writes_them():
    english = [TimedWord("Hello", 0, 1, 1), TimedWord("there.", 1, 2, 1)]
    japanese = [TimedWord("こん", 0, 1, 1, spaced=False), TimedWord("にちは", 1, 2, 1, spaced=False)]
    assert segments(english, [None, None])[0].text == "Hello there."
    assert segments(japanese, [None, None])[0].text == "こんにちは"


def test_korean_is_composed():
    decomposed = "\u1112\u1161\u11ab\u1100\u1173\u11af"
    (segment,) = segments([TimedWord(decomposed, 0, 1, 1)], [None])
    assert segment.text == "한글"
    assert segment.words[0].word == "한글"


@pytest.mark.parametrize(
    ("word", "ends"),
    [("done.", True), ("why?", True), ('so."', True), ("네요。", True), ("Mr.", False), ("J.", False), ("and", False)],
)
def test_sentence_ends(word, ends):
    assert ends_sentence(word) is ends


@pytest.mark.parametrize(
    ("text", "seconds", "log_probability", "refused"),
    [
        ("Hello there, how are you today?", 3.0, -0.3, False),
        ("", 3.0, -0.1, True),
        ("no no no no no no no no no no no no no no no no no no no no", 10.0, -0.3, True),
        ("Far more than anybody could possibly say within half a second of audio", 0.5, -0.3, True),
        ("Hello there", 3.0, -1.4, True),
    ],
)
def test_the_guard(text, seconds, log_probability, refused):
    assert suspicious(text, seconds, log_probability) is refused


def test_what_is_unsure_over_no_speech_is_dropped():
    sure = Decoded("Thanks for watching!", (), -0.3, 0.9)
    unsure = Decoded("Thanks for watching!", (), -1.3, 0.9)
    assert not invented(sure, 3, 1)
    assert invented(unsure, 3, 1)
    assert invented(unsure, 10, 4)
    assert not invented(unsure, 5, 4)
    assert invented(Decoded(" ", (), -0.1, 0.0), 3, 3)
    assert invented(Decoded("1,000,000" + ",000" * 60, (), -0.1, 0.0), 13, 13)


@given(st.text())
def test_compression_takes_any_text(text):
    assert compression(text) >= 0
