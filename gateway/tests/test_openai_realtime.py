"""OpenAI's Realtime API for transcription, by the official SDK, in front of the real server with a scripted engine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from runtime.tests.serve.conftest import RunningServer
from runtime.tests.serve.scripted import WORD
from steno_api.gateway.api_keys import Scope
from steno_gateway.access import access

from .live_support import Live, live_gateway, real_server

Real = tuple[Live, RunningServer]
TENTH = bytes(2 * 2400)
"""Of a second, at 24 kHz."""
ITEM = "conversation.item.input_audio_transcription"


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[Real]:
    async with real_server(tmp_path) as found:
        yield found


def url(live: Live, query: str = "?intent=transcription") -> str:
    return live.url.replace("/stt/realtime", "/v1/realtime") + query


@contextlib.asynccontextmanager
async def session(live: Live) -> AsyncIterator[Any]:
    """A session of the SDK."""
    base = url(live, "").replace("ws://", "http://").removesuffix("/realtime")
    client = AsyncOpenAI(base_url=base, api_key=live.key().key)
    manager = client.realtime.connect(
        extra_query={"intent": "transcription"}, websocket_connection_options={"proxy": None}
    )
    async with manager as connection:
        yield connection
    await client.close()


async def receive(connection: Any, *, until: str, times: int = 1) -> list[Any]:
    found: list[Any] = []
    async with asyncio.timeout(30):
        while sum(event.type == until for event in found) < times:
            found.append(await connection.recv())
    return found


def encoded(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


async def test_the_sdk_transcribes_an_utterance(real: Real):
    live, server = real
    async with session(live) as connection:
        created = await connection.recv()
        assert (created.type, created.session.type) == ("session.created", "transcription")
        wanted = {
            "transcription": {"model": "gpt-4o-transcribe", "language": "ko"},
            "turn_detection": {"type": "server_vad"},
        }
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}, **wanted}},
            }
        )
        changed = await connection.recv()
        assert changed.type == "session.updated"
        assert changed.session.audio.input.transcription.language == "ko"
        for _ in range(10):
            await connection.input_audio_buffer.append(audio=encoded(TENTH))
        await connection.input_audio_buffer.commit()
        events = await receive(connection, until=f"{ITEM}.completed")
    kinds = [event.type for event in events if event.type != f"{ITEM}.delta"]
    assert kinds == [
        "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
        f"{ITEM}.completed",
    ]  # fmt: skip
    assert len({event.item_id for event in events}) == 1
    assert len({event.event_id for event in events}) == len(events)
    last = events[-1]
    assert last.transcript == " ".join([WORD] * 10)
    assert "".join(event.delta for event in events if event.type == f"{ITEM}.delta") == last.transcript
    assert (last.usage.type, last.usage.seconds) == ("duration", 1.0)
    assert server.engine.configs[0].language == "ko"
    [stream] = live.cluster.objects.values()
    assert stream["spec"]["metadata"]["session_id"] == created.session.id


async def test_items_follow_each_other(real: Real):
    live, _ = real
    async with session(live) as connection:
        await connection.recv()
        for _ in range(2):
            await connection.input_audio_buffer.append(audio=encoded(TENTH * 3))
            await connection.input_audio_buffer.commit()
        events = await receive(connection, until=f"{ITEM}.completed", times=2)
    first, second = (event for event in events if event.type == "input_audio_buffer.committed")
    assert (first.previous_item_id, second.previous_item_id) == (None, first.item_id)
    assert [event.transcript for event in events if event.type == f"{ITEM}.completed"] == [" ".join([WORD] * 3)] * 2


async def test_what_is_cleared_is_not_shown(real: Real):
    live, _ = real
    async with session(live) as connection:
        await connection.recv()
        await connection.input_audio_buffer.append(audio=encoded(TENTH * 3))
        await receive(connection, until="input_audio_buffer.speech_started")
        await connection.input_audio_buffer.clear()
        await connection.input_audio_buffer.append(audio=encoded(TENTH * 2))
        await connection.input_audio_buffer.commit()
        events = await receive(connection, until=f"{ITEM}.completed")
    assert events[-1].transcript == " ".join([WORD] * 2)
    assert "input_audio_buffer.cleared" in [event.type for event in events]


async def test_the_beta_and_g711(real: Real):
    live, server = real
    headers = {"Authorization": f"Bearer {live.key().key}", "OpenAI-Beta": "realtime=v1"}
    async with connect(url(live), additional_headers=headers, proxy=None) as socket:
        assert json.loads(await socket.recv())["type"] == "transcription_session.created"
        wanted = {
            "input_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "whisper-1", "language": "en"},
        }
        await socket.send(json.dumps({"type": "transcription_session.update", "session": wanted}))
        changed = json.loads(await socket.recv())
        assert changed["type"] == "transcription_session.updated"
        assert changed["session"]["input_audio_format"] == "g711_ulaw"
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": encoded(b"\xff" * 8000)}))
        await socket.send('{"type":"input_audio_buffer.commit"}')
        event: dict[str, Any] = {}
        async with asyncio.timeout(30):
            while event.get("type") != f"{ITEM}.completed":
                event = json.loads(await socket.recv())
    assert event["transcript"] == " ".join([WORD] * 10), "8000 samples of 8 kHz are a second"
    assert server.engine.configs[0].language == "en"


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"type": "response.create"}, "NotSupported", None),
        ({"type": "input_audio_buffer.append", "audio": "?"}, "InvalidAudio", "audio"),
        ({"type": "input_audio_buffer.commit"}, "InvalidAudio", None),
        ({"type": "session.update", "session": {"type": "realtime"}}, "NotSupported", "session.type"),
        ({"type": "session.update", "session": {"include": ["logprobs"]}},
         "NotSupported", "session.include"),
        ({"type": "session.update", "session": {"input_audio_format": "mp3"}}, "InvalidRequest", "format.type"),
        ({"type": "session.update", "session": {"input_audio_transcription": {"model": "gpt-2"}}}, "model_not_found",
         "model"),
        ("no json", "InvalidMessage", None),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_answered_and_the_session_goes_on(tmp_path: Path, event: Any, code: str, param: Any):
    async with live_gateway(tmp_path) as live:
        headers = {"Authorization": f"Bearer {live.key().key}"}
        async with connect(url(live), additional_headers=headers, proxy=None) as socket:
            await socket.recv()
            sent = event if isinstance(event, str) else json.dumps({**event, "event_id": "mine"})
            await socket.send(sent)
            said = json.loads(await socket.recv())
            assert (said["type"], said["error"]["code"], said["error"]["param"]) == ("error", code, param)
            assert said["error"]["event_id"] == (None if isinstance(event, str) else "mine")
            await socket.send('{"type":"input_audio_buffer.clear"}')
            assert json.loads(await socket.recv())["type"] == "input_audio_buffer.cleared"
        assert not live.cluster.objects, "nothing was said"


@pytest.mark.parametrize(
    ("query", "key", "code", "close"),
    [
        ("?intent=transcription", None, "KeyMissing", 4001),
        ("?intent=transcription", {"scopes": frozenset({Scope.STT})}, "ScopeMissing", 4003),
        ("?model=gpt-realtime", {}, "NotSupported", 1007),
        ("?intent=transcription&model=gpt-2", {}, "model_not_found", 1007),
    ],
)
async def test_who_is_refused_learns_why(tmp_path: Path, query: str, key: Any, code: str, close: int):
    async with live_gateway(tmp_path) as live:
        headers = {} if key is None else {"Authorization": f"Bearer {live.key(**key).key}"}
        async with connect(url(live, query), additional_headers=headers, proxy=None) as socket:
            said = json.loads(await socket.recv())
            assert (said["type"], said["error"]["code"]) == ("error", code)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == close


async def test_a_browser_sends_its_key_among_the_subprotocols(tmp_path: Path):
    async with live_gateway(tmp_path) as live:
        protocols: Any = ["realtime", f"openai-insecure-api-key.{live.key().key}"]
        async with connect(url(live), subprotocols=protocols, proxy=None) as socket:
            assert socket.subprotocol == "realtime"
            assert json.loads(await socket.recv())["type"] == "session.created"


async def test_a_revoked_key_ends_its_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access, "REVOCATION_SECONDS", 0.05)
    async with live_gateway(tmp_path) as live:
        made = live.key()
        headers = {"Authorization": f"Bearer {made.key}"}
        async with connect(url(live), additional_headers=headers, proxy=None) as socket:
            await socket.recv()
            live.revoke(made)
            assert json.loads(await socket.recv())["error"]["code"] == "KeyInvalid"
