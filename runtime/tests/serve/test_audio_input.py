"""What clients send as audio: base64 of every make, and containers in place of PCM."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from pathlib import Path

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from steno_api.server.errors import ApiError
from steno_runtime.serve.sessions.pcm_input import PcmInput
from steno_runtime.serve.transports.websocket import messages

from .conftest import SECOND, StartServer, TokenIssuer, WebSocketClient

URL_SAFE = base64.urlsafe_b64encode(b"\xff\xfe" * 60).decode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("!!", "characters"),
        (5, "string"),
        (None, "string"),
        (URL_SAFE, "URL-safe"),
        (base64.b64encode(SECOND[:3_200]).decode().rstrip("="), "padding"),
        ("data:audio/mpeg;base64,GkXfow==", "audio/mpeg"),
        ("data:audio/wav,AAAA", "without base64"),
        ("data:,", "without base64"),
    ],
)
async def test_s22_a_bad_chunk_is_answered_and_the_session_goes_on(
    start_server: StartServer, issuer: TokenIssuer, data: object, why: str
):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND)
        await socket.send(json.dumps({"type": "audio_chunk", "audio_data": data}))
        error = await ws.expect("error")
        assert (error["code"], error["fatal"]) == ("InvalidAudio", False)
        assert why in error["message"]
        await socket.send(SECOND)
        last, code = await ws.end()
    assert (code, last["stats"]["audio_seconds"]) == (1000, 2.0)


async def test_s22_line_breaks_and_prefixes_are_skipped(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    plain, broken = base64.b64encode(SECOND).decode(), base64.encodebytes(SECOND).decode()
    forms = [
        plain,
        broken,
        broken.replace("\n", "\r\n"),
        f"data:audio/pcm;rate=16000;base64,{plain}",
        f"data:;base64,{plain}",
    ]
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        session = next(iter(server.engine.sessions.values()))
        for form in forms:
            await socket.send(json.dumps({"type": "audio_chunk", "audio_data": form}))
        assert (await ws.end())[1] == 1000
    assert bytes(session.audio) == SECOND * len(forms)


@given(st.binary(max_size=400), st.integers(1, 80), st.sampled_from(["\n", "\r\n", " "]))
def test_s22_base64_however_it_is_folded(pcm: bytes, width: int, fold: str):
    encoded = base64.b64encode(pcm).decode()
    folded = fold.join(encoded[at : at + width] for at in range(0, len(encoded), width))
    assert messages.parse_audio({"audio_data": folded}) == pcm


@given(st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()[:-1]))
def test_s22_whatever_a_chunk_holds_it_is_read_or_refused(data: str):
    with contextlib.suppress(messages.InvalidChunkError):
        assert isinstance(messages.parse_audio({"audio_data": data}), bytes)


def wav(
    pcm: bytes,
    *,
    rate: int = 16_000,
    channels: int = 1,
    size: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A WAV file of 16 bits; `size` is what its header says of the data's length."""
    size = len(pcm) if size is None else size
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    body = b"WAVE" + fmt + before + b"data" + struct.pack("<I", size) + pcm + after
    return b"RIFF" + struct.pack("<I", min(len(body), 0xFFFFFFFF)) + body


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def converted(messages: list[bytes], rate: int = 16_000) -> bytes:
    pcm = PcmInput(rate)
    return b"".join(pcm.convert(message) for message in messages) + pcm.flush()


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    ("extension", "name"),
    [("mp3", "MP3"), ("m4a", "M4A"), ("mp4", "MP4"), ("flac", "FLAC")],
)
async def test_s9_a_container_is_refused_by_name(
    start_server: StartServer, issuer: TokenIssuer, media: dict[str, Path], *, extension: str, name: str, as_text: bool
):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        for piece in pieces(media[extension].read_bytes()[:20_000], 4_096):
            with contextlib.suppress(websockets.ConnectionClosed):
                await (ws.send_audio(piece) if as_text else socket.send(piece))
        assert await ws.closed() == 1007
    error = ws.error()
    assert (error["code"], error["fatal"]) == ("InvalidAudio", True)
    assert name in error["message"]


@pytest.mark.parametrize("size", [1, 7, 100, 4_096, 10**6])
def test_s9_frames_without_a_container_are_told_from_samples(media: dict[str, Path], size: int):
    data = media["mp3"].read_bytes()
    tag = 10 + sum((byte & 0x7F) << 7 * (3 - at) for at, byte in enumerate(data[6:10])) if data[:3] == b"ID3" else 0
    with pytest.raises(ApiError, match="MP3"):
        converted(pieces(data[tag : tag + 20_000], size))


async def test_s9_a_wav_header_is_taken_off(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        session = next(iter(server.engine.sessions.values()))
        for piece in pieces(wav(SECOND, after=b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + bytes(18)), 4_096):
            await socket.send(piece)
        assert (await ws.end())[1] == 1000
    assert bytes(session.audio) == SECOND


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"rate": 48_000, "channels": 2}, "48000 Hz, 2 channels"),
        ({"rate": 44_100}, "44100 Hz, 1 channel,"),
        ({"channels": 2}, "16000 Hz, 2 channels"),
    ],
)
async def test_s9_a_wav_file_of_another_kind_is_refused(
    start_server: StartServer, issuer: TokenIssuer, made: dict[str, int], why: str
):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(wav(SECOND, **made))
        assert await ws.closed() == 1007
    assert ws.error()["code"] == "InvalidAudio"
    assert why in ws.error()["message"]


LIST = b"LIST" + struct.pack("<I", 5) + b"INFO!" + b"\0"


@given(
    st.integers(1, 500),
    st.sampled_from([{}, {"size": 0}, {"size": 0xFFFFFFFF}, {"before": LIST}, {"after": LIST}, {"before": LIST * 3}]),
)
def test_s9_a_header_of_any_kind_in_pieces_of_any_length(size: int, made: dict):
    pcm = SECOND[:3_200]
    assert converted(pieces(wav(pcm, **made), size)) == pcm
    assert converted(pieces(wav(pcm, **({"size": len(pcm)} | made)), 10**6)) == pcm


def test_s9_a_file_for_each_message():
    assert converted([wav(SECOND[:3_200]) for _ in range(3)]) == SECOND[:3_200] * 3
    assert converted([wav(SECOND[:3_200], size=0) for _ in range(3)]) == SECOND[:3_200] * 3


def test_s9_samples_after_what_the_header_announced():
    assert converted([wav(SECOND[:3_200]), SECOND[3_200:]]) == SECOND


@given(st.binary(max_size=200), st.integers(1, 50))
def test_s9_samples_are_never_changed(data: bytes, size: int):
    data = b"\x01\x00" + data[: len(data) & ~1]  # begins as no container does
    assert converted(pieces(data, size)) == data


@pytest.mark.parametrize("level", [-1025, -1, 0, 255, 17_481])
def test_s9_a_constant_level_is_pcm(level: int):
    data = struct.pack("<h", level) * 8_000
    assert converted(pieces(data, 3_200)) == data


@pytest.mark.parametrize(
    "data", [base64.b64encode(bytes(range(256))), b'{"type": "audio_chunk", "audio_data": "AAAAAAAAAAAA"}' * 2]
)
def test_s9_text_is_not_pcm(data: bytes):
    with pytest.raises(ApiError, match="text"):
        converted([data])
