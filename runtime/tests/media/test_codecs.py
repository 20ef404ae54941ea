"""Which decoders a file may choose (L14): those of recordings, and none of pictures or subtitles."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av import logging as ffmpeg_logging
from av.codec import Codec

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.media.audio import OPTIONS, read_audio
from steno_runtime.media.tracks import CODECS

from .recordings import RATE, write

SECOND = np.sin(np.arange(RATE) / 9).astype(np.float32) / 2
DIALOGIC_DK4 = 0x61
"""A variant of ADPCM of which only games made use."""


@pytest.fixture
def verbose() -> Iterator[None]:
    before = ffmpeg_logging.get_level()
    ffmpeg_logging.set_level(ffmpeg_logging.VERBOSE)
    yield
    ffmpeg_logging.set_level(before)


@pytest.mark.usefixtures("verbose")
def test_l14_only_known_audio_decoders_are_opened_to_probe(tmp_path: Path):
    allowed = OPTIONS["codec_whitelist"].split(",")
    assert {Codec(name, "r").type for name in allowed if name in av.codecs_available} == {"audio"}
    path = write(tmp_path / "a.mkv", SECOND, "pcm_s16le", video="mpeg4")
    with ffmpeg_logging.Capture() as logged:
        samples = read_audio(path, check=lambda: None)
    assert len(samples) == pytest.approx(RATE, abs=RATE // 10)
    assert any("whitelist" in text for *_, text in logged), "FFmpeg refuses to open the decoder of the pictures"


def test_l14_a_codec_that_no_recorder_has_is_not_decoded(tmp_path: Path):
    path = write(tmp_path / "a.wav", SECOND, "adpcm_ms")
    data = bytearray(path.read_bytes())
    at = data.index(b"fmt ") + 8
    assert struct.unpack_from("<H", data, at) == (2,)
    struct.pack_into("<H", data, at, DIALOGIC_DK4)
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == "adpcm_ima_dk4"
    with pytest.raises(WorkError, match="codec that is not supported") as caught:
        read_audio(path, check=lambda: None)
    assert caught.value.reason is FailureReason.UNSUPPORTED_MEDIA


def test_l14_every_codec_of_recorders_and_phones_is_known():
    for name in ("pcm_s16le", "pcm_mulaw", "mp3float", "aac", "flac", "libopus", "vorbis", "amrnb", "gsm_ms", "wmav2"):
        assert name in CODECS
        assert name in av.codecs_available
