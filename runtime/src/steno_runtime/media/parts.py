"""Concatenated recordings: the byte ranges of a file in which one after the other begins.

FFmpeg's demuxers go on over the seam of joined WebM, Ogg or ADTS files, but stop at the end of the first WAV or MP4
file, stumble over the tags of an MP3, and want a WebM file's header in front. Seams are found by magic bytes that are
too long to occur by chance.
"""

from __future__ import annotations

import io
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from steno_runtime.media.sniff import FRAME_BYTES, container_name


@dataclass(frozen=True)
class _Signature:
    """What a file of a kind begins with: `needle`, which is searched for quickly, and all of it around that."""

    needle: bytes
    offset: int
    whole: re.Pattern[bytes]

    def find(self, data: mmap.mmap, start: int, end: int) -> Iterator[int]:
        """Yield where it is between two places."""
        at = data.find(self.needle, start, end)
        while at >= 0:
            if at >= self.offset and self.whole.match(data, at - self.offset):
                yield at - self.offset
            at = data.find(self.needle, at + 1, end)


_WAV = _Signature(b"WAVE", 8, re.compile(rb"(?:RIFF|RF64|BW64)....WAVE", re.DOTALL))
_FLAC = _Signature(b"fLaC\x00\x00\x00\x22", 0, re.compile(b"fLaC"))
_AIFF = _Signature(b"FORM", 0, re.compile(rb"FORM....AIF[FC]", re.DOTALL))
_CAF = _Signature(b"caff\x00\x01\x00\x00desc", 0, re.compile(b"caff"))
_EBML = b"\x1a\x45\xdf\xa3"
_MATROSKA = _Signature(_EBML, 0, re.compile(rb".{4,60}?\x42\x82.{1,8}?(?:webm|matroska)", re.DOTALL))
_ID3 = _Signature(b"ID3", 0, re.compile(rb"ID3[\x02-\x04]\x00[\x00-\xf0][\x00-\x7f]{4}", re.DOTALL))
_STOPPING = (_WAV, _FLAC, _AIFF, _CAF)
"""Kinds whose demuxer stops at the end of the first file."""
_MAX_JUNK = 1 << 20
"""How far into a file its recording may begin."""
_MAX_PARTS = 10_000
_MIN_FRAMES = 4096
"""Fewer bytes after a tag are no recording."""
_CHUNK_NAME = re.compile(rb"[ -~]{4}")
_MIN_UNREAD = 4096
"""Fewer bytes after the last chunk are a tag."""


@dataclass(frozen=True)
class Part:
    """The bytes `start` to `end` of a file, which are a recording."""

    start: int
    end: int


def find_parts(path: Path) -> list[Part]:
    """Return the recordings that a file consists of: of an ordinary file one, from its first byte to its last.

    What is in front of the first part is not a recording.
    """
    size = path.stat().st_size
    if size == 0:
        return [Part(0, 0)]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts = list(_starts(data))[:_MAX_PARTS] or [0]
    return [Part(start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]


def _starts(data: mmap.mmap) -> Iterator[int]:
    if data[4:8] == b"ftyp":
        return _mp4_starts(data)
    if _ID3.whole.match(data):
        return _mp3_starts(data)
    kind = next((kind for kind in _STOPPING if next(kind.find(data, 0, 12), None) == 0), None)
    if kind is not None:
        return kind.find(data, 0, len(data))
    if data[:4] == b"RIFF" or container_name(data[:FRAME_BYTES]) is not None:  # RIFF: an AVI file
        return iter([0])
    late = {at: kind for kind in (_WAV, _MATROSKA, _FLAC) if (at := next(kind.find(data, 0, _MAX_JUNK), None))}
    if not late:
        return iter([0])
    first = min(late)
    return iter([first]) if late[first] is _MATROSKA else late[first].find(data, first, len(data))


def _mp4_starts(data: mmap.mmap) -> Iterator[int]:
    """Yield where a box `ftyp` of the top level begins."""
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"ftyp":
            yield at
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            return
        at += size


def _mp3_starts(data: mmap.mmap) -> Iterator[int]:
    """Yield where an ID3 tag begins that is in front of frames; there may be several in a row, and one at the end."""
    yield 0
    frames = 0
    for start in _ID3.find(data, 0, len(data)):
        size = sum(
            (byte & 0x7F) << shift for byte, shift in zip(data[start + 6 : start + 10], (21, 14, 7, 0), strict=True)
        )
        after = start + 10 + size
        if start >= frames + _MIN_FRAMES > _MIN_FRAMES and len(data) >= after + _MIN_FRAMES:
            yield start
        frames = after


def unread_bytes(path: Path, part: Part) -> int:
    """Return how many bytes of a WAV file follow the chunks that its header knows of; 0 for other files."""
    with path.open("rb") as file:
        file.seek(part.start)
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RF64", b"BW64"):
            return 0
        at = part.start + 12
        while at + 8 <= part.end:
            file.seek(at)
            head = file.read(8)
            size = int.from_bytes(head[4:], "little")
            if not _CHUNK_NAME.fullmatch(head[:4]):
                break
            if head[:4] == b"data" and size in (0, 0xFFFFFFFF):
                return 0
            at += 8 + size + size % 2
        rest = part.end - at
        if rest < _MIN_UNREAD:
            return 0
        file.seek(at)
        return rest if any(file.read(_MIN_UNREAD)) else 0


class PartFile(io.RawIOBase):
    """A part of a file, read as if it were a file of its own."""

    def __init__(self, path: Path, part: Part) -> None:
        self._file = path.open("rb")
        self._part = part
        self._at = 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def seekable(self) -> bool:
        """Return that every byte can be read at once."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes; fewer at the end."""
        left = self._part.end - self._part.start - self._at
        self._file.seek(self._part.start + self._at)
        data = self._file.read(max(0, left if size < 0 else min(size, left)))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._part.end - self._part.start}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return the present place."""
        return self._at

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
