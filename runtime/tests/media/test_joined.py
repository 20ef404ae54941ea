"""Recordings that were joined byte by byte, lost their beginning, or begin late: all at its time, or a warning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.media.audio import read_audio
from steno_runtime.media.parts import Part, PartFile, find_parts

from .recordings import RATE, find, write

TAGS = {"title": "a part", "comment": "x" * 500}
LIVE = {"live": "1"}
HALVES = {
    "mp3 with tags": ("mp3", "libmp3lame", (44_100, 22_050), {"tags": TAGS}),
    "mp3": ("mp3", "libmp3lame", (44_100, 44_100), {"options": {"id3v2_version": "0"}}),
    "ogg": ("ogg", "libopus", (48_000, 48_000), {}),
    "ogg of flac": ("ogg", "flac", (44_100, 22_050), {}),
    "webm": ("webm", "libopus", (48_000, 48_000), {}),
    "live webm": ("webm", "libopus", (48_000, 48_000), {"options": LIVE}),
    "wav": ("wav", "pcm_s16le", (16_000, 16_000), {}),
    "wav of two rates": ("wav", "pcm_s16le", (16_000, 8_000), {}),
    "flac": ("flac", "flac", (16_000, 16_000), {}),
    "flac of two rates": ("flac", "flac", (16_000, 44_100), {}),
    "m4a": ("m4a", "aac", (44_100, 44_100), {}),
    "adts": ("aac", "aac", (44_100, 22_050), {"container": "adts"}),
    "mpegts": ("ts", "aac", (44_100, 44_100), {}),
    "aiff": ("aiff", "pcm_s16be", (16_000, 16_000), {}),
    "caf": ("caf", "pcm_s16be", (16_000, 16_000), {}),
    "au": ("au", "pcm_s16be", (16_000, 16_000), {}),
}


@pytest.fixture(scope="session")
def halves(clean) -> tuple[np.ndarray, np.ndarray]:
    return clean[7 * RATE : 12 * RATE], clean[20 * RATE : 25 * RATE]


def read(path: Path, **options: object) -> tuple[np.ndarray, list[ResultWarning], list[float]]:
    found, shares = [], []
    samples = read_audio(path, check=lambda: None, on_warning=found.append, on_progress=shares.append, **options)  # pyright: ignore[reportArgumentType]
    return samples, found, shares


def messages(warnings: list[ResultWarning]) -> str:
    assert {warning.reason for warning in warnings} <= {WarningReason.DAMAGED_SOURCE}
    return " ".join(warning.message for warning in warnings)


@pytest.mark.parametrize("kind", HALVES)
def test_s23_joined_recordings_follow_each_other(halves, tmp_path, kind):
    extension, codec, rates, options = HALVES[kind]
    joined = tmp_path / f"joined.{extension}"
    parts = [
        write(tmp_path / f"{rate}-{number}.{extension}", half, codec, rate, **options).read_bytes()
        for number, (half, rate) in enumerate(zip(halves, rates, strict=True))
    ]
    joined.write_bytes(b"".join(parts))
    samples, found, shares = read(joined)
    assert found == []
    assert len(samples) == pytest.approx(10 * RATE, abs=0.15 * RATE)
    for half, start in zip(halves, (0.0, 5.0), strict=True):
        at, likeness = find(samples, half)
        assert at == pytest.approx(start, abs=0.1)
        assert likeness > 0.97
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert sum(share < 0.75 for share in shares) > 0.3 * len(shares), "it does not stand at the end"


def test_s23_what_follows_and_cannot_be_read_is_named(halves, tmp_path):
    first, second = (write(tmp_path / f"{number}.wav", half, "pcm_s16le") for number, half in enumerate(halves))
    both = tmp_path / "both.wav"
    for rest, said in (
        (write(tmp_path / "b.mp3", halves[1], "libmp3lame").read_bytes(), "goes on for"),
        (second.read_bytes()[:24] + bytes(20) + second.read_bytes()[44:], "number 2 cannot be read"),
    ):
        both.write_bytes(first.read_bytes() + rest)
        samples, found, _ = read(both)
        assert len(samples) == pytest.approx(5 * RATE, abs=RATE // 10)
        assert said in messages(found)


def test_s23_a_tag_or_padding_behind_a_wav_file_is_no_warning(halves, tmp_path):
    path = write(tmp_path / "a.wav", halves[0], "pcm_s16le")
    whole = path.read_bytes()
    for rest in (b"TAG" + bytes(125), bytes(100_000), b""):
        path.write_bytes(whole + rest)
        samples, found, _ = read(path)
        assert (len(samples), found) == (5 * RATE, [])


def test_s23_a_second_tag_in_front_is_no_recording(halves, tmp_path):
    path = write(tmp_path / "a.mp3", halves[0], "libmp3lame", tags=TAGS)
    whole = path.read_bytes()
    size = 10 + sum(byte << shift for byte, shift in zip(whole[6:10], (21, 14, 7, 0), strict=True))
    path.write_bytes(whole[:size] + whole + whole[:size])
    assert len(find_parts(path)) == 1
    samples, _, _ = read(path)
    assert find(samples, halves[0])[1] > 0.97


@pytest.mark.parametrize("where", ["cluster", "block"])
def test_s23_a_piece_without_its_header_is_refused_with_a_remedy(halves, tmp_path, where):
    path = write(tmp_path / "a.webm", halves[0], "libopus", 48_000, options=LIVE)
    data = path.read_bytes()
    cluster = data.index(b"\x1f\x43\xb6\x75")
    path.write_bytes(data[(cluster if where == "cluster" else data.index(b"\xa3", cluster)) :])
    with pytest.raises(WorkError, match=r"later piece of a WebM .* joined in order") as caught:
        read(path)
    assert caught.value.reason is FailureReason.UNSUPPORTED_MEDIA


@pytest.mark.parametrize("extension", ["webm", "wav", "flac"])
@pytest.mark.parametrize("junk", [b"app: id=7;" * 10, bytes(80_000), np.random.default_rng(5).bytes(80_000)])
def test_s23_junk_in_front_of_the_header_is_passed_over_and_said(halves, tmp_path, extension, junk):
    codec = {"webm": "libopus", "wav": "pcm_s16le", "flac": "flac"}[extension]
    path = write(tmp_path / f"a.{extension}", halves[0], codec, 48_000)
    path.write_bytes(junk + path.read_bytes())
    samples, found, _ = read(path)
    at, likeness = find(samples, halves[0])
    assert (round(at, 1), likeness > 0.97) == (0.0, True)
    assert f"begins with {len(junk)} bytes" in messages(found)


LATE = {
    "mkv": ("mpeg4", "aac", 16_000, {}),
    "mp4": ("mpeg4", "aac", 16_000, {}),
    "webm": ("libvpx", "libopus", 48_000, LIVE),
}


@pytest.mark.parametrize("extension", LATE)
@pytest.mark.parametrize("hole", [0.0, 2.0])
def test_s25_sound_that_begins_after_the_picture_has_the_pictures_times(halves, tmp_path, extension, hole):
    video, codec, rate, options = LATE[extension]
    path = write(
        tmp_path / f"late.{extension}",
        np.concatenate([halves[0], halves[1][:RATE]]),
        codec,
        rate,
        video=video,
        options=options,
        time_of=lambda position: position + 4.9 + (hole if position >= 5.0 else 0.0),
    )
    samples, found, _ = read(path)
    assert found == []
    assert len(samples) == pytest.approx((10.9 + hole) * RATE, abs=0.1 * RATE)
    assert find(samples, halves[0][: 4 * RATE])[0] == pytest.approx(4.9, abs=0.05)
    assert find(samples, halves[1][RATE // 4 : RATE])[0] == pytest.approx(10.15 + hole, abs=0.08)


def test_s25_a_gap_beyond_the_end_is_damage_and_said(halves, tmp_path):
    path = write(
        tmp_path / "jump.mkv",
        halves[0],
        "pcm_s16le",
        options=LIVE,
        time_of=lambda position: position + (90_000.0 if position >= 2.5 else 0.0),
    )
    samples, found, _ = read(path)
    assert len(samples) == pytest.approx(5 * RATE, abs=RATE // 10)
    assert "jump by 90000 s" in messages(found)


@given(st.binary(max_size=200), st.integers(0, 50), st.data())
@settings(max_examples=50, deadline=None)
def test_a_part_of_a_file_reads_like_a_file(tmp_path_factory, data, start, moves):
    path = tmp_path_factory.mktemp("part") / "a"
    path.write_bytes(data)
    part = Part(min(start, len(data)), len(data))
    import io

    whole = io.BytesIO(data[part.start :])
    with PartFile(path, part) as file:
        for _ in range(5):
            offset, size = moves.draw(st.integers(0, 250)), moves.draw(st.integers(-1, 250))
            whence = moves.draw(st.sampled_from([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END]))
            assert file.seek(offset, whence) == whole.seek(offset, whence)
            assert file.read(size) == whole.read(size)
            assert file.tell() == whole.tell()
