"""Recordings decoded while they arrive: the samples of the whole file, whatever the pieces, and in bounded blocks."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steno_api.failures import FailureReason
from steno_runtime import sandbox
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.media import live
from steno_runtime.media.audio import read_audio
from steno_runtime.media.live import BLOCK_SAMPLES, LiveDecoder, LiveFormat, beginning, may_begin
from steno_runtime.media.sandboxed import MODULES
from steno_runtime.media.sniff import is_later_piece
from steno_runtime.sandbox import ProtocolFault, Reply

from .recordings import RATE, write

SPOKEN = 0.3 * np.sin(np.cumsum(np.linspace(0.05, 0.9, 3 * RATE))).astype(np.float32)
"""A tone that rises, so that every moment is told from the others."""
KINDS = {"webm": LiveFormat.WEBM, "ogg": LiveFormat.OGG, "mp4": LiveFormat.MP4}
CODECS = {"webm": "libopus", "ogg": "libopus", "mp4": "aac"}
BLOCK = rb"\xa3[\x40-\x7f].\x81..[\x00\x80]"
"""A SimpleBlock of WebM, up to its packet."""
AS_RECORDED = {
    "webm": {"live": "1", "cluster_time_limit": "500"},
    "ogg": {"page_duration": "100000"},
    "mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "250000"},
}
"""As a MediaRecorder writes: without sizes, in short clusters, pages or fragments."""


@pytest.fixture(scope="module", autouse=True)
def imported_once() -> None:
    sandbox.prepare(*MODULES)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recorded")
    return {name: record(folder / f"a.{name}", SPOKEN) for name in KINDS}


def record(path: Path, samples: np.ndarray) -> Path:
    """Write what a MediaRecorder makes of the samples; return its path."""
    name = path.suffix[1:]
    return write(path, samples, CODECS[name], 48_000, options=AS_RECORDED[name])


def boxes(data: bytes) -> list[bytes]:
    """Return the boxes of MP4, one behind the other."""
    found: list[bytes] = []
    while data:
        size = int.from_bytes(data[:4])
        found.append(data[:size])
        data = data[size:]
    return found


def without_second_part(name: str, data: bytes) -> list[bytes]:
    """Return a recording in pieces, the second of which is missing: of MP4, a fragment, as a MediaRecorder sends it."""
    if name != "mp4":
        first, _, *others = pieces(data, 8_000)
        return [first, *others]
    all_boxes = boxes(data)
    assert [box[4:8] for box in all_boxes[:8:2]] == [b"ftyp", b"moof", b"moof", b"moof"]
    return [*all_boxes[:8], *all_boxes[12:]]


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def decoded(decoder: LiveDecoder, piece: bytes | None) -> np.ndarray:
    """Decode a piece (None: the end) to its last block; at full scale 1."""
    block = decoder.finish() if piece is None else decoder.decode(piece)
    blocks = [block.pcm]
    while block.more:
        block = decoder.decode(None)
        blocks.append(block.pcm)
    assert max(map(len, blocks)) <= 2 * BLOCK_SAMPLES
    return np.frombuffer(b"".join(blocks), "<i2").astype(np.float32) / 32768


def decode_all(kind: LiveFormat, parts: list[bytes], *, max_seconds: float = 3600.0) -> np.ndarray:
    decoder = LiveDecoder(kind, max_seconds=max_seconds)
    try:
        return np.concatenate([decoded(decoder, part) for part in (*parts, None)])
    finally:
        decoder.close()


@pytest.mark.parametrize("size", [400, 4_000, 10**6])
@pytest.mark.parametrize("name", KINDS)
def test_s9_the_samples_are_those_of_the_whole_file(recorded: dict[str, Path], name: str, size: int):
    data = recorded[name].read_bytes()
    assert beginning(data) is KINDS[name]
    samples = decode_all(KINDS[name], pieces(data, size))
    np.testing.assert_allclose(samples, read_audio(recorded[name], check=lambda: None), atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_s9_nothing_is_held_back(recorded: dict[str, Path], name: str):
    data = recorded[name].read_bytes()
    decoder = LiveDecoder(KINDS[name], max_seconds=10)
    try:
        samples = 0
        for part in (1, 2, 3, 4):
            samples += len(decoded(decoder, data[(part - 1) * len(data) // 4 : part * len(data) // 4]))
            assert samples / len(SPOKEN) > part / 4 - 0.15
    finally:
        decoder.close()


@pytest.mark.parametrize(("name", "video"), [("webm", "libvpx"), ("mp4", "mpeg4")])
def test_s9_the_audio_of_a_video_is_taken(tmp_path: Path, name: str, video: str):
    path = write(
        tmp_path / f"a.{name}", SPOKEN, CODECS[name], 48_000, video=video, options={"live": "1"} | AS_RECORDED[name]
    )
    assert len(decode_all(KINDS[name], pieces(path.read_bytes(), 900))) == pytest.approx(len(SPOKEN), abs=2_000)


def test_a_small_piece_with_much_audio_comes_in_blocks(tmp_path: Path):
    path = write(tmp_path / "a.ogg", np.zeros(40 * RATE, np.float32), "libopus", 48_000)
    data = path.read_bytes()
    assert len(data) < 100_000
    assert len(decode_all(LiveFormat.OGG, [data])) == pytest.approx(40 * RATE, abs=RATE)
    with pytest.raises(WorkError, match="longer") as caught:
        decode_all(LiveFormat.OGG, [data], max_seconds=20)
    assert caught.value.reason is FailureReason.TOO_LARGE


def random_bytes(count: int) -> bytes:
    return np.random.default_rng(5).integers(0, 256, count, np.uint8).tobytes()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "after",
    [pytest.param(0, id="nothing"), pytest.param(20, id="half a header"), pytest.param(800, id="the header")],
)
def test_s9_what_is_damaged_ends_with_an_error(recorded: dict[str, Path], name: str, after: int):
    data = recorded[name].read_bytes()[: after or 6] + random_bytes(5 * 2**20)
    with pytest.raises(WorkError) as caught:
        decode_all(KINDS[name], pieces(data, 2**20))
    assert caught.value.reason is FailureReason.UNSUPPORTED_MEDIA


@pytest.mark.parametrize("name", KINDS)
def test_s9_a_piece_that_is_missing_becomes_silence_and_is_counted(recorded: dict[str, Path], name: str):
    parts = without_second_part(name, recorded[name].read_bytes())
    decoder = LiveDecoder(KINDS[name], max_seconds=10)
    try:
        samples = np.concatenate([decoded(decoder, part) for part in (*parts, None)])
        assert decoder.damaged == 1
    finally:
        decoder.close()
    assert len(samples) == pytest.approx(len(SPOKEN), abs=1_000)
    assert not samples[RATE : RATE + 1_600].any()
    later = slice(2 * RATE, int(2.3 * RATE))
    shifts = [np.corrcoef(np.roll(samples, -by)[later], SPOKEN[later])[0, 1] for by in range(-400, 400)]
    assert max(shifts) > 0.95


@pytest.mark.parametrize("name", KINDS)
def test_s9_a_recording_that_is_cut_off_is_read_to_there(recorded: dict[str, Path], name: str):
    data = recorded[name].read_bytes()
    samples = decode_all(KINDS[name], [data[: len(data) // 2]])
    assert 0.3 < len(samples) / len(SPOKEN) < 0.6


@pytest.mark.parametrize("name", KINDS)
def test_s9_a_later_piece_is_known(recorded: dict[str, Path], name: str):
    data = recorded[name].read_bytes()
    marks = {"webm": (b"\x1f\x43\xb6\x75", BLOCK), "ogg": (b"OggS",), "mp4": (b"....moof", b"....mdat")}[name]
    for mark in marks:
        found = re.compile(mark, re.DOTALL).search(data, len(data) // 2)
        assert found is not None
        assert is_later_piece(data[found.start() :])
        assert beginning(data[found.start() :]) is None
    assert not is_later_piece(data)


def test_the_first_bytes_are_waited_for():
    for begin in (b"\x1a\x45\xdf\xa3\x01", b"OggS\x00\x02"):
        assert [may_begin(begin[:size]) for size in range(len(begin) + 1)] == [True] * len(begin) + [False]
        assert beginning(begin) is not None
    assert not may_begin(b"\x01")
    assert not may_begin(bytes(5))
    assert not is_later_piece(b"\xa3" + bytes(200))


def test_mp4_is_waited_for_up_to_its_first_fragment(recorded: dict[str, Path]):
    data = recorded["mp4"].read_bytes()
    header = sum(map(len, boxes(data)[:2]))
    assert all(may_begin(data[:size]) and beginning(data[:size]) is None for size in range(header))
    assert beginning(data[:header]) is LiveFormat.MP4
    assert not may_begin(data[:header])


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["header last", "header first"])
def test_s9_mp4_that_is_not_in_fragments_is_none(tmp_path: Path, options: dict[str, str]):
    data = write(tmp_path / "a.m4a", SPOKEN, "aac", 48_000, options=options).read_bytes()
    assert beginning(data) is None
    assert not may_begin(data)


@pytest.mark.parametrize("size", [b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\7", b"\xff\xff\xff\xff"])
def test_s9_a_header_of_mp4_that_cannot_end_is_none(size: bytes):
    begin = b"\0\0\0\x14ftypiso5\0\0\0\0mp41"
    assert may_begin(begin)
    for kind in (b"moov", b"free"):
        assert not may_begin(begin + size + kind)
        assert beginning(begin + size + kind) is None


def crash(_emit: Any, **_: Any) -> Reply:
    """End as an access out of bounds does."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return Reply()


def test_a_crash_of_the_decoder_is_the_recordings_end(recorded: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "_decode", crash)
    with pytest.raises(WorkError, match="crashed") as caught:
        decode_all(LiveFormat.WEBM, [recorded["webm"].read_bytes()])
    assert caught.value.reason is FailureReason.UNSUPPORTED_MEDIA


def test_a_stop_is_noticed(recorded: dict[str, Path]):
    decoder = LiveDecoder(LiveFormat.WEBM, max_seconds=10)
    decoder.stop()
    with pytest.raises(Stopped):
        decoder.decode(recorded["webm"].read_bytes())
    decoder.close()


@pytest.mark.parametrize(
    ("samples", "value"),
    [
        (np.zeros((4, 4), np.float32), {}),
        (np.zeros(16, np.uint8), {}),
        (np.full(16, np.nan, np.float32), {}),
        (np.zeros(16, np.float32), {"more": 1}),
        (np.zeros(16, np.float32), {"damaged": -1}),
        (np.zeros(16, np.float32), {"damaged": True}),
    ],
)
def test_a_block_that_cannot_be_is_not_believed(samples: np.ndarray, value: dict[str, Any]):
    with pytest.raises(ProtocolFault):
        live._parse(Reply({"more": False, "damaged": 0} | value, [samples]))
