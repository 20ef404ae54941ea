"""File type detection by magic bytes: what a file is that could not be decoded, or that came in place of PCM."""

from __future__ import annotations

import mmap
import re
import string
from collections.abc import Callable
from pathlib import Path

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError

FORMATS = "WAV, MP3, M4A, FLAC, OGG, WebM or MP4"
_HEAD_BYTES = 4096

_MAGIC = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
)
_CLUSTER = re.compile(rb"\x1f\x43\xb6\x75|\xa3.{1,4}?\x81..[\x00\x80]", re.DOTALL)
"""Matroska's elements Cluster and SimpleBlock (of track 1): what a recording begins with that lost its first bytes."""
_FRAGMENT = (b"moof", b"styp", b"sidx", b"mdat")
"""MP4's boxes that a fragment begins with."""
_CONTAINERS = (
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (0, b"OggS\x00", "Ogg (Opus or Vorbis)"),
    (0, b"fLaC", "FLAC"),
    (0, b"ID3", "MP3"),
    (4, b"ftyp", "MP4 or M4A"),
    (0, b"FORM", "AIFF"),
    (0, b"RIFX", "WAV with the bytes of a sample in the other order"),
    (0, b"wvpk", "WavPack"),
    (0, b"caff\x00", "CAF"),
    (0, b"#!AMR", "AMR"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF or WMA"),
    (0, b"FLV\x01", "FLV"),
    (0, b".snd\x00", "AU"),
)
FRAME_BYTES = 4096
"""How much of a stream of frames without a header (MP3, AAC, a later piece of WebM) shows what it is."""
_BLOCK = re.compile(rb"\xa3([\x81-\xfe]|[\x40-\x7f].|[\x20-\x3f]..)[\x81\x82]..[\x00\x80]", re.DOTALL)
"""Matroska's SimpleBlock, of track 1 or 2, with its size in one to three bytes."""
_MPEG_KBITS = {  # of layer 3, by version: ISO/IEC 11172-3 and 13818-3
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_TEXT_BYTES = 64
_PRINTABLE = frozenset(string.printable.encode())


def describe_unreadable(path: Path) -> WorkError:
    """Return the error for a file that no demuxer opens: `Encrypted`, or `UnsupportedMedia` and what it looks like."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if is_encrypted(path):
        return WorkError(
            FailureReason.ENCRYPTED,
            "The source is protected by DRM or encryption and cannot be decoded. Export an unprotected copy.",
        )
    if _CLUSTER.match(head):
        return WorkError(
            FailureReason.UNSUPPORTED_MEDIA,
            "The source is a later piece of a WebM or Matroska recording, without the header that only the first piece"
            " has. Send all pieces joined in order, or record each one anew (MediaRecorder: stop and start).",
        )
    known = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if known is None and _is_text(head):
        known = _kind_of_text(head)
    if known is not None:
        message = f"The source is {known}, not audio or video. Give the URI of a recording: {FORMATS}."
    else:
        message = (
            "The source is not a recording that can be decoded: damaged, incomplete, or of an unknown format. "
            f"Check that the whole file was uploaded, or convert it to {FORMATS}."
        )
    return WorkError(FailureReason.UNSUPPORTED_MEDIA, message)


def container_name(head: bytes) -> str | None:
    """Return what a recording is by its first bytes, for people; None: nothing known, perhaps PCM. WAV is not told."""
    known = next((name for at, magic, name in _CONTAINERS if head[at:].startswith(magic)), None)
    if known is not None:
        return known
    return next((name for name, size in (("MP3", _mpeg_frame), ("AAC", _adts_frame)) if _has_frames(head, size)), None)


def is_encoded_text(head: bytes) -> bool:
    """Return whether bytes are JSON or base64 as text; samples are not all letters."""
    return len(head) >= _TEXT_BYTES and len(set(head)) > 8 and all(byte in _PRINTABLE for byte in head[:_TEXT_BYTES])


def may_be_frames(head: bytes) -> bool:
    """Return whether frames of MP3 or AAC, or blocks of WebM, may begin here; only more of them tells it from PCM."""
    return _mpeg_frame(head) > 0 or _adts_frame(head) > 0 or _webm_block(head) > 0


def is_later_piece(head: bytes) -> bool:
    """Return whether this is WebM, Ogg or MP4 from the middle of a recording, without the header at its beginning."""
    if head.startswith(b"OggS\x00") and len(head) > 5:
        return not head[5] & 2
    if head[4:8] in _FRAGMENT:
        return True
    after = head[_webm_block(head) :]
    return after.startswith(b"\x1f\x43\xb6\x75") or (after != head and _webm_block(after) > 0)


def _webm_block(head: bytes) -> int:
    """Return the length of the SimpleBlock whose first bytes these are; 0: it is none."""
    found = _BLOCK.match(head)
    if found is None:
        return 0
    size = found[1]
    return 1 + len(size) + (int.from_bytes(size) & ~(0x80 << 7 * (len(size) - 1)))


def _has_frames(head: bytes, size: Callable[[bytes], int]) -> bool:
    """Return whether three frames follow each other: one alone may be PCM by chance."""
    at = 0
    for _ in range(3):
        frame = size(head[at : at + 8])
        if not frame:
            return False
        at += frame
    return True


def _mpeg_frame(head: bytes) -> int:
    """Return the length of a frame of MPEG audio, layer 3, whose header this is; 0: it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer, bits, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer != 1 or bits in (0, 15) or rate == 3:
        return 0
    kbits = _MPEG_KBITS[3 if version == 3 else 2][bits - 1]
    return (144 if version == 3 else 72) * kbits * 1000 // _MPEG_RATES[version][rate] + (head[2] >> 1 & 1)


def _adts_frame(head: bytes) -> int:
    """Return the length of an ADTS frame (AAC) whose header this is; 0: it is none."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0


def is_encrypted(path: Path) -> bool:
    """Return whether `path` is an MP4 family file whose audio is encrypted (`enca`, `drms` sample entries)."""
    with path.open("rb") as file:
        if file.read(12)[4:8] != b"ftyp":
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(b"sinf") >= 0 and any(data.find(entry) >= 0 for entry in (b"enca", b"drms"))


def _is_text(head: bytes) -> bool:
    if not head or b"\x00" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # else only the last character was cut in two
            return False
    return sum(byte not in _PRINTABLE and byte < 0x80 for byte in head) == 0


def _kind_of_text(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page (perhaps a login or error page)"
    if start.startswith(b"#extm3u"):
        return "a playlist"
    if start.startswith((b"<?xml", b"<error")):
        return "an XML document (perhaps an error page)"
    if start.startswith((b"{", b"[")):
        return "a JSON document"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    return "plain text"
