# ruff: noqa: RUF001, E501 - prose in many alphabets is meant
"""Real repetition is kept, and a decoder's loop is found, in any script."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.stt.engine import Decoded, hallucinated, needs_fallback
from steno_runtime.stt.repetition import is_loop, is_repetitive, longest_run, syllables

REPEATED = {
    "Testing one two three. ": 11.0,
    "마이크 테스트 하나 둘 셋. ": 11.0,
    "Please hold. Your call is important to us. ": 17.0,
    "私はここにいます。": 12.0,
}
PROSE = {
    "hi": "भारत एक विशाल देश है और यहाँ बहुत सी भाषाएँ बोली जाती हैं। हर राज्य की अपनी संस्कृति है और लोग मिलकर त्योहार मनाते हैं। गाँव में खेती होती है।",
    "ta": "தமிழ் மொழி மிகவும் பழமையான மொழிகளில் ஒன்று. தமிழ்நாட்டில் பல கோயில்கள் உள்ளன, மக்கள் விழாக்களை மகிழ்ச்சியுடன் கொண்டாடுகிறார்கள்.",
    "ka": "საქართველო მდებარეობს კავკასიაში და აქვს უძველესი ისტორია. ქართული ენა და დამწერლობა უნიკალურია, ხოლო ღვინის კულტურა ათასწლეულებს ითვლის.",
    "th": "ประเทศไทยตั้งอยู่ในเอเชียตะวันออกเฉียงใต้ มีอาหารหลากหลายและวัดที่สวยงาม ผู้คนเป็นมิตรและยิ้มแย้มแจ่มใสเสมอ",
    "my": "မြန်မာနိုင်ငံသည် အရှေ့တောင်အာရှတွင် တည်ရှိပြီး ဘုရားများ များစွာရှိသည်။ လူများသည် ကြင်နာတတ်ကြသည်။",
    "ru": "Россия большая страна, в которой живут люди многих народов. Зимой здесь холодно, а летом бывает жарко и сухо.",
    "ko": "한국의 사계절은 뚜렷하고 가을에는 단풍이 아름답습니다. 사람들은 산에 오르고 맛있는 음식을 함께 먹습니다.",
    "en": "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
}


@pytest.mark.parametrize("phrase", REPEATED)
def test_s2_a_phrase_that_is_said_six_times_stays(phrase):
    text, seconds = phrase * 6, REPEATED[phrase]
    assert is_repetitive(text)  # looked at once more
    assert not is_loop(text, seconds)
    assert not hallucinated(Decoded(text, (), -0.3, 0.1), seconds + 1, seconds)


@pytest.mark.parametrize("language", PROSE)
def test_s3_ordinary_prose_of_any_script_is_not_repetition(language):
    text = PROSE[language]
    assert not is_repetitive(text)
    assert not needs_fallback(text, 17.0, -0.2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1,000,000" + ",000" * 60, 13.0),
        ("you " * 120, 9.0),
        ("네 " * 150, 12.0),
        ("ご視聴ありがとうございました。" * 20, 10.0),
        ("and the other side of the " * 30, 15.0),
    ],
)
def test_more_than_can_be_said_is_a_loop(text, seconds):
    assert is_loop(text, seconds)
    assert hallucinated(Decoded(text, (), -0.1, 0.0), seconds, seconds)


@given(st.lists(st.sampled_from(["na", "na", "hey", "one", "two", "three"]), max_size=40))
def test_a_run_is_what_it_says(words):
    text = " ".join(words)
    run = longest_run(text)
    if run is None:
        assert all(first != second for first, second in itertools.pairwise(words))
        return
    assert run.count >= 2
    assert 0 < run.share <= 1
    assert run.phrase.replace(" ", "") * run.count in text.replace(" ", "")


@given(st.text())
def test_any_text_has_syllables_and_no_loop_without_repetition(text):
    assert syllables(text) >= 0
    if not is_repetitive(text):
        assert not is_loop(text, 0.0)
