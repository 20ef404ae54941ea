"""Files of strangers sent to a real server: each is refused in time, and a live session beside them loses nothing."""

from __future__ import annotations

import io
import os
import struct
import time
import wave
import zipfile
import zlib
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from runtime.tests.ocr.test_sandboxed import forms
from runtime.tests.serve.process import Process

from .paired import Stage, p95

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

MIB = 1 << 20
SECONDS = 45.0
"""For one file: a page has half a minute, and its process as long to start on a busy machine."""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(side: int) -> bytes:
    """A white picture of that many pixels a side, and a few kilobytes for each billion of them."""
    deflater = zlib.compressobj(9)
    row = b"\0" + bytes([255]) * (side // 8)
    data = b"".join(deflater.compress(row) for _ in range(side)) + deflater.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(side: int) -> bytes:
    """A TIFF whose directory claims that many pixels a side, in one strip of a few bytes."""
    strip = zlib.compress(bytes(1000))
    entries = [
        (256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 8),
        (277, 3, 1), (278, 4, side), (279, 4, len(strip)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries
    )
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory + bytes(4)


def wav(seconds: int) -> bytes:
    """A header that claims that much audio, and none."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    head = bytearray(data.getvalue())
    struct.pack_into("<I", head, 40, min(2**32 - 1, seconds * 32_000))
    return bytes(head)


def archive() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("word/document.xml", bytes(100 * MIB))
    return data.getvalue()


DOCUMENTS = {
    "forms nested 6 deep, which would be drawn a million times": forms(6),
    "forms nested 7 deep, which take gigabytes to read": forms(7),
    "forms nested 8 deep, at which PDFium aborts": forms(8),
    "a picture of 3.6 gigapixels": png(60_000),
    "a TIFF that claims four gigapixels": tiff(65_000),
    "an archive that unpacks to 100 MiB": archive(),
}
RECORDINGS = {
    "a header of a day of audio, without any": wav(86_400),
    "a document": forms(1),
    "noise that is called MP3": b"ID3" + os.urandom(MIB),
}


def resident(process: Process) -> int:
    """Return the bytes of memory that the server itself has."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


async def send(server: Process, token: str, path: str, data: bytes) -> tuple[int, str, float]:
    """Send a file; return the status, the code and the seconds of the answer."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.http}", timeout=2 * SECONDS, trust_env=False,
        headers={"Authorization": f"Bearer {token}"},
    ) as client:  # fmt: skip
        began = time.monotonic()
        fields = {"mode": "force"} if path.startswith("/ocr") else {"diarize": "false"}
        answer = await client.post(path, files={"file": ("a", data)}, data=fields)
        return answer.status_code, answer.json().get("code", ""), time.monotonic() - began


async def test_hostile_files_beside_live_sessions(stage: Stage):
    server, token = stage.server, stage.issuer.token()
    files = [("/ocr/process", *each) for each in DOCUMENTS.items()]
    files += [("/stt/upload", *each) for each in RECORDINGS.items()]
    following, found = cycle(files), dict[str, tuple[int, str, float]]()

    async def attack(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            path, name, data = next(following)
            found[name] = await send(server, token, path, data)

    before = resident(server)
    latencies = await stage.converse(stage.crossover.run(attack))
    for path, name, data in files:
        if name not in found:
            found[name] = await send(server, token, path, data)
    grown = resident(server) - before
    for name, (status, code, seconds) in found.items():
        print(f"{name}: {status} {code} after {seconds:.1f} s")
    print(f"the server has grown by {grown // MIB} MiB")
    assert {name: (status, code) for name, (status, code, _) in found.items() if not refused(status, code)} == {}
    assert max(seconds for *_, seconds in found.values()) < SECONDS
    assert grown < 200 * MIB
    stage.crossover.check(latencies, p95)


def refused(status: int, code: str) -> bool:
    return 400 <= status < 500 and code in ("UnsupportedMedia", "TooLarge")
