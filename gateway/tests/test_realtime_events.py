"""Events of the Realtime API from messages of a server, and G.711."""

from __future__ import annotations

import math
import struct
from typing import Any

import av
import pytest

from steno_gateway.transports.realtime_events import Translator, pcm

ITEM = "conversation.item.input_audio_transcription"


def started(at: int) -> dict[str, Any]:
    return {"type": "speech_started", "offset_ms": at}


def stopped(at: int) -> dict[str, Any]:
    return {"type": "speech_ended", "offset_ms": at}


def final(number: int, text: str, start: int, end: int) -> dict[str, Any]:
    return {"type": "final", "utterance_id": number, "text": text, "start_ms": start, "end_ms": end}


def events(*messages: dict[str, Any]) -> list[tuple[str, str, Any]]:
    translator = Translator()
    made = [event for message in messages for event in translator.translate(message)]
    names: dict[str, str] = {}
    for event in made:
        names.setdefault(event["item_id"], f"item {len(names) + 1}")
    return [
        (event["type"].rpartition(".")[2], names[event["item_id"]], event.get("transcript", event.get("delta")))
        for event in made
    ]


def test_a_text_that_comes_late_is_that_of_its_own_speech():
    assert events(started(0), stopped(1000), started(1500), final(0, "one", 0, 1000), stopped(2000),
                  final(1, "two", 1400, 2000)) == [
        ("speech_started", "item 1", None), ("speech_stopped", "item 1", None), ("committed", "item 1", None),
        ("speech_started", "item 2", None), ("delta", "item 1", "one"), ("completed", "item 1", "one"),
        ("speech_stopped", "item 2", None), ("committed", "item 2", None),
        ("delta", "item 2", "two"), ("completed", "item 2", "two"),
    ]  # fmt: skip


def test_speech_without_words_has_an_empty_text():
    made = events(started(0), stopped(500), started(1500), stopped(2000), final(4, "words", 1400, 2000))
    assert [each for each in made if each[0] == "completed"] == [
        ("completed", "item 1", ""), ("completed", "item 2", "words"),
    ]  # fmt: skip


@pytest.mark.parametrize("partials", [[], [{"stable_text": "re"}]])
def test_speech_that_was_cut_becomes_several_items(partials: list[dict[str, Any]]):
    rest = final(1, "rest", 30_000, 40_000)
    between = [{**rest, **each, "type": "partial"} for each in partials]
    made = events(started(0), final(0, "first", 0, 30_000), *between, stopped(40_000), rest)
    assert [each for each in made if each[0] in ("committed", "completed")] == [
        ("committed", "item 1", None), ("completed", "item 1", "first"),
        ("committed", "item 2", None), ("completed", "item 2", "rest"),
    ]  # fmt: skip


def test_only_what_does_not_change_is_shown_before_the_end():
    partial = {"type": "partial", "utterance_id": 0, "start_ms": 0, "end_ms": 900, "text": "a bee", "stable_text": "a"}
    made = events(started(0), partial, {**partial, "text": "a bit", "stable_text": "a bit"}, stopped(1000),
                  final(0, "a bit more", 0, 1000))  # fmt: skip
    assert [each[2] for each in made if each[0] == "delta"] == ["a", " bit", " more"]


@pytest.mark.parametrize(("kind", "silence"), [("audio/pcmu", 0xFF), ("audio/pcma", 0xD5)])
def test_g711_is_what_the_codec_of_ffmpeg_makes_of_it(kind: str, silence: int):
    name = {"audio/pcmu": "pcm_mulaw", "audio/pcma": "pcm_alaw"}[kind]
    codec = av.CodecContext.create(name, "r")
    codec.sample_rate, codec.layout = 8000, "mono"
    [frame] = codec.decode(av.Packet(bytes(range(256))))
    samples = struct.unpack("<256h", pcm(bytes(range(256)), kind))
    assert list(samples) == frame.to_ndarray().ravel().tolist()
    assert math.isclose(struct.unpack("<h", pcm(bytes([silence]), kind))[0], 0, abs_tol=8)
