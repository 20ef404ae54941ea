"""What clients send as audio: base64 of every make, and containers in place of PCM."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ("data:audio/webm;codecs=opus;base64,GkXfow==", "audio/webm"),
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
