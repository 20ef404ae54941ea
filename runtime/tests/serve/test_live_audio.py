"""What a browser's MediaRecorder makes, sent while it is made: text comes at once, and nothing of it is lost."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from runtime.tests.media.recordings import RATE, find
from runtime.tests.media.test_live import BLOCK, pieces, random_bytes, record, without_second_part
from steno_runtime.sandbox import process
from steno_runtime.serve.sessions.live_session import LiveSession

from .conftest import RunningServer, StartServer, TokenIssuer, WebSocketClient, wait_until
from .scripted import ScriptedSession

SPOKEN = 0.3 * np.sin(np.cumsum(np.linspace(0.05, 0.9, 2 * RATE))).astype(np.float32)
TYPES = {"webm": "audio/webm;codecs=opus", "ogg": "audio/ogg; codecs=opus", "mp4": "audio/mp4;codecs=mp4a.40.2"}
LABELS = {"webm": "WebM", "ogg": "Ogg", "mp4": "MP4"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("recorded")
    return {name: record(folder / f"a.{name}", SPOKEN).read_bytes() for name in TYPES}


def session_of(server: RunningServer) -> ScriptedSession:
    return next(iter(server.engine.sessions.values()))


def assert_heard(audio: bytearray, times: int = 1) -> None:
    """Check that a session heard what was spoken, once or several times; encoders begin with a few milliseconds."""
    samples = np.frombuffer(bytes(audio), "<i2").astype(np.float32) / 32768
    assert len(samples) == pytest.approx(times * len(SPOKEN), abs=1_000 * times)
    for number in range(times):
        start = max(0, number * len(samples) // times - 800)
        _, likeness = find(samples[start : start + len(SPOKEN) + 2_000], SPOKEN)
        assert likeness > 0.95


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("name", TYPES)
async def test_s9_a_mediarecorder_is_heard(
    start_server: StartServer, issuer: TokenIssuer, recorded: dict[str, bytes], *, name: str, as_text: bool
):
    server = await start_server()
    parts = pieces(recorded[name], len(recorded[name]) // 8)
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        session = session_of(server)
        for part in parts[: len(parts) // 2]:
            await (ws.send_audio(part) if as_text else socket.send(part))
        await ws.expect("partial")  # before the recording ends
        for part in parts[len(parts) // 2 :]:
            await (ws.send_audio(part) if as_text else socket.send(part))
        last, code = await ws.end()
    assert (code, last["stats"]["audio_seconds"]) == (1000, pytest.approx(2.0, abs=0.07))
    assert_heard(session.audio)
    await wait_until(lambda: not children())


def children() -> list[str]:
    """The sandbox's processes."""
    server = process._server._process
    return [] if server is None else Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()


@pytest.mark.parametrize(
    ("name", "encoding", "prefix"),
    [
        ("webm", "webm_opus", f"data:{TYPES['webm']};base64,"),
        ("webm", "webm_opus", "data:video/webm;codecs=vp8,opus;base64,"),
        ("mp4", "mp4_aac", f"data:{TYPES['mp4']};base64,"),
        ("mp4", "mp4_aac", "data:video/mp4;base64,"),
    ],
)
async def test_s22_what_a_filereader_makes_of_a_recording(
    start_server: StartServer,
    issuer: TokenIssuer,
    recorded: dict[str, bytes],
    *,
    name: str,
    encoding: str,
    prefix: str,
):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start(encoding=encoding)
        session = session_of(server)
        for part in pieces(recorded[name], 6_000):
            data = prefix + base64.b64encode(part).decode()
            await socket.send(json.dumps({"type": "audio_chunk", "audio_data": data}))
        assert (await ws.end())[1] == 1000
    assert_heard(session.audio)


@pytest.mark.parametrize("name", TYPES)
async def test_s9_a_recording_for_each_chunk(
    start_server: StartServer, issuer: TokenIssuer, recorded: dict[str, bytes], name: str
):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        session = session_of(server)
        for data in (recorded[name][:3], recorded[name][3:], recorded[name], recorded["ogg"]):
            await ws.send_audio(data)
        await ws.send("finalize")
        await ws.expect("final")
        assert (await ws.end())[1] == 1000
    assert_heard(session.audio, 3)


@pytest.mark.parametrize("last", ["ogg", "mp4"])
async def test_s9_a_recording_of_another_kind_follows(
    start_server: StartServer, issuer: TokenIssuer, recorded: dict[str, bytes], last: str
):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        session = session_of(server)
        for data in (recorded["webm"], recorded[last][:500], recorded[last][500:]):
            await ws.send_audio(data)
        assert (await ws.end())[1] == 1000
    assert_heard(session.audio, 2)


@pytest.mark.parametrize("name", TYPES)
async def test_s26_a_client_that_leaves_without_a_word_has_its_last_words(
    start_server: StartServer, issuer: TokenIssuer, recorded: dict[str, bytes], name: str
):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        session = session_of(server)
        await ws.send_audio(recorded[name])
    await wait_until(lambda: session.closed)
    assert_heard(session.audio)


@pytest.mark.parametrize("name", TYPES)
async def test_s9_a_damaged_recording_is_refused_by_name(
    start_server: StartServer, issuer: TokenIssuer, recorded: dict[str, bytes], name: str
):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(recorded[name][: 800 if name == "mp4" else 30] + random_bytes(5_000))
        await ws.send("end_session")
        assert await ws.closed() == 1007
    error = ws.error()
    assert (error["code"], error["fatal"]) == ("InvalidAudio", True)
    assert LABELS[name] in error["message"]
    assert "recorder" in error["message"]


@pytest.mark.parametrize(
    ("name", "mark"),
    [("webm", b"\x1f\x43\xb6\x75"), ("webm", BLOCK), ("ogg", b"OggS"), ("mp4", b"....moof")],
    ids=["cluster", "block", "page", "fragment"],
)
async def test_s9_a_recording_without_its_beginning_is_refused(
    start_server: StartServer, issuer: TokenIssuer, recorded: dict[str, bytes], name: str, mark: bytes
):
    server = await start_server()
    found = re.compile(mark, re.DOTALL).search(recorded[name], 6_000)
    assert found is not None
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await ws.send_audio(recorded[name][found.start() :])
        assert await ws.closed() == 1007
    assert ws.error()["code"] == "InvalidAudio"
    assert "later piece" in ws.error()["message"]


@pytest.mark.parametrize("name", ["webm", "mp4"])
async def test_s9_a_piece_that_is_missing_is_in_the_warnings(
    start_server: StartServer,
    issuer: TokenIssuer,
    recorded: dict[str, bytes],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
):
    skipped: list[int] = []
    monkeypatch.setattr(LiveSession, "skip_unreadable", lambda _, count: skipped.append(count))
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        for part in without_second_part(name, recorded[name]):
            await ws.send_audio(part)
        last, code = await ws.end()
    assert (code, last["stats"]["audio_seconds"], sum(skipped)) == (1000, pytest.approx(2.0, abs=0.07), 1)
