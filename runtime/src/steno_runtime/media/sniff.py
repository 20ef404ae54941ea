"""File type detection by magic bytes, for a helpful message about a file that could not be decoded."""

from __future__ import annotations

import mmap
import string
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
