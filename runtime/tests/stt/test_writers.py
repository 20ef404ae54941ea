from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.documents.transcript import Segment, Transcript, Word
from steno_runtime.stt.document import build_transcript
from steno_runtime.stt.pipeline import TranscriptionResult
from steno_runtime.stt.subtitles import LINE_WIDTH, MAX_CUE_SECONDS, cues, width, wrap
from steno_runtime.stt.writers import WRITERS

texts = st.sampled_from(["I", "think,", "therefore", "am.", "확실히", "그렇습니다.", "漢字", "<b>&", "x" * 50, "why?"])


@st.composite
def spoken(draw):
    made, at = [], 0.0
    for _ in range(draw(st.integers(0, 6))):
        words = []
        speaker = draw(st.sampled_from([None, "SPEAKER_00", "SPEAKER_01"]))
        for text in draw(st.lists(texts, min_size=1, max_size=40)):
            at = round(at + draw(st.sampled_from([0.0, 0.1, 0.5])), 3)
            end = round(at + draw(st.sampled_from([0.02, 0.3, 1.0])), 3)
            words.append(Word(word=text, start=at, end=end, confidence=0.5, speaker=speaker))
            at = end
        joined = " ".join(word.word for word in words)
        made.append(Segment(start=words[0].start, end=at, text=joined, speaker=speaker, confidence=0.5, words=words))
    return made


def transcript(segments: list[Segment]) -> Transcript:
    result = TranscriptionResult(tuple(segments), "en", 60.0, 0.5, "cpu", "whisper-base", has_diarization=True)
    return build_transcript(result, meeting_id="m", tenant_id="t", processing_time=1.5)


@given(spoken())
def test_cues_hold_every_word_fit_the_screen_and_do_not_overlap(segments):
    made = cues(segments)
    said = "".join(segment.text for segment in segments).replace(" ", "")
    assert "".join(line for cue in made for line in cue.lines).replace(" ", "") == said
    for cue in made:
        assert 0 < cue.end - cue.start <= MAX_CUE_SECONDS + 1e-6
        longest = max(len(word) for word in " ".join(cue.lines).split())
        assert all(width(line) <= LINE_WIDTH for line in cue.lines)
        assert len(cue.lines) <= 2 or longest > 40
    for cue, following in pairwise(made):
        assert cue.start < cue.end
        assert cue.end <= following.start


@given(st.text(st.sampled_from("ab ,가漢"), max_size=200))
def test_lines_hold_the_text(text):
    text = " ".join(text.split())
    assert "".join(wrap(text)).replace(" ", "") == text.replace(" ", "")


def test_a_long_sentence_breaks_after_its_comma():
    assert wrap("I was there on that long day, and you were there too") == (
        "I was there on that long day,",
        "and you were there too",
    )


@given(spoken())
def test_every_format_of_anything_is_utf8_and_well_formed(segments):
    document = transcript(segments)
    assert Transcript.model_validate_json(WRITERS["json"](document)) == document
    srt, vtt = WRITERS["srt"](document).decode(), WRITERS["vtt"](document).decode()
    numbers = [int(block.split("\n")[0]) for block in srt.split("\n\n") if block.strip()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert vtt.startswith("WEBVTT\n")
    assert len(re.findall(r"^\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}$", vtt, re.MULTILINE)) == len(numbers)
    assert "<b>" not in vtt
    text = WRITERS["txt"](document).decode()
    assert all(segment.text in text for segment in segments)


def test_the_document_has_what_users_read():
    one = Segment(start=0, end=1.5, text="Hello.", speaker="SPEAKER_00", confidence=0.9)
    two = Segment(start=2, end=3, text="Hi.", speaker="SPEAKER_01", confidence=0.7)
    three = Segment(start=4, end=5, text="Bye.", speaker="SPEAKER_00", confidence=0.8)
    read = json.loads(WRITERS["json"](transcript([one, two, three])))
    assert set(read) == {
        "schema_version", "meeting_id", "tenant_id", "transcript", "segments", "speakers", "confidence",
        "processing_time", "language", "translated", "duration", "model", "total_segments", "total_speakers",
        "has_diarization", "metadata", "warnings",
    }  # fmt: skip
    assert read["transcript"] == "Hello. Hi. Bye."
    assert read["speakers"]["SPEAKER_00"] == {
        "total_duration": 2.5, "segments_count": 2, "text_parts": ["Hello.", "Bye."],
    }  # fmt: skip
    assert (read["total_segments"], read["total_speakers"]) == (3, 2)


def test_text_has_a_paragraph_for_each_turn():
    one = Segment(start=0, end=1.5, text="Hello.", speaker="SPEAKER_00", confidence=0.9)
    two = Segment(start=2, end=3, text="Are you there?", speaker="SPEAKER_00", confidence=0.7)
    three = Segment(start=4, end=5, text="Yes.", speaker="SPEAKER_01", confidence=0.8)
    assert WRITERS["txt"](transcript([one, two, three])).decode() == (
        "SPEAKER_00: Hello. Are you there?\n\nSPEAKER_01: Yes.\n"
    )


@pytest.mark.parametrize("form", ["srt", "txt"])
def test_nothing_said_is_an_empty_file(form):
    assert WRITERS[form](transcript([])) == b""


def test_subtitles_of_hours_have_the_right_clock():
    late = Segment(start=3661.5, end=3662.75, text="Late.", confidence=1)
    assert b"01:01:01,500 --> 01:01:02,750" in WRITERS["srt"](transcript([late]))
