"""Spaces between sentences, and where lines may break."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.documents.transcript import Segment
from steno_runtime.stt.document import build_transcript
from steno_runtime.stt.pipeline import TranscriptionResult
from steno_runtime.stt.typography import joined
from steno_runtime.stt.writers import WRITERS

JOINED = [
    (("今天天气很好。", "我们去公园。"), "今天天气很好。我们去公园。"),
    (("今日は雨です", "傘をどうぞ"), "今日は雨です傘をどうぞ"),
    (("「はい」", "カメラです。"), "「はい」カメラです。"),
    (("今天很好?", "2024年再说."), "今天很好?2024年再说."),
    (("共有3", "本です"), "共有3本です"),
    (("今天很好。", "OK, let's go."), "今天很好。 OK, let's go."),
    (("I use it.", "これはペンです。"), "I use it. これはペンです。"),
    (("안녕하세요.", "반갑습니다."), "안녕하세요. 반갑습니다."),
    (("안녕하세요.", "今日は。"), "안녕하세요. 今日は。"),
    (("สวัสดี", "ครับ"), "สวัสดี ครับ"),
    (("1.", "2."), "1. 2."),
    (("Hello.", "", "Hi."), "Hello. Hi."),
    (("", ""), ""),
]


@pytest.mark.parametrize(("texts", "whole"), JOINED)
def test_s5_sentences_are_joined_as_their_script_does(texts, whole):
    assert joined(texts) == whole


@given(st.lists(st.text()))
def test_s5_joining_loses_nothing(texts):
    assert joined(texts).replace(" ", "") == "".join(texts).replace(" ", "")


def test_s5_no_spaces_in_any_format():
    segments = tuple(
        Segment(start=at, end=at + 1, text=text, confidence=1)
        for at, text in enumerate(("今天天气很好。", "我们去公园。"))
    )
    result = TranscriptionResult(segments, "zh", 2.0, 0.5, "cpu", "whisper-base", has_diarization=False)
    document = build_transcript(result, meeting_id="m", tenant_id="t", processing_time=1)
    assert document.transcript == "今天天气很好。我们去公园。"
    assert WRITERS["txt"](document).decode() == "今天天气很好。我们去公园。\n"
