from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.stt.engine import Decoded, TimedWord, hallucinated, needs_fallback
from steno_runtime.stt.segments import (
    SpeakerTurn,
    assign_word_speakers,
    clamp_to_speech,
    ends_sentence,
    group_into_segments,
    separate,
    smooth_speakers,
)

times = st.floats(0, 100, allow_nan=False)
words_in_order = st.lists(
    st.tuples(st.sampled_from(["so", "well.", "Mr.", "세계", "why?", "no,"]), times, times, st.floats(0, 1)),
    max_size=30,
).map(lambda rows: [TimedWord(text, min(a, b), max(a, b), p) for text, a, b, p in rows])
speech = st.lists(times, max_size=20, unique=True).map(
    lambda edges: list(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
)
turns = st.lists(st.tuples(times, st.floats(0.1, 20), st.sampled_from("ABC")), max_size=12).map(
    lambda rows: [SpeakerTurn(start, start + length, speaker) for start, length, speaker in rows]
)


def say(*rows: tuple[str, float, float]) -> list[TimedWord]:
    return [TimedWord(text, start, end, 0.9) for text, start, end in rows]


@given(words_in_order, speech)
def test_clamped_words_are_the_same_words_with_times_in_order(words, spans):
    clamped = clamp_to_speech(words, spans)
    assert [word.text for word in clamped] == [word.text for word in words]
    for word in clamped:
        assert 0 <= word.start < word.end
    for before, after in pairwise(clamped):
        assert before.end <= after.start


@given(st.lists(st.tuples(times, times).map(lambda pair: (min(pair), max(pair))), max_size=30), st.floats(1, 100))
def test_s14_separated_spans_take_time_and_end_at_the_limit(spans, limit):
    made = separate(spans, 0.02, limit)
    assert len(made) == len(spans)
    for start, end in made:
        assert 0 <= start < end <= limit
    for before, after in pairwise(made):
        assert before[1] <= after[0]
    apart = [(float(at), at + 0.5) for at in range(len(spans))]
    assert separate(apart, 0.02, 100) == apart


def test_s14_words_that_share_the_end_of_the_audio_stay_inside_it():
    words = clamp_to_speech(say(("a.", 9.9, 10.0), ("b.", 10.0, 10.0), ("c.", 10.0, 10.0)), [(8.0, 10.0)])
    assert all(word.start < word.end <= 10.0 for word in words)
    assert [round(word.end, 2) for word in words] == [9.96, 9.98, 10.0]
    (first, *_) = group_into_segments(words, [None] * 3)
    assert first.start < first.end


def test_a_word_that_reaches_into_a_pause_is_pulled_back():
    (word,) = clamp_to_speech(say(("hello", 0.0, 3.0)), [(2.0, 2.8)])
    assert word.start == pytest.approx(2.0 - 0.12)
    assert word.end == pytest.approx(2.8 + 0.12)


@given(words_in_order, turns)
def test_every_word_has_the_speaker_it_overlaps_most(words, given_turns):
    found = assign_word_speakers(words, given_turns)
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
    given_turns = [SpeakerTurn(0, 1, "A"), SpeakerTurn(10, 11, "B")]
    assert assign_word_speakers(say(("x", 2, 2.5), ("y", 8, 8.5)), given_turns) == ["A", "B"]


def test_one_stray_word_goes_back_to_its_sentence_but_an_answer_stays():
    words = say(("I", 0, 0.2), ("was", 0.2, 0.4), ("there", 0.4, 0.6), ("too.", 0.6, 0.9), ("Yes.", 0.9, 1.2))
    assert smooth_speakers(words, ["A", "A", "A", "B", "B"]) == ["A", "A", "A", "A", "B"]


@given(words_in_order, st.data())
def test_segments_keep_every_word_of_one_speaker_each(words, data):
    words = clamp_to_speech(words, [])
    speakers = data.draw(
        st.lists(st.sampled_from(["A", "B"]), min_size=len(words), max_size=len(words)) if data.draw(st.booleans())
        else st.just([None] * len(words))
    )  # fmt: skip
    made = group_into_segments(words, speakers)
    assert [word.word for segment in made for word in segment.words] == [word.text for word in words]
    assert [word.speaker for segment in made for word in segment.words] == speakers
    for segment in made:
        assert {word.speaker for word in segment.words} == {segment.speaker}
        assert segment.start <= segment.end
        assert 0 <= segment.confidence <= 1


def test_words_are_joined_as_their_language_writes_them():
    english = [TimedWord("Hello", 0, 1, 1), TimedWord("there.", 1, 2, 1)]
    japanese = [TimedWord("こん", 0, 1, 1, spaced=False), TimedWord("にちは", 1, 2, 1, spaced=False)]
    assert group_into_segments(english, [None, None])[0].text == "Hello there."
    assert group_into_segments(japanese, [None, None])[0].text == "こんにちは"


def test_korean_is_composed():
    decomposed = "\u1112\u1161\u11ab\u1100\u1173\u11af"
    (segment,) = group_into_segments([TimedWord(decomposed, 0, 1, 1)], [None])
    assert segment.text == "한글"
    assert segment.words[0].word == "한글"


@pytest.mark.parametrize(
    ("word", "ends"),
    [("done.", True), ("why?", True), ('so."', True), ("네요。", True), ("Mr.", False), ("J.", False), ("and", False)],
)
def test_sentence_ends(word, ends):
    assert ends_sentence(word) is ends


@pytest.mark.parametrize(
    ("text", "seconds", "avg_logprob", "fallback"),
    [
        ("Hello there, how are you today?", 3.0, -0.3, False),
        ("", 3.0, -0.1, True),
        ("no no no no no no no no no no no no no no no no no no no no", 10.0, -0.3, True),
        ("Far more than anybody could possibly say within half a second of audio", 0.5, -0.3, True),
        ("Hello there", 3.0, -1.4, True),
    ],
)
def test_which_texts_need_a_fallback(text, seconds, avg_logprob, fallback):
    assert needs_fallback(text, seconds, avg_logprob) is fallback


def test_unsure_text_over_no_speech_is_a_hallucination():
    sure = Decoded("Thanks for watching!", (), -0.3, 0.9)
    unsure = Decoded("Thanks for watching!", (), -1.3, 0.9)
    assert not hallucinated(sure, 3, 1)
    assert hallucinated(unsure, 3, 1)
    assert hallucinated(unsure, 10, 4)
    assert not hallucinated(unsure, 5, 4)
    assert hallucinated(Decoded(" ", (), -0.1, 0.0), 3, 3)
    assert hallucinated(Decoded("1,000,000" + ",000" * 60, (), -0.1, 0.0), 13, 13)
