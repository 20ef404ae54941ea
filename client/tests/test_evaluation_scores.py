"""Scores: counts against jiwer and by hand, normalisation, speakers, sums."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_client.evaluation.manifest import Item, Medium, WordTime
from steno_client.evaluation.normalise import (
    Unit,
    error_unit,
    normalise_page,
    normalise_speech,
    page_words,
    without_spaces,
)
from steno_client.evaluation.scores import EditCounts, Hypothesis, Share, TimeErrors, compare_times, count_edits, score
from steno_client.evaluation.speakers import SpeakerErrors, SpeakerSpan, bridge_pauses, compare_speakers, parse_rttm
from steno_client.evaluation.summary import Outcome, by_language, group, pool, summarise

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
sentences = st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=8)
counts = st.builds(EditCounts, *[st.integers(0, 1000)] * 4)


def recording(reference: str | None, **fields: object) -> Item:
    item = Item("a", Path("a.wav"), Medium.RECORDING, ("en",), "read", reference=reference)
    return replace(item, **fields)


def page(reference: str, **fields: object) -> Item:
    return recording(reference, medium=Medium.DOCUMENT, **fields)


def scored(item: Item, found: str) -> Outcome:
    return Outcome(item, score(item, Hypothesis(found)))


@pytest.mark.parametrize(
    ("languages", "text", "unit"),
    [
        (("en",), "", Unit.WORD),
        (("ko-KR",), "", Unit.CHARACTER),
        (("zh-Hant", "en"), "", Unit.CHARACTER),
        (("en", "zh"), "", Unit.WORD),
        ((), "안녕하세요 hi", Unit.CHARACTER),
        ((), "ok 네", Unit.WORD),
        ((), "", Unit.WORD),
    ],
)
def test_what_errors_are_counted_in(languages: tuple[str, ...], text: str, unit: Unit):
    assert error_unit(languages, text) is unit


@pytest.mark.parametrize(
    ("one", "other", "language"),
    [
        ("Don\u2019t — stop!", "dont stop", "en"),
        ("Straße", "STRASSE", "de"),
        ("İstanbul", "istanbul", "tr"),
        ("\uff46\uff49le\u3000\u2116 \uff15", "file no 5", "en"),
        ("e\u0301t\u00e9", "ÉTÉ", "fr"),
        ("مُحَمَّدٌ ـ", "محمد", "ar"),
        ("שָׁלוֹם", "שלום", "he"),
        ("漢語\uff0c說話。", "汉语说话", "zh-TW"),
        ("twenty-five\u200b ❤️", "Twenty five", "en"),
    ],
)
def test_ways_to_write_the_same_are_equal(one: str, other: str, language: str):
    same = [normalise_speech(text, [language]) for text in (one, other)]
    if language.startswith("zh"):
        same = [without_spaces(text) for text in same]
    assert same[0] == same[1] != ""


def test_vowel_signs_are_letters():
    assert normalise_speech("हिन्दी।") == "हिन्दी"
    assert normalise_speech("ที่นี่") == "ที่นี่"


def test_japanese_is_not_folded_as_chinese():
    assert normalise_speech("漢字", ["ja"]) == "漢字"


@given(texts)
def test_normalisation_happens_once(text: str):
    for normalise in (normalise_speech, normalise_page, page_words):
        assert normalise(normalise(text)) == normalise(text)
        assert unicodedata.is_normalized("NFKC", normalise(text))


def test_pages_keep_case_and_punctuation_but_not_the_shape_of_quotes():
    assert normalise_page("\u201cFine\u201d,\n he\u00adsaid \u2013 once\u2026") == '"Fine", hesaid - once...'
    assert page_words("\u201cFine\u201d, he said: don\u2019t") == "Fine he said dont"


@given(sentences.filter(bool), sentences)
def test_counts_are_those_of_jiwer(reference: list[str], found: list[str]):
    edits = count_edits(reference, found)
    expected = jiwer.process_words(" ".join(reference), " ".join(found))
    assert edits.errors == expected.substitutions + expected.deletions + expected.insertions
    assert edits.rate == pytest.approx(expected.wer)


@given(texts, texts)
def test_there_are_errors_exactly_where_texts_differ(reference: str, found: str):
    item = recording(reference)
    scores = score(item, Hypothesis(found))
    assert scores.errors is not None
    assert (scores.errors.errors == 0) == (normalise_speech(reference) == normalise_speech(found))
    if normalise_speech(reference):
        assert (scores.errors.rate == 0) == (normalise_speech(reference) == normalise_speech(found))
        assert scores.hallucinated_words is None
    else:
        assert scores.errors.rate is None
        assert scores.hallucinated_words == scores.errors.errors == scores.errors.insertions


@given(sentences.filter(bool), sentences)
def test_characters_of_a_language_without_spaces(reference: list[str], found: list[str]):
    scores = score(recording(" ".join(reference), languages=("ja",)), Hypothesis("".join(found)))
    assert scores.words is None
    assert scores.characters is not None
    assert scores.errors == scores.characters == count_edits("".join(reference), "".join(found))


@given(st.lists(counts, max_size=6))
def test_pooled_counts_are_sums(found: list[EditCounts]):
    pooled = pool(found)
    if not found:
        assert pooled is None
        return
    assert pooled is not None
    assert pooled.errors == sum(one.errors for one in found)
    assert pooled.units == sum(one.units for one in found)


@pytest.mark.parametrize(
    ("one", "other", "total"),
    [
        (EditCounts(1, 2, 3, 4), EditCounts(10, 20, 30, 40), EditCounts(11, 22, 33, 44)),
        (Share(1, 2), Share(3, 4), Share(4, 6)),
        (TimeErrors(0.5, 2), TimeErrors(0.25, 1), TimeErrors(0.75, 3)),
        (SpeakerErrors(1.0, 2.0, 3.0, 4.0), SpeakerErrors(0.5, 0.5, 0.5, 0.5), SpeakerErrors(1.5, 2.5, 3.5, 4.5)),
    ],
)
def test_sums(one, other, total):
    assert one + other == pool([None, one, other]) == total


def test_a_long_item_weighs_more_than_a_short_one():
    long, short = recording("one two three four five six seven eight nine"), recording("no", id="b", languages=("de",))
    outcomes = [
        Outcome(long, score(long, Hypothesis(long.reference or ""))),
        Outcome(short, score(short, Hypothesis("yes"))),
    ]
    total = summarise("all", outcomes)
    assert total.errors == EditCounts(substitutions=1, units=10)
    assert total.errors is not None
    assert total.errors.rate == 0.1
    assert [(one.name, one.errors and one.errors.rate) for one in group(outcomes, by_language)] == [
        ("de", 1.0),
        ("en", 0.0),
    ]


def test_words_where_nothing_is_said_are_errors_and_named():
    silence, speech = recording("", id="silence"), recording("one two")
    outcomes = [
        Outcome(silence, score(silence, Hypothesis("thank you"))),
        Outcome(speech, score(speech, Hypothesis("one two"))),
    ]
    total = summarise("all", outcomes)
    assert total.hallucinated_words == 2
    assert total.errors == EditCounts(insertions=2, units=2)


def test_an_item_without_reference_is_only_timed():
    item = recording(None)
    outcome = Outcome(item, score(item, Hypothesis("anything")), amount=10.0, seconds=2.0)
    failed = Outcome(recording("x", id="b"), error="it cannot be read")
    total = summarise("all", [outcome, failed])
    assert (total.errors, total.scored, total.failed, total.items) == (None, 0, 1, 2)
    assert total.audio_speed is not None
    assert (total.audio_speed.overall, total.audio_speed.items, total.page_speed) == (5.0, 1, None)


def test_the_speed_of_all_is_not_the_mean_of_speeds():
    outcomes = [
        Outcome(page("", id=str(number)), amount=amount, seconds=seconds)
        for number, (amount, seconds) in enumerate([(1, 1.0), (10, 2.0), (4, 1.0)])
    ]
    speed = summarise("all", outcomes).page_speed
    assert speed is not None
    assert (speed.minimum, speed.median, speed.maximum, speed.overall) == (1.0, 4.0, 5.0, 3.75)


def test_keywords_are_whole_words_or_characters_anywhere():
    english = recording(None, keywords=("Key West", "art", "…"))
    assert score(english, Hypothesis("in key west, a party")).keywords == Share(1, 2)
    korean = recording(None, languages=("ko",), keywords=("본인 확인", "성함"))
    assert score(korean, Hypothesis("본인확인을 위하여")).keywords == Share(1, 2)


def test_words_of_a_page_in_another_order():
    scores = score(page("left column right column"), Hypothesis("right column left, Column"))
    assert scores.words_found == Share(3, 4)
    assert scores.errors is not None
    assert scores.errors.errors > 1


def test_word_times_of_the_words_that_are_right():
    reference = [WordTime(word=word, start=at, end=at + 0.5) for at, word in enumerate(["Well,", "it", "is-so", "now"])]
    found = [
        WordTime(word="well", start=0.1, end=0.5),
        WordTime(word="was", start=1.0, end=1.5),
        WordTime(word="is", start=2.2, end=2.3),
        WordTime(word="so", start=2.3, end=2.7),
        WordTime(word="now.", start=3.0, end=3.5),
    ]
    times = compare_times(reference, found)
    assert times.boundaries == 6
    assert times.mean == pytest.approx((0.1 + 0.0 + 0.2 + 0.2 + 0.0 + 0.0) / 6)


def test_word_times_of_characters():
    reference = [WordTime(word="今日は", start=0.0, end=0.6)]
    found = [WordTime(word="今日", start=0.1, end=0.4), WordTime(word="は", start=0.4, end=0.6)]
    assert compare_times(reference, found, ["ja"]) == TimeErrors(0.1, 2)


def test_pauses_of_a_speaker_are_bridged():
    spans = [SpeakerSpan("a", 0, 1), SpeakerSpan("b", 1, 2), SpeakerSpan("a", 1.4, 3), SpeakerSpan("a", 3.6, 4)]
    assert bridge_pauses(spans) == (SpeakerSpan("a", 0, 3), SpeakerSpan("b", 1, 2), SpeakerSpan("a", 3.6, 4))


def test_speakers_are_compared_whatever_they_are_called():
    reference = [SpeakerSpan("ann", 0, 10), SpeakerSpan("bob", 10, 20)]
    same = [SpeakerSpan("2", 0, 10), SpeakerSpan("1", 10, 20)]
    assert compare_speakers(reference, same).rate == 0
    one = compare_speakers(reference, [SpeakerSpan("1", 0, 20)], 20)
    assert one.confusion == pytest.approx(9.75 - 0.25, abs=0.3)
    assert compare_speakers(reference, [], 20).rate == 1
    assert (one + one).rate == pytest.approx(one.rate)
    assert SpeakerErrors().rate is None


def test_rttm():
    rows = "SPKR-INFO x 1\nSPEAKER f 1 1.5 2.0 <NA> <NA> ann <NA> <NA>\n\n"
    assert parse_rttm(rows) == (SpeakerSpan("ann", 1.5, 3.5),)
    with pytest.raises(ValueError, match="line 2 is not a SPEAKER row"):
        parse_rttm("SPEAKER f 1 1.5 2.0 <NA> <NA> ann <NA> <NA>\nSPEAKER f 1 one 2.0 <NA> <NA> ann")
