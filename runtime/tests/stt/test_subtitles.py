# ruff: noqa: RUF001 - full-width punctuation is meant
"""Subtitles that can be read: how long cues are shown, where lines break, and what FFmpeg's demuxers make of them."""

from __future__ import annotations

import html
import io
import re
from itertools import pairwise

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno_api.documents.transcript import Segment, Transcript, Word
from steno_runtime.stt.document import build_transcript
from steno_runtime.stt.pipeline import TranscriptionResult
from steno_runtime.stt.subtitles import LINE_WIDTH, MIN_CUE_SECONDS, cues, width, wrap
from steno_runtime.stt.writers import WRITERS

NOT_FIRST = "、。，！？）」』】々ー…ぁぃぅぇぉっゃゅょゎァィゥェォッャュョ"
NOT_LAST = "「『（【"
PROSE = (
    "今日はとても天気が良いので散歩に行きましょう。「ちょっとまって」と彼はコーヒーを飲みながら言った、"
    "（笑）我々もAIを使って確認した！"
)


def transcript(segments: list[Segment], duration: float) -> Transcript:
    result = TranscriptionResult(tuple(segments), "en", duration, 0.5, "cpu", "whisper-base", has_diarization=True)
    return build_transcript(result, meeting_id="m", tenant_id="t", processing_time=1.5)


def said(text: str, start: float, end: float, speaker: str | None = None) -> Segment:
    return Segment(start=start, end=end, text=text, speaker=speaker, confidence=1)


def parsed(data: bytes, fmt: str) -> list[tuple[float, float, list[str]]]:
    """Return start, end and lines of each cue, as FFmpeg reads them."""
    if not data.strip():
        return []
    with av.open(io.BytesIO(data), "r", format=fmt) as container:
        found = []
        for packet in container.demux():
            if packet.size:
                assert packet.pts is not None
                assert packet.duration is not None
                assert packet.time_base is not None
                start = float(packet.pts * packet.time_base)
                text = bytes(packet).decode()
                found.append((start, start + float(packet.duration * packet.time_base), text.split("\n")))
        return found


words = st.sampled_from(
    ["I", "think,", "therefore", "am.", "확실히", "그렇습니다.", "<b>&", "x" * 50, "why?", "-->", "1"]
)
japanese = st.integers(0, len(PROSE) - 8).flatmap(lambda at: st.integers(1, 8).map(lambda size: PROSE[at : at + size]))


@st.composite
def recordings(draw):
    """Segments of several speakers, who may speak at once, with words of any length, and the audio's duration."""
    segments = []
    for speaker in draw(st.lists(st.sampled_from([None, "SPEAKER_00", "SPEAKER_01"]), max_size=3, unique=True)):
        at = draw(st.sampled_from([0.0, 0.5, 3.0]))
        for _ in range(draw(st.integers(0, 3))):
            spaced = draw(st.booleans())
            made = []
            for text in draw(st.lists(words if spaced else japanese, min_size=1, max_size=25)):
                at = round(at + draw(st.sampled_from([0.0, 0.0, 0.1, 1.5])), 3)
                end = round(at + draw(st.sampled_from([0.02, 0.1, 0.3, 1.0])), 3)
                made.append(Word(word=text, start=at, end=end, confidence=0.5, speaker=speaker))
                at = end
            text = (" " if spaced else "").join(word.word for word in made)
            segments.append(
                Segment(start=made[0].start, end=at, text=text, speaker=speaker, confidence=0.5, words=made)
            )
    segments.sort(key=lambda segment: segment.start)
    return segments, max((segment.end for segment in segments), default=0.0) + draw(st.sampled_from([0.0, 0.4, 5.0]))


@given(recordings())
@settings(deadline=None)
def test_s14_cues_can_be_read_and_stay_inside_the_audio(recording):
    segments, duration = recording
    made = cues(segments, end=duration, labelled=True)
    for cue in made:
        assert 0 <= cue.start < cue.end <= duration + 1e-6
        longest = max(len(word) for word in " ".join(cue.lines).split())
        assert all(width(line) <= LINE_WIDTH for line in cue.lines)
        assert len(cue.lines) <= 2 or longest > 40
    for cue in made:
        others = [other for other in made if other is not cue and other.start >= cue.start]
        same = [other.start for other in others if other.speaker == cue.speaker]
        assert not same or cue.end <= min(same) + 1e-6
        room = min([other.start for other in others] + [duration]) - cue.start
        assert cue.end - cue.start >= min(room, MIN_CUE_SECONDS) - 1e-6
    spoken = "".join(segment.text for segment in segments).replace(" ", "")
    shown = "".join(line for cue in cues(segments, end=duration) for line in cue.lines).replace(" ", "")
    assert sorted(shown) == sorted(spoken)


@given(recordings())
@settings(deadline=None)
def test_s14_a_parser_of_others_reads_the_same_cues(recording):
    segments, duration = recording
    document = transcript(segments, duration)
    made = cues(segments, end=duration, labelled=True)
    read = parsed(WRITERS["srt"](document), "srt")
    assert [lines for _, _, lines in read] == [list(cue.lines) for cue in made]
    for (start, end, _), cue in zip(read, made, strict=True):
        assert (start, end) == (pytest.approx(cue.start, abs=0.002), pytest.approx(cue.end, abs=0.002))
    web = parsed(WRITERS["vtt"](document), "webvtt")
    plain = [re.sub(r"<v [^>]*>", "", html.unescape(re.sub(r"^<v [^>]*>", "", "\n".join(lines)))) for *_, lines in web]
    assert plain == ["\n".join(cue.lines) for cue in cues(segments, end=duration)]
    assert [round(start, 2) for start, *_ in web] == [round(start, 2) for start, *_ in read]


def test_s14_a_short_word_is_shown_for_a_second():
    first, second = cues([said("Okay.", 1.0, 1.02), said("Yes.", 3.0, 4.0)], end=10.0)
    assert (first.start, first.end, second.start) == (1.0, 2.0, 3.0)


def test_s14_words_at_the_end_of_the_audio_are_one_cue():
    segments = [said("a.", 9.9, 10.0), said("b.", 10.0, 10.0), said("c.", 10.0, 10.0)]
    (cue,) = cues(segments, end=10.0)
    assert (cue.lines, cue.end) == (("a. b. c.",), 10.0)
    assert cue.end - cue.start == pytest.approx(MIN_CUE_SECONDS)


def test_s14_a_segment_that_ends_after_the_audio_is_cut_off():
    (cue,) = cues([said("Goodbye now.", 8.0, 12.5)], end=10.0)
    assert (cue.start, cue.end) == (8.0, 10.0)


def test_s14_a_label_is_inside_the_line():
    text = "It is a truth universally known by us all."
    assert width(text) == LINE_WIDTH
    document = transcript([said(text, 0, 4, "SPEAKER_00"), said(text, 4, 8, "SPEAKER_00")], 9)
    (_, _, first), (_, _, second) = parsed(WRITERS["srt"](document), "srt")
    assert first[0].startswith("[SPEAKER_00] ")
    assert all(width(line) <= LINE_WIDTH for line in (*first, *second))
    assert second == [text]


def test_s14_people_who_speak_at_once_keep_their_cues():
    long = said("I am telling you a rather long story here.", 0.0, 5.0, "SPEAKER_00")
    made = cues([long, said("Right.", 2.0, 2.4, "SPEAKER_01")], end=9.0)
    assert [(cue.start, cue.end) for cue in made] == [(0.0, 5.0), (2.0, 3.0)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("今日はとても天気が良いので散歩に行きましょう。", ("今日はとても天気が良いので", "散歩に行きましょう。")),
        (
            "人間は生まれながらにして自由でありかつ、尊厳と権利について平等である。",
            ("人間は生まれながらにして自由でありかつ、", "尊厳と権利について平等である。"),
        ),
        (
            "これはAIを使った 新しい会議の記録システムですのでぜひ一度使ってみてください。",
            ("これはAIを使った 新しい会議の記録システム", "ですのでぜひ一度使ってみてください。"),
        ),
    ],
)
def test_s15_japanese_lines_break_where_a_phrase_ends(text, lines):
    assert wrap(text) == lines


@pytest.mark.parametrize("mark", ["。", "、", "）", "」", "ゃ", "っ", "ー", "！"])
def test_s15_no_line_begins_with_a_mark_wherever_it_is(mark):
    for at in range(1, 37):
        text = "漢" * at + mark + "字" * (37 - at)
        lines = wrap(text)
        assert "".join(lines) == text
        assert len(lines) == 2
        assert not lines[1].startswith(mark)


@pytest.mark.parametrize("mark", ["「", "（"])
def test_s15_no_line_ends_with_an_opening_bracket(mark):
    for at in range(1, 37):
        assert not wrap("漢" * at + mark + "字" * (37 - at))[0].endswith(mark)


phrases = st.sampled_from(["今日は", "とても、", "「天気」", "コーヒー", "っぽい。", "（笑）", "AI", "2024年", "人々"])


@given(st.lists(phrases, max_size=40).map("".join))
def test_s15_lines_keep_the_rules_and_the_text(text):
    lines = wrap(text)
    assert "".join(lines) == text
    assert all(width(line) <= LINE_WIDTH for line in lines)
    for before, after in pairwise(lines):
        assert after[0] not in NOT_FIRST
        assert before[-1] not in NOT_LAST
        assert not (before[-1].isascii() and after[0].isascii())


def test_s15_cues_are_not_cut_before_a_stop():
    characters = [
        Word(word=char, start=0.2 * at, end=0.2 * at + 0.2, confidence=1) for at, char in enumerate(PROSE * 2)
    ]
    segment = Segment(start=0, end=characters[-1].end, text=PROSE * 2, confidence=1, words=characters)
    made = cues([segment], end=60)
    assert "".join(line for cue in made for line in cue.lines) == PROSE * 2
    for cue in made:
        for line in cue.lines:
            assert line[0] not in NOT_FIRST
            assert line[-1] not in NOT_LAST


def test_s15_a_long_sentence_without_words_is_several_cues():
    made = cues([said(PROSE * 2, 0.0, 20.0)], end=20)
    assert len(made) > 1
    assert all(len(cue.lines) <= 2 and width(line) <= LINE_WIDTH for cue in made for line in cue.lines)


def test_korean_breaks_at_its_spaces():
    assert wrap("안녕하세요 여러분 오늘은 정말 좋은 날씨입니다 그래서 우리는 산책을") == (
        "안녕하세요 여러분 오늘은 정말 좋은",
        "날씨입니다 그래서 우리는 산책을",
    )
