"""Files of strangers sent to a real server: each is refused in time, and a live session beside them loses nothing."""

from __future__ import annotations

import asyncio
import io
import os
import struct
import time
import wave
import zipfile
import zlib
from pathlib import Path

import httpx
import jiwer
import pytest

from runtime.tests.ocr.test_sandboxed import forms
from runtime.tests.serve.conftest import TokenIssuer, WebSocketClient
from runtime.tests.serve.process import Process, paced
from runtime.tests.stt.conftest import normal

pytestmark = pytest.mark.slow

MIB = 1 << 20
ROUNDS = 2
"""Times that the recording of half a minute is spoken."""
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


async def attack(server: Process, token: str) -> dict[str, tuple[int, str, float]]:
    """Send every file, one after the other; return the status, the code and the seconds of each answer."""
    found: dict[str, tuple[int, str, float]] = {}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{server.http}", timeout=2 * SECONDS, trust_env=False,
        headers={"Authorization": f"Bearer {token}"},
    ) as client:  # fmt: skip
        for path, files in (("/ocr/process", DOCUMENTS), ("/stt/upload", RECORDINGS)):
            for name, data in files.items():
                began = time.monotonic()
                fields = {"mode": "force"} if path.startswith("/ocr") else {"diarize": "false"}
                answer = await client.post(path, files={"file": ("a", data)}, data=fields)
                code = answer.json().get("code", "")
                found[name] = answer.status_code, code, time.monotonic() - began
    return found


async def speak(server: Process, token: str, pcm: bytes) -> WebSocketClient:
    """Speak in real time, and return the client once its session has ended."""
    async with server.connect(token) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        ending = asyncio.create_task(ws.closed())
        await paced(pcm, socket.send)
        await ws.send("end_session")
        assert await ending == 1000
    return ws


async def test_hostile_files_beside_a_live_session(server: Process, issuer: TokenIssuer, sample_wav: Path):
    with wave.open(str(sample_wav)) as file:
        pcm = file.readframes(file.getnframes()) * ROUNDS
    before = resident(server)
    speaking = asyncio.create_task(speak(server, issuer.token(language="en"), pcm))
    found = await attack(server, issuer.token())
    grown = resident(server) - before
    ws = await speaking
    for name, (status, code, seconds) in found.items():
        print(f"{name}: {status} {code} after {seconds:.1f} s")
    print(f"the server has grown by {grown // MIB} MiB")
    assert {name: (status, code) for name, (status, code, _) in found.items() if not refused(status, code)} == {}
    assert max(seconds for *_, seconds in found.values()) < SECONDS
    assert grown < 200 * MIB
    [last] = [message for message in ws.received if message["type"] == "session_ended"]
    assert last["stats"]["audio_seconds"] == pytest.approx(len(pcm) / 32_000, abs=0.1)
    words = " ".join(
        line.split(maxsplit=5)[5] for line in sample_wav.with_suffix(".stm").read_text().splitlines() if line
    )
    assert jiwer.wer(" ".join([normal(words)] * ROUNDS), normal(" ".join(ws.texts()))) < 0.35


def refused(status: int, code: str) -> bool:
    return 400 <= status < 500 and code in ("UnsupportedMedia", "TooLarge")
