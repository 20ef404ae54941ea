"""WAV files as recorders, pipes and editors leave them: thirty seconds, and no click at the end."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_runtime.errors import WorkError
from steno_runtime.media.audio import read_audio

from .recordings import RATE, find, write

INFO = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf62.12.100\0"


def read(path: Path) -> tuple[np.ndarray, list[ResultWarning]]:
    found: list[ResultWarning] = []
    return read_audio(path, check=lambda: None, on_warning=found.append), found


def with_sizes(whole: bytes, riff: int, data: int) -> bytes:
    at = whole.index(b"data") + 4
    return whole[:4] + struct.pack("<I", riff) + whole[8:at] + struct.pack("<I", data) + whole[at + 4 :]


@pytest.mark.parametrize(
    "kind", ["size 0", "size FFFFFFFF", "sox", "LIST after", "LIST before", "LIST before, size FFFFFFFF", "RF64"]
)
def test_s21_the_samples_and_nothing_else_whatever_the_header_announces(clean, sample_wav, tmp_path, kind):
    whole = sample_wav.read_bytes()
    listed = whole[:12] + whole[12:36] + INFO + whole[36:]
    data = {
        "size 0": lambda: with_sizes(whole, 0, 0),
        "size FFFFFFFF": lambda: with_sizes(whole, 0xFFFFFFFF, 0xFFFFFFFF),
        "sox": lambda: with_sizes(whole, 0x7FFFF024, 0x7FFFF000),
        "LIST after": lambda: whole + INFO,
        "LIST before": lambda: listed,
        "LIST before, size FFFFFFFF": lambda: with_sizes(listed, 0xFFFFFFFF, 0xFFFFFFFF),
        "RF64": lambda: write(tmp_path / "rf64.wav", clean, "pcm_s16le", options={"rf64": "always"}).read_bytes(),
    }[kind]()
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    samples, found = read(path)
    assert len(samples) == len(clean)
    assert np.abs(samples - clean).max() < 2e-4, "no click either"
    assert found == []


CODECS = {
    "pcm_alaw": 0.98,
    "pcm_mulaw": 0.98,
    "pcm_u8": 0.97,
    "pcm_s24le": 0.99,
    "adpcm_ms": 0.98,
    "adpcm_ima_wav": 0.98,
}


@pytest.mark.parametrize("codec", CODECS)
def test_s21_every_coding_of_wav_gives_the_same_thirty_seconds(clean, tmp_path, codec):
    samples, found = read(write(tmp_path / "a.wav", clean, codec))
    assert len(samples) == pytest.approx(len(clean), abs=0.2 * RATE)  # the last block is padded
    assert find(samples, clean)[1] > CODECS[codec]
    assert not {warning.reason for warning in found} & {WarningReason.DAMAGED_SOURCE}


def test_s21_gsm_in_wav_is_read(tmp_path):
    """There is no encoder for it: frames of silence have to do."""
    body = bytes(65) * 50  # 40 ms each
    fmt = struct.pack("<HHIIHHHH", 0x31, 1, 8000, 1625, 65, 0, 2, 320)
    chunks = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(body)) + body
    path = tmp_path / "gsm.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    assert len(read(path)[0]) == pytest.approx(2 * RATE, abs=RATE // 10)


def test_s21_a_header_that_announces_less_than_there_is_is_said(clean, sample_wav, tmp_path):
    whole = sample_wav.read_bytes()
    path = tmp_path / "stale.wav"
    path.write_bytes(with_sizes(whole, 320_036, 320_000))
    samples, found = read(path)
    assert len(samples) == 10 * RATE
    (warning,) = found
    assert warning.reason is WarningReason.DAMAGED_SOURCE
    assert "goes on for 640" in warning.message


def test_s21_a_wav_without_samples_is_refused(sample_wav, tmp_path):
    path = tmp_path / "none.wav"
    whole = sample_wav.read_bytes()
    path.write_bytes(with_sizes(whole[: whole.index(b"data") + 8], 36, 0))
    with pytest.raises(WorkError, match="no audio"):
        read(path)
