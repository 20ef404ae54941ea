"""WAV files as recorders, pipes and editors leave them, read without the runtime."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_client import audio
from steno_client.errors import EXIT_INPUT, EXIT_UNAVAILABLE, CommandError
from steno_client.wav import WavError, read_pcm

RATE = 16_000
PCM = b"".join(struct.pack("<h", number % 2_000 - 1_000) for number in range(RATE))
"""A second."""
INFO = b"INFOISFT" + struct.pack("<I", 14) + b"Lavf62.12.100\0"


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def fmt(tag: int = 1, channels: int = 1, bits: int = 16, extra: bytes = b"") -> bytes:
    block = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, RATE, RATE * block, block, bits) + extra)


def riff(*chunks: bytes, name: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return name + struct.pack("<I", len(body) if size is None else size) + body


def extensible(tag: int = 1, bits: int = 16) -> bytes:
    guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    return fmt(0xFFFE, bits=bits, extra=struct.pack("<HHI", 22, bits, 4) + guid)


def ds64(size: int) -> bytes:
    return chunk(b"ds64", struct.pack("<QQQI", 0, size, 0, 0))


LIST = chunk(b"LIST", INFO)
RIGHT = {
    "plain": riff(fmt(), chunk(b"data", PCM)),
    "size 0": riff(fmt(), chunk(b"data", PCM, 0), size=0),
    "size FFFFFFFF": riff(fmt(), LIST, chunk(b"data", PCM, 0xFFFFFFFF), size=0xFFFFFFFF),
    "sox": riff(fmt(), chunk(b"data", PCM, 0x7FFFF000), size=0x7FFFF024),
    "LIST before": riff(fmt(), LIST, chunk(b"data", PCM)),
    "LIST after": riff(fmt(), chunk(b"data", PCM), LIST),
    "LIST after, size 0": riff(fmt(), chunk(b"data", PCM, 0), LIST),
    "odd chunk": riff(fmt(), chunk(b"bext", b"odd"), chunk(b"data", PCM)),
    "RF64": riff(ds64(len(PCM)), fmt(), chunk(b"data", PCM, 0xFFFFFFFF), LIST, name=b"RF64", size=0xFFFFFFFF),
    "RF64 from a pipe": riff(ds64(0), fmt(), chunk(b"data", PCM, 0xFFFFFFFF), name=b"RF64", size=0xFFFFFFFF),
    "extensible": riff(extensible(), chunk(b"data", PCM)),
    "two": riff(fmt(), chunk(b"data", PCM[:16_000])) + riff(fmt(), chunk(b"data", PCM[16_000:])),
    "half a sample": riff(fmt(), chunk(b"data", PCM + b"\1")),
}
REFUSED = {
    "a-law": (riff(fmt(6, bits=8), chunk(b"data", PCM)), "has samples of WAV format 0x6, not PCM"),
    "mu-law": (riff(fmt(7, bits=8), chunk(b"data", PCM)), "0x7"),
    "ADPCM": (riff(fmt(0x11, bits=4), chunk(b"data", PCM)), "0x11"),
    "GSM": (riff(fmt(0x31, bits=0), chunk(b"data", PCM)), "0x31"),
    "float": (riff(fmt(3, bits=32), chunk(b"data", PCM)), "0x3"),
    "extensible float": (riff(extensible(3, 32), chunk(b"data", PCM)), "0x3"),
    "24 bits": (riff(extensible(bits=24), chunk(b"data", PCM)), "has 24-bit samples"),
    "8 bits": (riff(fmt(bits=8), chunk(b"data", PCM)), "has 8-bit samples"),
    "no channel": (riff(fmt(channels=0), chunk(b"data", PCM)), "no channel"),
    "big endian": (riff(fmt(), chunk(b"data", PCM), name=b"RIFX"), "is not a WAV file"),
    "two formats": (riff(fmt(), chunk(b"data", PCM)) + riff(fmt(channels=2), chunk(b"data", PCM)), "different formats"),
    "no samples": (riff(fmt(), chunk(b"data", b"")), "holds no samples"),
    "no samples but a LIST": (riff(fmt(), chunk(b"data", b""), LIST), "holds no samples"),
    "no data": (riff(fmt()), "holds no samples"),
    "no format": (riff(chunk(b"data", PCM)), "holds no samples"),
    "cut off": (riff(fmt())[:30], "cut off"),
    "empty": (b"", "is not a WAV file"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_s21_the_samples_and_nothing_else_whatever_the_header_announces(tmp_path: Path, name: str):
    (tmp_path / "a.wav").write_bytes(RIGHT[name])
    recording = audio.read_wav(tmp_path / "a.wav")
    assert (recording.sample_rate, recording.pcm) == (RATE, PCM)


@pytest.mark.parametrize("name", REFUSED)
def test_s21_what_cannot_be_read_is_refused_with_a_remedy(tmp_path: Path, name: str):
    data, message = REFUSED[name]
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(CommandError, match=message) as caught:
        audio.read_wav(tmp_path / "a.wav")
    assert caught.value.exit_code in (EXIT_INPUT, EXIT_UNAVAILABLE)
    assert "convert it" in str(caught.value) or "check the recorder" in str(caught.value)


class Counting(io.BytesIO):
    """Remembers the largest read."""

    largest = 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size >= 0
        self.largest = max(self.largest, size)
        return super().read(size)


def test_s21_no_more_is_asked_for_than_a_block():
    file = Counting(RIGHT["size FFFFFFFF"])
    assert read_pcm(file)[1] == PCM
    assert file.largest <= 1 << 20


@given(st.data())
def test_any_damage_gives_samples_or_a_refusal(data: st.DataObject):
    whole = bytearray(data.draw(st.sampled_from(list(RIGHT.values())))[:200])
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        _, samples = read_pcm(io.BytesIO(bytes(whole)))
    except WavError:
        return
    assert 0 < len(samples) <= len(whole)
