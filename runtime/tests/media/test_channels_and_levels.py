"""Recordings as people really make them: inverted channels, odd layouts, several tracks, levels and scales.

The right value is always that of the clean recording, or a warning that says what is not.
"""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.media.audio import SAMPLE_RATE, read_audio
from steno_runtime.media.level import loudness, normalize
from steno_runtime.media.mixdown import Mixdown, to_float
from steno_runtime.media.tracks import Selection


def read(path: Path, **options: object) -> tuple[np.ndarray, list[ResultWarning]]:
    found: list[ResultWarning] = []
    samples = read_audio(path, check=lambda: None, on_warning=found.append, **options)  # pyright: ignore[reportArgumentType]
    return samples, found


def reasons(warnings: list[ResultWarning]) -> set[WarningReason]:
    return {warning.reason for warning in warnings}


def write_wav(path: Path, channels: np.ndarray, *, bits: int, tag: int, rate: int = SAMPLE_RATE) -> Path:
    """Write `(channels, samples)`: tag 3 as float32, tag 1 as integers of 16 or 24 bits."""
    rows = np.ascontiguousarray(channels.T)
    if tag == 3:
        data = rows.astype("<f4").tobytes()
    elif bits == 24:
        data = (rows * 2**23).astype("<i4").reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    else:
        data = (rows * 32767).astype("<i2").tobytes()
    width = len(channels) * bits // 8
    header = struct.pack("<IHHIIHH", 16, tag, len(channels), rate, rate * width, width, bits)
    path.write_bytes(b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + header + b"data")
    with path.open("ab") as file:
        file.write(struct.pack("<I", len(data)) + data)
    return path


def same(samples: np.ndarray, clean: np.ndarray) -> float:
    """Return the correlation with the clean recording."""
    length = min(len(samples), len(clean))
    return float(np.corrcoef(samples[:length], clean[:length])[0, 1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_s6_one_sample_that_is_not_a_number_is_silence_and_said(clean, tmp_path, value):
    broken = clean.copy()
    broken[160_000] = value
    samples, found = read(write_wav(tmp_path / "nan.wav", broken[None], bits=32, tag=3))
    assert np.isfinite(samples).all()
    assert same(samples, clean) > 0.999
    assert reasons(found) == {WarningReason.INVALID_SAMPLES}
    assert "1 samples are not numbers" in found[0].message


def test_s19_floats_in_the_range_of_integers_are_scaled_down(clean, tmp_path):
    samples, found = read(write_wav(tmp_path / "scaled.wav", clean[None] * 32768, bits=32, tag=3))
    assert np.abs(samples).max() <= 1.0
    assert same(samples, clean) > 0.999
    assert reasons(found) == {WarningReason.INVALID_SAMPLES}


@pytest.mark.parametrize("factor", [-1.0, -0.95])
def test_s7_channels_that_cancel_are_not_mixed(clean, tmp_path, factor):
    samples, found = read(write_wav(tmp_path / "inverted.wav", np.stack([clean, factor * clean]), bits=16, tag=1))
    assert abs(same(samples, clean)) > 0.99
    assert loudness(samples) == pytest.approx(loudness(clean), abs=1.0)
    assert reasons(found) == {WarningReason.MANY_CHANNELS}


def test_equal_channels_stay_within_full_scale_and_say_nothing(clean, tmp_path):
    loud = clean / np.abs(clean).max()
    samples, found = read(write_wav(tmp_path / "equal.wav", np.stack([loud, loud]), bits=16, tag=1))
    assert np.abs(samples).max() <= 1.0
    assert same(samples, clean) > 0.999
    assert found == []


@pytest.mark.parametrize("channels", [2, 3, 4, 6, 8, 9, 60])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_s8_a_voice_on_one_of_many_channels_is_heard(clean, tmp_path, channels, rate):
    spoken = clean[7 * SAMPLE_RATE : 12 * SAMPLE_RATE]
    voice = np.repeat(spoken, rate // SAMPLE_RATE)
    for position in {0, channels // 2, channels - 1}:
        rows = np.zeros((channels, len(voice)), dtype=np.float32)
        rows[position] = voice
        samples, _ = read(write_wav(tmp_path / "many.wav", rows, bits=16, tag=1, rate=rate))
        assert same(samples, spoken) > 0.97
        assert loudness(samples) == pytest.approx(loudness(spoken), abs=2.0)


def test_s8_the_noise_of_other_channels_does_not_change_the_level_of_a_voice(clean):
    voice = clean[7 * SAMPLE_RATE : 12 * SAMPLE_RATE]
    rows = np.random.default_rng(3).normal(0, 0.03 * voice.std(), (6, len(voice))).astype(np.float32)
    rows[2] += voice
    mix = Mixdown()
    mixed = np.concatenate([mix.mix(rows[:, at : at + 1024]) for at in range(0, len(voice), 1024)])
    assert same(mixed, voice) > 0.98


def test_a_channel_can_be_selected(clean, tmp_path):
    path = write_wav(tmp_path / "two.wav", np.stack([clean, np.roll(clean, 8000)]), bits=16, tag=1)
    samples, _ = read(path, selection=Selection(channel=2))
    assert same(samples, np.roll(clean, 8000)) > 0.999
    with pytest.raises(WorkError, match="no channel 3") as caught:
        read(path, selection=Selection(channel=3))
    assert caught.value.reason is FailureReason.INVALID_SPEC


@pytest.mark.parametrize("decibels", [-30, -40, -50, -60])
def test_s19_quiet_audio_is_amplified_and_said(clean, tmp_path, decibels):
    quiet = clean * 10 ** (decibels / 20)
    samples, found = read(write_wav(tmp_path / "quiet.wav", quiet[None], bits=24, tag=1))
    assert same(samples, clean) > 0.99
    assert loudness(samples) > -30
    assert reasons(found) == {WarningReason.LOW_LEVEL}


@pytest.mark.parametrize("clicks", [1, 60])
@pytest.mark.parametrize("value", [1.0, 1e9])
def test_s19_a_click_does_not_keep_quiet_audio_from_being_amplified(clean, tmp_path, clicks, value):
    quiet = clean * 10 ** (-50 / 20)
    quiet[np.random.default_rng(1).integers(len(quiet), size=clicks)] = value
    samples, found = read(write_wav(tmp_path / "clicks.wav", quiet[None], bits=32, tag=3))
    assert np.abs(samples).max() <= 1.0
    assert loudness(samples) > -30
    assert np.median(np.abs(samples[clean != 0])) > 50 * np.median(np.abs(quiet[clean != 0]))
    invalid = {WarningReason.INVALID_SAMPLES} if value > 1 else set()
    assert reasons(found) == {WarningReason.LOW_LEVEL} | invalid


def test_a_mix_that_overshoots_is_brought_to_full_scale(clean, tmp_path):
    loud = clean * (3.0 / np.abs(clean).max())
    samples, _ = read(write_wav(tmp_path / "over.wav", loud[None], bits=32, tag=3))
    assert np.abs(samples).max() == pytest.approx(1.0, abs=1e-3)
    assert same(samples, clean) > 0.999


def test_the_loudest_of_tracks_that_are_all_but_silent_is_read(clean, tmp_path):
    path = write_tracks(tmp_path / "quiet.mkv", [np.zeros_like(clean), clean * 10 ** (-55 / 20)])
    samples, found = read(path)
    assert same(samples, clean) > 0.9
    assert reasons(found) == {WarningReason.MANY_TRACKS, WarningReason.LOW_LEVEL}


def test_audio_of_an_ordinary_level_is_left_as_it_is(clean, sample_wav):
    samples, found = read(sample_wav)
    np.testing.assert_array_equal(samples, clean)
    assert found == []


def test_silence_says_so(tmp_path):
    _, found = read(write_wav(tmp_path / "silence.wav", np.zeros((1, 32_000), dtype=np.float32), bits=16, tag=1))
    assert reasons(found) == {WarningReason.SILENT_TRACK}


def test_a_recording_that_is_too_loud_says_so(clean, tmp_path):
    loud = np.clip(clean * 30, -1, 1)
    samples, found = read(write_wav(tmp_path / "loud.wav", loud[None], bits=16, tag=1))
    assert reasons(found) == {WarningReason.CLIPPED}
    assert same(samples, loud) > 0.999


def write_tracks(path: Path, tracks: list[np.ndarray], *, default: int | None = None) -> Path:
    with av.open(str(path), "w") as target:
        streams = [target.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono") for _ in tracks]
        for index, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition.default if index == default else av.stream.Disposition(0)
            stream.metadata["language"] = ("eng", "kor", "deu")[index]
        for stream, samples in zip(streams, tracks, strict=True):
            frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16).reshape(1, -1), "s16", "mono")
            frame.sample_rate = SAMPLE_RATE
            for packet in (*stream.encode(frame), *stream.encode(None)):
                target.mux(packet)
    return path


def test_s11_the_first_track_with_sound_is_read(clean, tmp_path):
    path = write_tracks(tmp_path / "second.mkv", [np.zeros_like(clean), clean])
    samples, found = read(path)
    assert same(samples, clean) > 0.999
    assert reasons(found) == {WarningReason.MANY_TRACKS}
    assert "2 (kor) was read because it is the first with sound, not 1 (eng)" in found[0].message


def test_the_default_track_is_read_and_another_can_be_selected(clean, tmp_path):
    other = np.roll(clean, 8000)
    path = write_tracks(tmp_path / "default.mkv", [other, clean], default=1)
    samples, found = read(path)
    assert same(samples, clean) > 0.999
    assert reasons(found) == {WarningReason.MANY_TRACKS}
    samples, found = read(path, selection=Selection(track=1))
    assert same(samples, other) > 0.999
    assert found == []
    with pytest.raises(WorkError, match="no audio track 3: the source has 2") as caught:
        read(path, selection=Selection(track=3))
    assert caught.value.reason is FailureReason.INVALID_SPEC


def test_s10_a_track_without_a_decoder_is_passed_over(clean, tmp_path):
    path = write_tracks(tmp_path / "codec.mkv", [np.roll(clean, 8000), clean])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"A_PCM/INT/LIT", b"A_NONE/OF/US!", 1))
    samples, _ = read(path)
    assert same(samples, clean) > 0.999


@given(
    rows=st.integers(1, 7),
    gains=st.lists(st.sampled_from([0.0, 1e-3, 0.5, -0.5, 1.0, -1.0]), min_size=7, max_size=7),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_channels_a_voice_on_any_of_them_is_in_the_mix(rows, gains):
    voice = np.sin(np.arange(16_000, dtype=np.float32) / 7) * 0.3
    block = np.stack([np.float32(gain) * voice for gain in gains[:rows]])
    mixed = np.concatenate([mix.mix(part) for mix in [Mixdown()] for part in np.array_split(block, 16, axis=1)])
    loudest = max(abs(gain) for gain in gains[:rows])
    assert np.abs(mixed).max() <= 0.3 * loudest + 1e-6
    if loudest >= 0.5:
        assert abs(np.corrcoef(mixed, voice)[0, 1]) > 0.99
        assert np.abs(mixed).max() >= 0.3 * loudest / 7


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.int16, 32767), (np.int32, 2**31 - 1)])
def test_integers_become_floats_of_full_scale(dtype, full):
    packed = np.array([[full, 0, full, 0]], dtype=dtype)
    rows = to_float(packed, 2, planar=False)
    assert rows.shape == (2, 2)
    assert rows[0].max() == pytest.approx(1.0, abs=0.01)


def test_an_empty_or_short_block_has_a_level():
    assert normalize(np.zeros(10, dtype=np.float32))[0].reason is WarningReason.SILENT_TRACK
    assert loudness(np.full(100, 0.1, dtype=np.float32)) == pytest.approx(-20, abs=0.1)


def test_s12_a_length_that_is_only_estimated_refuses_nothing(clean, tmp_path):
    path = tmp_path / "vbr.mp3"
    with av.open(str(path), "w", options={"write_xing": "0"}) as target:
        stream = target.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        stream.options = {"q": "0"}
        samples = np.concatenate([np.zeros(4 * SAMPLE_RATE, np.float32), clean])  # silence first: a low bit rate
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16).reshape(1, -1), "s16p", "mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            target.mux(packet)
    samples, found = read(path, max_seconds=35.0)
    assert len(samples) == pytest.approx(34 * SAMPLE_RATE, abs=SAMPLE_RATE // 4)
    assert found == []
    with pytest.raises(WorkError) as caught:
        read(path, max_seconds=20.0)
    assert caught.value.reason is FailureReason.TOO_LARGE


@pytest.mark.parametrize(
    "file",
    [
        "flac flac 7.1",
        "m4a aac 7.1",
        "m4a aac 5.1",
        "mkv libopus 7.1",
        "mkv pcm_s16le 22.2",
        "caf pcm_f32be hexadecagonal",
    ],
)
def test_a_voice_on_any_channel_of_any_codec_is_heard(clean, tmp_path, file):
    extension, codec, layout = file.split()
    spoken = np.repeat(clean[7 * SAMPLE_RATE : 10 * SAMPLE_RATE], 3)
    channels = av.AudioLayout(layout).nb_channels
    for position in {0, 2, channels - 1}:
        path = tmp_path / f"{position}.{extension}"
        rows = np.zeros((channels, len(spoken)), dtype=np.float32)
        rows[position] = spoken
        with av.open(str(path), "w") as target:
            stream = target.add_stream(codec, rate=48_000, layout=layout)
            frame = av.AudioFrame.from_ndarray(rows.T.reshape(1, -1).copy(), "flt", layout)
            frame.sample_rate = 48_000
            for packet in (*stream.encode(frame), *stream.encode(None)):
                target.mux(packet)
        samples, _ = read(path)
        heard = samples[: len(spoken) // 3]
        assert loudness(heard) == pytest.approx(loudness(spoken[::3]), abs=3.0), position
