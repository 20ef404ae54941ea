"""Real speech in, right transcripts out: the formats, the languages, the lengths, the sources and outputs."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.e2e import media
from tests.e2e.kube import Kube, Store, condition, is_true
from tests.e2e.scoring import character_error_rate, diarization_error_rate, reference_text, word_error_rate

Figure = Callable[[str], None]
TWO_SPEAKERS = {"diarization": {"maxSpeakers": 2}}


@pytest.mark.parametrize("key", ["sample.wav", "sample.mp3", "sample.m4a", "sample.webm"])
def test_two_speakers_in_every_format(kube: Kube, store: Store, figure: Figure, key: str) -> None:
    kube.transcribe("call", key, **TWO_SPEAKERS)
    job = kube.complete("call")
    transcript = store.transcript(job)
    words = word_error_rate(reference_text(media.sample(".stm")), transcript)
    turns = diarization_error_rate(media.sample(".rttm"), transcript)
    speed = job["status"]["summary"]["speed"]
    figure(f"{key}: word error rate {words:.3f}, diarization error rate {turns:.3f}, {speed} x real time")
    assert words <= 0.25
    assert turns <= 0.15
    assert set(transcript["speakers"]) == {"SPEAKER_00", "SPEAKER_01"}
    assert transcript["total_speakers"] == 2
    assert transcript["language"] == "en"


def test_the_document_has_every_field_of_the_original_engine(kube: Kube, store: Store) -> None:
    kube.transcribe("call", "sample.wav", **TWO_SPEAKERS, meetingID="standup-42", tenantRef={"name": "acme"})
    transcript = store.transcript(kube.complete("call"))
    assert transcript["meeting_id"] == "standup-42"
    assert transcript["tenant_id"] == "acme"
    assert transcript["total_segments"] == len(transcript["segments"]) > 5
    assert transcript["has_diarization"] is True
    assert 0 < transcript["confidence"] <= 1
    assert transcript["processing_time"] > 0
    assert transcript["schema_version"] == "steno.dev/transcript/v1"
    for segment in transcript["segments"]:
        assert {"start", "end", "text", "speaker", "confidence", "words"} <= set(segment)
        starts = [word["start"] for word in segment["words"]]
        assert starts == sorted(starts)
    for speaker, said in transcript["speakers"].items():
        own = [segment for segment in transcript["segments"] if segment["speaker"] == speaker]
        assert said["segments_count"] == len(own)
        assert said["text_parts"] == [segment["text"] for segment in own]
        assert said["total_duration"] == pytest.approx(sum(s["end"] - s["start"] for s in own), abs=0.05)


def test_every_output_format(kube: Kube, store: Store) -> None:
    job = kube.job("call", "sample.wav")
    job["spec"]["output"]["formats"] = ["json", "srt", "vtt", "txt"]
    kube.kubectl("apply", "-f", "-", stdin=json.dumps(job))
    published = store.published(kube.complete("call"))
    assert published["vtt"].startswith(b"WEBVTT")
    assert b"-->" in published["srt"]
    assert b"Chicago" in published["txt"]
    text = json.loads(published["json"])
    assert not text["has_diarization"]
    assert text["speakers"] == {}


def test_korean(kube: Kube, store: Store, figure: Figure) -> None:
    kube.transcribe("meeting", "korean.wav", language="ko")
    transcript = store.transcript(kube.complete("meeting"))
    errors = character_error_rate(media.KOREAN, transcript)
    figure(f"espeak-ng Korean: character error rate {errors:.3f}")
    assert transcript["language"] == "ko"
    # A robot's voice and the base model: this shows that Hangul arrives whole, not how good a real model is.
    assert any("가" <= letter <= "힣" for letter in transcript["transcript"])


def test_twenty_minutes(kube: Kube, store: Store, figure: Figure) -> None:
    kube.transcribe("long", "minutes-20.wav")
    seen = kube.until("long", lambda job: job.get("status", {}).get("progress", {}).get("percent", 0) > 20)
    assert is_true(seen, "Running")
    job = kube.complete("long", timeout=600)
    summary = job["status"]["summary"]
    figure(f"20 minutes of speech: {summary['processingSeconds']} s, {summary['speed']} x real time")
    assert summary["duration"] == pytest.approx(1200, abs=1)
    transcript = store.transcript(job)
    assert transcript["transcript"].lower().count("new jersey") > 60  # three times in each of forty repetitions


def test_an_http_source(kube: Kube, store: Store) -> None:
    kube.transcribe("url", store.presigned("sample.wav"))
    assert "Chicago" in store.transcript(kube.complete("url"))["transcript"]


def test_a_volume_as_source_and_output(kube: Kube, store: Store) -> None:
    kube.kubectl("apply", "-f", "-", stdin=json.dumps({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "media"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }))  # fmt: skip
    # The first job fills the volume, the second reads from it what the first one wrote.
    first = kube.job("first", "sample.wav")
    first["spec"]["output"] = {"uri": "pvc://media/out", "formats": ["json"]}
    kube.kubectl("apply", "-f", "-", stdin=json.dumps(first))
    results = kube.complete("first")["status"]["results"]
    assert results["manifest"].startswith(f"pvc://media/out/{kube.namespace}/first/")
    written = results["artifacts"][0]["uri"]
    second = kube.job("second", written)
    kube.kubectl("apply", "-f", "-", stdin=json.dumps(second))
    failed = condition(kube.done("second"), "Failed")
    assert failed["reason"] == "UnsupportedMedia"  # it was found and read: a JSON document is no audio
