"""A real server under the load generator, a client that shares no code with it: over WebSocket and gRPC."""

from __future__ import annotations

import asyncio
import json
import wave
from pathlib import Path
from typing import Any

import pytest

from hack import tools

from .conftest import StartServer, TokenIssuer

CLIENTS = 3


async def load(*words: str) -> tuple[int, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        tools.path("steno-load"), *words, "-json", "-duration", "1s", "-ramp", "0s", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out)


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    with wave.open(str(tmp_path / "talk.wav"), "wb") as audio:
        audio.setparams((1, 2, 16_000, 0, "NONE", ""))
        audio.writeframes(b"\x01\x02" * 8_000)
    return tmp_path / "talk.wav"


@pytest.mark.parametrize("protocol", ["websocket", "grpc"])
async def test_many_clients(start_server: StartServer, issuer: TokenIssuer, tmp_path: Path, talk: Path, protocol: str):
    server = await start_server()
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(issuer.token() for _ in range(CLIENTS)))
    url = f"ws://127.0.0.1:{server.http_port}/stt/realtime" if protocol == "websocket" else server.grpc
    target = ["-url", url, "-plaintext", "-token-file", str(tokens), "-wav", str(talk)]
    status, report = await load(*target, "-active", str(CLIENTS - 1), "-idle", "1")
    assert (status, report["ended"]) == (0, {"ClientEnded": CLIENTS})
    assert report["refused"] == report["lost"] == {}
    assert report["disordered"] == report["warned"] == 0
    assert report["audio_seconds"] > 1
    assert report["partial_lag_seconds"]["count"] > 10
    assert report["final_lag_seconds"]["count"] >= CLIENTS - 1
    assert server.engine.sessions == {}

    tokens.write_text("nonsense")
    status, report = await load(*target)
    assert (status, report["refused"]) == (1, {"TokenInvalid": 1})
