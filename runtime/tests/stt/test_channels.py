"""One speaker for each channel: what is read of a file, and what becomes of the text."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.media.channels import GAP_SECONDS, Recording, read_recording
from steno_runtime.media.tracks import Selection
from steno_runtime.stt import pipeline
from steno_runtime.stt.channels import merge_channels
from steno_runtime.stt.chunks import Span
from steno_runtime.stt.document import build_transcript
from steno_runtime.stt.engine import Decoded, DecodeProfile, TimedWord
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.pipeline import TranscriptionResult, transcribe
from steno_runtime.stt.review import StretchWarning
from steno_runtime.stt.segments import group_into_segments
from steno_runtime.stt.writers import WRITERS

RATE = 16_000
SPLIT = Selection(split=True)


def tone(seconds: float, hertz: float = 220.0, level: float = 0.3) -> np.ndarray:
    return level * np.sin(np.arange(int(seconds * RATE)) * hertz * 2 * np.pi / RATE)


def write(path: Path, *channels: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.stack(channels, axis=1) * 32767).astype("<i2").tobytes())
    return path


def read(path: Path, **options: object) -> tuple[Recording, list[ResultWarning]]:
    warnings: list[ResultWarning] = []
    return read_recording(path, check=lambda: None, on_warning=warnings.append, **options), warnings


def test_channels_are_read_one_after_the_other(tmp_path):
    path = write(tmp_path / "call.wav", tone(2, 220), tone(2, 440))
    recording, warnings = read(path, selection=SPLIT)
    assert (recording.channels, recording.starts) == ((1, 2), (0.0, 2 + GAP_SECONDS))
    assert recording.duration == pytest.approx(2, abs=0.01)
    assert len(recording.samples) / RATE == pytest.approx(4 + GAP_SECONDS, abs=0.01)
    one, two = recording.samples[:RATE], recording.samples[-RATE:]
    assert np.abs(np.fft.rfft(one)).argmax() == 220
    assert np.abs(np.fft.rfft(two)).argmax() == 440
    assert warnings == []
    mixed, _ = read(path)
    assert (mixed.channels, len(mixed.samples)) == ((), 2 * RATE)


def test_each_channel_has_its_own_level(tmp_path):
    recording, warnings = read(write(tmp_path / "a.wav", tone(2), tone(2, 330, 0.0005)), selection=SPLIT)
    assert float(np.abs(recording.samples[-RATE:]).max()) > 0.02
    assert [(one.reason, one.message[:10]) for one in warnings] == [(WarningReason.LOW_LEVEL, "Channel 2:")]


def test_silent_channels_and_copies_are_named_and_left_out(tmp_path):
    quiet = np.zeros(2 * RATE)
    recording, warnings = read(write(tmp_path / "a.wav", quiet, tone(2), tone(2), tone(2, 440)), selection=SPLIT)
    assert recording.channels == (2, 4)
    assert [one.reason for one in warnings] == [WarningReason.SILENT_TRACK, WarningReason.MANY_CHANNELS]
    assert "Channel 1" in warnings[0].message
    assert "Channel 3 is the same as channel 2" in warnings[1].message


def test_a_recording_of_one_channel_or_of_silence_is_read(tmp_path):
    mono, warnings = read(write(tmp_path / "mono.wav", tone(2)), selection=SPLIT)
    assert (mono.channels, [one.reason for one in warnings]) == ((1,), [WarningReason.MANY_CHANNELS])
    silent, warnings = read(write(tmp_path / "silent.wav", *[np.zeros(RATE)] * 2), selection=SPLIT)
    assert (silent.channels, len(silent.samples)) == ((1,), RATE)
    assert {one.reason for one in warnings} == {WarningReason.SILENT_TRACK}


def test_many_channels_and_long_ones_are_refused(tmp_path):
    nine = write(tmp_path / "nine.wav", *[tone(1, 100 * number) for number in range(1, 10)])
    with pytest.raises(WorkError, match="9 channels; at most 8") as caught:
        read(nine, selection=SPLIT)
    assert caught.value.reason is FailureReason.INVALID_SPEC
    with pytest.raises(WorkError) as caught:  # all channels together
        read(write(tmp_path / "long.wav", tone(4), tone(4, 440)), selection=SPLIT, max_seconds=6)
    assert caught.value.reason is FailureReason.TOO_LARGE


class Parrot:
    """Says a word a second."""

    device, workers, batch_size, languages = "cpu", 1, 4, frozenset({"en"})

    def decode(self, windows, language, profile=DecodeProfile.BEAM_WITH_FALLBACK):  # noqa: ARG002 - the interface
        rows = []
        for window in windows:
            words = tuple(TimedWord("word", at, at + 0.8, 0.9) for at in np.arange(0, len(window) / RATE - 0.8))
            rows.append(Decoded(" ".join(word.text for word in words), words, -0.2, 0.1, language))
        return rows


def test_a_call_has_a_speaker_for_each_channel(tmp_path, monkeypatch):
    first = np.concatenate([tone(3), np.zeros(7 * RATE)])
    second = np.concatenate([np.zeros(4 * RATE), tone(4, 440), np.zeros(2 * RATE)])
    recording, _ = read(write(tmp_path / "call.wav", first, second), selection=SPLIT)
    offset = int(recording.starts[1] * RATE)
    speech = [Span(0, 3 * RATE), Span(offset + 4 * RATE, offset + 8 * RATE)]
    monkeypatch.setattr(pipeline.vad, "detect_speech", lambda *_: speech)
    options = TranscriptionOptions(model="scripted", model_store=Path("/nowhere"), language="en")
    result = transcribe(recording.samples, options, on_progress=lambda _: None, check=lambda: None, engine=Parrot())
    merged = merge_channels(result, recording)
    assert [(one.speaker, round(one.start), round(one.end)) for one in merged.segments] == [
        ("CHANNEL_00", 0, 3),
        ("CHANNEL_01", 4, 7),
    ]
    assert {word.speaker for word in merged.segments[1].words} == {"CHANNEL_01"}
    transcript = build_transcript(merged, meeting_id="m", tenant_id="t", processing_time=1)
    assert (transcript.duration, transcript.total_speakers, transcript.has_diarization) == (10.0, 2, True)
    assert "<v CHANNEL_01>" in WRITERS["vtt"](transcript).decode()
    assert "CHANNEL_00: word" in WRITERS["txt"](transcript).decode()


@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 50), st.floats(0.1, 9)), max_size=12),
    st.floats(60, 100),
)
def test_times_and_speakers_are_those_of_the_channel(spoken, seconds):
    starts = tuple(index * (seconds + GAP_SECONDS) for index in range(3))
    recording = Recording(np.zeros(1, np.float32), seconds, (1, 2, 5), starts)
    spoken = sorted(spoken)
    segments = [
        segment
        for index, start, length in spoken
        for segment in group_into_segments(
            [TimedWord("a", starts[index] + start, starts[index] + start + length, 0.9)], [None]
        )
    ]
    dropped = StretchWarning(WarningReason.TEXT_DROPPED, "text was left out", starts[1] + 1, starts[1] + 2)
    damaged = ResultWarning(reason=WarningReason.DAMAGED_SOURCE, message="From 1.0 s on it is damaged.", start=1.0)
    result = TranscriptionResult(
        tuple(segments), "en", 300.0, 0.9, "cpu", "m", has_diarization=False, warnings=(damaged, dropped)
    )
    merged = merge_channels(result, recording)
    assert [one.start for one in merged.segments] == sorted(one.start for one in merged.segments)
    names = ("CHANNEL_00", "CHANNEL_01", "CHANNEL_04")
    found = sorted((one.speaker or "", one.start) for one in merged.segments)
    for (speaker, start), (name, meant) in zip(found, sorted((names[i], at) for i, at, _ in spoken), strict=True):
        assert (speaker, start) == (name, pytest.approx(meant, abs=0.002))
    assert all(0 <= one.start <= one.end <= seconds + 0.001 for one in merged.segments)
    of_source, of_text = build_transcript(merged, meeting_id="m", tenant_id="t", processing_time=1).warnings
    assert of_source == damaged
    assert (of_text.start, of_text.end) == (pytest.approx(1, abs=0.02), pytest.approx(2, abs=0.02))
    assert of_text.message == "CHANNEL_01: From 1.0 to 2.0 s text was left out."
