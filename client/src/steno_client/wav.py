"""RIFF/WAVE parser: the PCM samples of a WAV file, whatever length its header announces.

The standard library's `wave` believes the header. A recorder that writes to a pipe cannot know the length and leaves 0
or 0xFFFFFFFF there, of which `wave` reads nothing, or asks for 4 GiB. Read in order, without seeking: a pipe will do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_RIFF = (b"RIFF", b"RF64", b"BW64")
_PCM, _EXTENSIBLE = 1, 0xFFFE
_UNKNOWN = 0xFFFFFFFF
_UNKNOWN_64 = 2**64 - 1
_BLOCK = 1 << 20
_TAIL = 1 << 16
"""How far from the end a chunk is looked for where the length of the samples is not known."""


class WavError(Exception):
    """The file is not a WAV file, or of a kind that is not read here."""


class EmptyWavError(WavError):
    """The file has no samples."""


@dataclass(frozen=True)
class WavFormat:
    """How samples are stored: integers of `bits` bits, `rate` a second (Hz) in each of `channels`."""

    channels: int
    rate: int
    bits: int


def read_pcm(file: BinaryIO) -> tuple[WavFormat, bytes]:
    """Return the format and the interleaved samples of a WAV file, or of several that were joined.

    Raises:
        WavError: it is none, its samples are not PCM or have several formats, or there are none.
    """
    found: set[WavFormat] = set()
    samples = bytearray()
    for fmt, data in _parts(file):
        found.add(fmt)
        samples += data
    if len(found) > 1:
        raise WavError("consists of several recordings of different formats")
    if not samples:
        raise EmptyWavError("holds no samples")
    return found.pop(), bytes(samples)


def _parts(file: BinaryIO) -> Iterator[tuple[WavFormat, bytes]]:
    """Yield the format and samples of each WAV file that follows in `file`."""
    fmt: WavFormat | None = None
    size_64: int | None = None
    begun = False
    while len(head := file.read(8)) == 8:
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name in _RIFF and file.read(4) == b"WAVE":
            fmt, size_64, begun = None, None, True
        elif not begun:
            raise WavError("is not a WAV file of PCM samples")
        elif name == b"ds64":
            size_64 = int.from_bytes(_read(file, size)[8:16], "little")
        elif name == b"fmt ":
            fmt = _parse_format(_read(file, size))
        elif name == b"data" and fmt is not None:
            if size == _UNKNOWN and size_64 not in (None, 0, _UNKNOWN_64):
                size = size_64
            yield fmt, _read_samples(file, size)
        else:
            _read(file, size)
        if size % 2 and name not in _RIFF:
            file.read(1)
    if not begun:
        raise WavError("is not a WAV file of PCM samples")


def _parse_format(body: bytes) -> WavFormat:
    if len(body) < 16:
        raise WavError("is damaged: its format is cut off")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        (tag,) = struct.unpack_from("<H", body, 24)
    if tag != _PCM:
        raise WavError(f"has samples of WAV format {tag:#x}, not PCM")
    if channels == 0:
        raise WavError("is damaged: it announces no channel")
    return WavFormat(channels, rate, bits)


def _read_samples(file: BinaryIO, size: int) -> bytes:
    """Return the samples of a data chunk; of one that does not know its size, all that is left but its last chunk."""
    if size not in (0, _UNKNOWN):
        return _read(file, size)
    data = _read(file, None)
    at = data.rfind(b"LIST", max(0, len(data) - _TAIL))
    if at >= 0 and at + 8 + int.from_bytes(data[at + 4 : at + 8], "little") in (len(data), len(data) - 1):
        return data[:at]
    return data


def _read(file: BinaryIO, size: int | None) -> bytes:
    """Return `size` bytes, fewer at the end of the file; None: all that is left. No more is allocated than there is."""
    data = bytearray()
    while block := file.read(_BLOCK if size is None else min(_BLOCK, size - len(data))):
        data += block
    return bytes(data)
