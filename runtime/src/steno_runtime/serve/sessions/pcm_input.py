"""PCM input of a live session: a client's bytes as 16 kHz PCM, or an error that names what they are instead.

A common mistake of clients is to send a file as if it were samples: the session would be noise. A WAV header that says
what the session was started with is taken off, and so are the chunks that follow its data, wherever files are sent one
after the other.
"""

from __future__ import annotations

import struct
from enum import Enum, auto

from steno_api.server.errors import ApiError, ErrorCode
from steno_runtime.media.sniff import FRAME_BYTES, container_name, is_encoded_text, is_later_piece, may_be_frames
from steno_runtime.serve.sessions.resampler import Resampler

_HEAD_BYTES = 12
_MAX_HEADER_BYTES = 1024 * 1024
_UNKNOWN_SIZE = 0x7FFF_0000
"""Recorders that write to a pipe give a data size of 0, or about as much as fits into 32 (or 31) bits."""
_PCM, _EXTENSIBLE = 1, 0xFFFE
_TRAILERS = frozenset(
    {b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"fact", b"PEAK", b"iXML", b"JUNK", b"junk", b"_PMX",
     b"afsp"}
)  # fmt: skip
"""Chunks that stand after the data; anything else there is taken for samples."""


class _State(Enum):
    HEAD = auto()
    """Nothing is known yet."""
    SAMPLES = auto()
    """PCM, until a message begins with a WAV header."""
    HEADER = auto()
    """Of a WAV file; its data has not begun."""
    DATA = auto()
    """Of a WAV file, whose size is known."""
    TRAILER = auto()
    """After the data of a WAV file."""
    SKIPPED = auto()
    """A chunk that is no audio."""


class PcmInput:
    """Takes a client's messages in order, returns s16le mono 16 kHz."""

    def __init__(self, rate: int) -> None:
        """Create an input of audio with `rate` samples a second.

        Raises:
            ApiError: `InvalidAudio`: the rate is out of range.
        """
        self._rate = rate
        self._resampler = Resampler(rate)
        self._state = _State.HEAD
        self._pending = b""
        self._left = 0

    def convert(self, message: bytes) -> bytes:
        """Return the samples that a message completes; may be empty.

        Raises:
            ApiError: `InvalidAudio`: it is not PCM; the message says what it is.
        """
        if self._state is _State.SAMPLES and _begins_wav(message):
            self._state = _State.HEADER
        return self._resampler.convert(self._samples(message))

    def flush(self) -> bytes:
        """Return what was still held; more may be converted after that.

        Raises:
            ApiError: `InvalidAudio`: as of `convert`.
        """
        held = b""
        if self._state is _State.HEAD:  # too short to be told
            held, self._pending = self._resampler.convert(_require_pcm(self._pending)), b""
        return held + self._resampler.flush()

    def _samples(self, message: bytes) -> bytes:
        """Return the samples of a message, without what a container puts around them."""
        data, self._pending = self._pending + message, b""
        samples = b""
        while data:
            if self._state is _State.SAMPLES:
                return samples + data
            if self._state in (_State.DATA, _State.SKIPPED):
                part, data = data[: self._left], data[self._left :]
                samples += part if self._state is _State.DATA else b""
                self._left -= len(part)
                if not self._left:
                    self._state = _State.TRAILER
                continue
            read = {_State.HEAD: self._read_head, _State.HEADER: self._read_header, _State.TRAILER: self._read_trailer}
            length = read[self._state](data)
            if length is None:
                self._pending = data
                break
            data = data[length:]
        return samples

    def _read_head(self, data: bytes) -> int | None:
        """Tell WAV, other containers and samples apart; return 0, None: more is needed."""
        if len(data) < (FRAME_BYTES if may_be_frames(data) else _HEAD_BYTES):
            return None
        self._state = _State.HEADER if _begins_wav(data) else _State.SAMPLES
        _require_pcm(data)
        return 0

    def _read_trailer(self, data: bytes) -> int | None:
        """Tell what follows the data of a WAV file; return 0, None: more is needed."""
        if len(data) < _HEAD_BYTES:
            return None
        if _begins_wav(data):
            self._state = _State.HEADER
        elif data[:4] in _TRAILERS:
            self._left = 8 + _padded(data[4:8])
            self._state = _State.SKIPPED
        else:  # the header gave the size of the first piece only
            self._state = _State.SAMPLES
        return 0

    def _read_header(self, data: bytes) -> int | None:
        """Read a WAV header; return where its samples begin, None: it is not complete."""
        at, described = _HEAD_BYTES, False
        while len(data) >= at + 8:
            kind, size = data[at : at + 4], data[at + 4 : at + 8]
            if kind == b"data":
                if not described:
                    raise _not_pcm("a damaged WAV file")
                self._left = int.from_bytes(size, "little")
                known = 0 < self._left < _UNKNOWN_SIZE and data[:4] == b"RIFF"
                self._state = _State.DATA if known else _State.SAMPLES
                return at + 8
            if kind == b"fmt " and len(data) >= at + 24:
                self._check_format(data[at + 8 : at + 48])
                described = True
            at += 8 + _padded(size)
        if max(at, len(data)) > _MAX_HEADER_BYTES:
            raise _not_pcm("a damaged WAV file")
        return None

    def _check_format(self, fields: bytes) -> None:
        tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", fields)
        if tag == _EXTENSIBLE and len(fields) >= 26:
            tag = int.from_bytes(fields[24:26], "little")
        if (tag, channels, rate, bits) != (_PCM, 1, self._rate, 16):
            made = f"{rate} Hz, {channels} channel{'s' * (channels != 1)}, {bits} bits"
            raise ApiError(
                ErrorCode.INVALID_AUDIO,
                f"The audio is a WAV file ({made}{'' if tag == _PCM else ', not PCM'}) that does not fit the session: "
                f"{self._rate} Hz, 1 channel, 16 bits. Convert it, or give its rate as sample_rate.",
            )


def _begins_wav(data: bytes) -> bool:
    return data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE"


def _require_pcm(data: bytes) -> bytes:
    if is_later_piece(data):
        raise ApiError(
            ErrorCode.INVALID_AUDIO,
            "The audio is a later piece of WebM, Ogg or MP4, without the header that only the first piece has. Start "
            "the MediaRecorder once the session has started, another one for each connection, and send all it makes.",
        )
    if (name := container_name(data)) is not None:
        raise _not_pcm(name)
    if is_encoded_text(data):
        raise ApiError(
            ErrorCode.INVALID_AUDIO,
            "The audio is text, not PCM. Send base64 as an audio_chunk in a text message, and samples as bytes.",
        )
    return data


def _padded(size: bytes) -> int:
    length = int.from_bytes(size, "little")
    return length + length % 2


def _not_pcm(name: str) -> ApiError:
    return ApiError(
        ErrorCode.INVALID_AUDIO,
        f"The audio is {name}, not PCM. Send 16-bit little-endian samples of one channel, or WebM, Ogg or "
        "MP4 in fragments as a browser's MediaRecorder makes it; decode files first, as `steno stream` does.",
    )
