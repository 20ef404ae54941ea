"""Media files as they come, good and bad, through the real decoders."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno_api.failures import FailureReason
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.media.audio import SAMPLE_RATE, read_audio


def go_on() -> None:
    """A check that never stops."""


def lag(samples: np.ndarray, original: np.ndarray, *, at: int) -> int:
    """How many samples later than in `original` the second that begins `at` is found."""
    margin = SAMPLE_RATE // 10
    window = original[at * SAMPLE_RATE : (at + 1) * SAMPLE_RATE]
    around = samples[at * SAMPLE_RATE - margin : (at + 1) * SAMPLE_RATE + margin]
    return int(np.correlate(around, window, "valid").argmax()) - margin


def failure(path: Path) -> WorkError:
    with pytest.raises(WorkError) as caught:
        read_audio(path, check=go_on)
    assert str(path) not in caught.value.message
    return caught.value


@pytest.mark.parametrize("extension", ["wav", "mp3", "m4a", "flac", "ogg", "webm", "mp4"])
def test_every_supported_format_gives_the_same_samples_at_the_same_times(media, extension):
    shares = []
    original = read_audio(media["wav"], check=go_on)
    samples = read_audio(media[extension], check=go_on, on_progress=shares.append)

    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert samples.flags.owndata
    assert abs(len(samples) - 30 * SAMPLE_RATE) < 0.05 * SAMPLE_RATE
    length = min(len(samples), len(original))
    assert np.corrcoef(samples[:length], original[:length])[0, 1] > 0.99
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1, abs=0.01)


def test_the_demuxer_finds_the_format_without_a_file_extension(media, tmp_path):
    path = tmp_path / "source"
    path.write_bytes(media["m4a"].read_bytes())
    assert len(read_audio(path, check=go_on)) > 29 * SAMPLE_RATE


def test_a_wav_whose_header_announces_more_than_there_is(sample_wav, tmp_path, caplog):
    path = tmp_path / "cut.wav"
    path.write_bytes(sample_wav.read_bytes()[: 44 + 10 * 32_000])
    with caplog.at_level(logging.WARNING):
        samples = read_audio(path, check=go_on)
    assert len(samples) == pytest.approx(10 * SAMPLE_RATE, abs=SAMPLE_RATE // 10)


def test_a_few_damaged_packets_are_passed_over_and_times_stay(media, tmp_path, caplog):
    data = bytearray(media["m4a"].read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = random.Random(7).randbytes(300)
    path = tmp_path / "scratched.m4a"
    path.write_bytes(data)
    original = read_audio(media["m4a"], check=go_on)
    with caplog.at_level(logging.WARNING):
        samples = read_audio(path, check=go_on)
    assert "passed over damaged packets" in caplog.text
    assert abs(len(samples) - len(original)) < 0.1 * SAMPLE_RATE
    assert abs(lag(samples, original, at=25)) <= 0.002 * SAMPLE_RATE


def test_a_file_that_is_mostly_damaged_is_refused(media, tmp_path):
    data = bytearray(media["m4a"].read_bytes())
    data[2_000 : len(data) // 2] = random.Random(7).randbytes(len(data) // 2 - 2_000)
    path = tmp_path / "broken.m4a"
    path.write_bytes(data)
    error = failure(path)
    assert error.reason is FailureReason.UNSUPPORTED_MEDIA
    assert "damaged" in error.message


def write_frames(path: Path, sample: Path, pts_of) -> None:
    with av.open(str(path), "w") as target, av.open(str(sample)) as source:
        stream = target.add_stream("pcm_s16le", rate=16_000, layout="mono")
        position = 0
        for frame in source.decode(audio=0):
            frame.pts = pts_of(position)
            position += frame.samples
            for packet in stream.encode(frame):
                target.mux(packet)
        for packet in stream.encode(None):
            target.mux(packet)


def test_a_gap_in_the_timestamps_becomes_silence(sample_wav, tmp_path):
    path = tmp_path / "gap.mkv"
    gap, hole = 10 * SAMPLE_RATE, 5 * SAMPLE_RATE
    write_frames(path, sample_wav, lambda position: position if position < gap else position + hole)
    original = read_audio(sample_wav, check=go_on)
    samples = read_audio(path, check=go_on)
    assert len(samples) == pytest.approx(35 * SAMPLE_RATE, abs=200)
    assert not samples[gap + 4_096 : gap + hole - 4_096].any()
    np.testing.assert_allclose(samples[-SAMPLE_RATE:], original[-SAMPLE_RATE:], atol=1e-3)


def test_a_recording_that_begins_at_a_late_timestamp_begins_at_zero(sample_wav, tmp_path):
    path = tmp_path / "late.mkv"
    write_frames(path, sample_wav, lambda position: position + 3600 * SAMPLE_RATE)
    assert len(read_audio(path, check=go_on)) == pytest.approx(30 * SAMPLE_RATE, abs=200)


def silent_video(path: Path) -> Path:
    with av.open(str(path), "w") as target:
        stream = target.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            for packet in stream.encode(av.VideoFrame(64, 64, "yuv420p")):
                target.mux(packet)
        for packet in stream.encode(None):
            target.mux(packet)
    return path


def encrypted(path: Path, sample: Path) -> Path:
    key = "00112233445566778899aabbccddeeff"
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key, "encryption_kid": key}
    with av.open(str(path), "w", container_options=options) as target, av.open(str(sample)) as source:
        stream = target.add_stream("aac", rate=16_000)
        for frame in source.decode(audio=0):
            for packet in stream.encode(frame):
                target.mux(packet)
        for packet in stream.encode(None):
            target.mux(packet)
    return path


def wav_without_samples(sample: Path) -> bytes:
    with av.open(str(sample)) as source:
        assert source.format.name == "wav"
    return b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0"


BAD_FILES = {
    "empty.wav": (b"", "is empty (0 bytes)"),
    "text.wav": (b"Minutes of the meeting\n" * 40, "plain text"),
    "korean.wav": ("회의록입니다. ".encode() * 400, "plain text"),
    "login.mp3": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
    "list.m3u8": (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/hostname\n", "a playlist"),
    "concat.wav": (b"ffconcat version 1.0\nfile /etc/hostname\n", "plain text"),
    "error.wav": (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "an XML document"),
    "paper.wav": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
    "noise.m4a": (random.Random(3).randbytes(50_000), "not a recording that can be decoded"),
    "noise.mp3": (random.Random(3).randbytes(200_000), ""),
    "zeros.wav": (bytes(5_000), "not a recording that can be decoded"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_not_a_recording_is_refused_with_its_type(tmp_path, name):
    data, expected = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    error = failure(path)
    assert error.reason is FailureReason.UNSUPPORTED_MEDIA
    assert expected in error.message


def test_a_recording_without_a_sample(sample_wav, tmp_path):
    path = tmp_path / "none.wav"
    path.write_bytes(wav_without_samples(sample_wav))
    error = failure(path)
    assert error.reason is FailureReason.UNSUPPORTED_MEDIA
    assert "no audio" in error.message


def test_a_video_without_sound(tmp_path):
    error = failure(silent_video(tmp_path / "mute.mp4"))
    assert error.reason is FailureReason.UNSUPPORTED_MEDIA
    assert "video without an audio track" in error.message


def test_a_cut_off_mp4_whose_index_is_missing(media, tmp_path):
    path = tmp_path / "half.mp4"
    path.write_bytes(media["mp4"].read_bytes()[:40_000])
    error = failure(path)
    assert error.reason is FailureReason.UNSUPPORTED_MEDIA
    assert "incomplete" in error.message


def test_an_encrypted_file_says_so(sample_wav, tmp_path):
    error = failure(encrypted(tmp_path / "drm.mp4", sample_wav))
    assert error.reason is FailureReason.ENCRYPTED


def test_decoding_stops_when_asked_to(media):
    calls = 0

    def stop_soon() -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise Stopped

    with pytest.raises(Stopped):
        read_audio(media["m4a"], check=stop_soon)


def low_rate_wav(path: Path, count: int) -> Path:
    """A sample a second: each second of it is sixteen thousand of ours."""
    header = b"RIFF" + (36 + count).to_bytes(4, "little") + b"WAVEfmt \x10\0\0\0\1\0\1\0\1\0\0\0\1\0\0\0\1\0\x08\0data"
    path.write_bytes(header + count.to_bytes(4, "little") + bytes(range(256)) * (count // 256))
    return path


def too_long(path: Path, seconds: float) -> WorkError:
    with pytest.raises(WorkError) as caught:
        read_audio(path, check=go_on, max_seconds=seconds, too_long="Split it at lunch.")
    assert caught.value.reason is FailureReason.TOO_LARGE
    assert caught.value.message == "Split it at lunch."
    return caught.value


@pytest.fixture
def no_decoding(monkeypatch):
    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("something was decoded")

    monkeypatch.setattr(av, "AudioResampler", decoded)


def test_audio_that_announces_more_than_the_bound_is_refused_undecoded(sample_wav, no_decoding):
    too_long(sample_wav, 29.0)


def test_a_frame_is_measured_before_it_grows(tmp_path, no_decoding, monkeypatch):
    monkeypatch.setattr("steno_runtime.media.audio._duration", lambda *_: None)
    too_long(low_rate_wav(tmp_path / "slow.wav", 8_192), 0.5)


def test_the_limit_is_given_in_minutes_by_default(sample_wav):
    with pytest.raises(WorkError, match=r"longer than the 0\.25 minutes") as caught:
        read_audio(sample_wav, check=go_on, max_seconds=15.0)
    assert "TranscriptionJob" in caught.value.message


def test_a_hole_in_a_small_file_takes_no_memory_beyond_the_bound(sample_wav, tmp_path):
    path = tmp_path / "crafted.mkv"
    hour = 3600 * SAMPLE_RATE
    write_frames(path, sample_wav, lambda position: position if position < SAMPLE_RATE else position + 100 * hour)
    assert path.stat().st_size < 2_000_000
    too_long(path, 3600.0)


def test_silence_is_measured_before_it_is_made():
    from steno_runtime.media.audio import _Samples
    from steno_runtime.media.decoder import LengthLimit

    samples = _Samples(LengthLimit(3600.0, None))
    with pytest.raises(WorkError, match="60 minutes"):
        samples.append_silence(10.0**9)
    assert samples.length == 0


@pytest.mark.parametrize("duration", [-1, -(10**12)])
def test_a_length_below_zero_is_none_at_all(duration):
    from types import SimpleNamespace

    from steno_runtime.media.audio import _duration

    stream = SimpleNamespace(duration=duration, time_base=1)
    assert _duration(SimpleNamespace(duration=None), stream) is None
    assert _duration(SimpleNamespace(duration=duration), SimpleNamespace(duration=None, time_base=None)) is None


def test_a_rate_that_no_recorder_has_is_damage(sample_wav, tmp_path, no_decoding):
    data = bytearray(sample_wav.read_bytes()[:20_000])
    data[24:28] = (1_660_960_384).to_bytes(4, "little")
    path = tmp_path / "rate.wav"
    path.write_bytes(data)
    error = failure(path)
    assert error.reason is FailureReason.UNSUPPORTED_MEDIA
    assert "1660960384 samples a second" in error.message


MUTATIONS = st.one_of(
    st.builds(lambda share: lambda data: data[: int(share * len(data))], st.floats(0, 1)),
    st.builds(
        lambda at, value: lambda data: data[: at % len(data)] + value + data[at % len(data) + len(value) :],
        st.integers(0, 2_000) | st.integers(0, 2**31),
        st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\1\0\0\0"])
        | st.binary(min_size=1, max_size=8),
    ),
    st.builds(
        lambda at, length: lambda data: data[: at % len(data)] + data[at % len(data) + length :],
        st.integers(0, 2**31),
        st.integers(1, 2_000),
    ),
)


@pytest.mark.parametrize("extension", ["wav", "mp3", "m4a", "flac", "ogg", "webm"])
def test_of_a_damaged_file_nothing_comes_but_samples_or_a_reason(media, tmp_path_factory, extension):
    whole = media[extension].read_bytes()[:60_000]
    path = tmp_path_factory.mktemp("damaged") / f"a.{extension}"

    @given(mutations=st.lists(MUTATIONS, min_size=1, max_size=3))
    @settings(max_examples=15, deadline=None)
    def check(mutations):
        data = whole
        for mutate in mutations:
            data = mutate(data) or b"\0"
        path.write_bytes(data)
        try:
            samples = read_audio(path, check=go_on, max_seconds=600.0)
        except WorkError as error:
            assert error.reason is not FailureReason.INTERNAL  # noqa: PT017
        else:
            assert samples.dtype == np.float32
            assert 0 < len(samples) <= 600 * SAMPLE_RATE

    check()
