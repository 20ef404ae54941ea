"""PNG chunks: a copy without the metadata that Pillow refuses a whole file for.

Separate because it reads the bytes of one format, which the page source leaves to Pillow for all others.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_BYTES = 1 << 20
"""Of the metadata that is looked at; Pillow refuses text and profiles of more."""
_COMPRESSED = frozenset({b"iTXt", b"zTXt", b"iCCP"})
"""They may become much larger, and are of no use here."""
_OF_USE = frozenset({b"tRNS", b"pHYs", b"eXIf"})
"""Ancillary chunks that say how the page looks."""


def without_metadata(path: Path) -> io.BytesIO | None:
    """Return a copy of a PNG without its ancillary chunks that are large or damaged; None: it has none of these.

    Profiles and text do not change what is read. Pixels are for the decoder to judge, and so is a file cut short.
    """
    chunks = list(_chunks(path))
    if not any(drop for _, _, drop in chunks):
        return None
    kept = io.BytesIO(_SIGNATURE)
    kept.seek(0, io.SEEK_END)
    with path.open("rb") as file:
        for start, length, drop in chunks:
            if not drop:
                file.seek(start)
                kept.write(file.read(length))
    kept.seek(0)
    return kept


def _chunks(path: Path) -> Iterator[tuple[int, int, bool]]:
    """Yield start and length of each chunk, and whether it is one to leave out."""
    with path.open("rb") as file:
        start = len(_SIGNATURE)
        while True:
            file.seek(start)
            head = file.read(8)
            if len(head) < 8:
                return
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            ancillary = kind[:1].islower()
            drop = ancillary and (
                (kind not in _OF_USE and (length > _MAX_BYTES or kind in _COMPRESSED))
                or not _is_sound(file, kind, length)
            )
            yield start, length + 12, drop
            if kind == b"IEND":
                return
            start += length + 12


def _is_sound(file: BinaryIO, kind: bytes, length: int) -> bool:
    """Return whether the checksum of a chunk's data, which follow in `file`, is right."""
    data = file.read(min(length, _MAX_BYTES))
    return len(data) == length and zlib.crc32(kind + data) == int.from_bytes(file.read(4), "big")
