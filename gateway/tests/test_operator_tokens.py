"""Answers of the operator, in pieces as networks deliver them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from steno_api.gateway.session_tokens import SessionTokenRequest
from steno_api.server.errors import ApiError
from steno_gateway.live.tokens import OperatorTokens
from steno_gateway.settings import OperatorSettings

REQUEST = SessionTokenRequest(namespace="team-a", name="gw-x", uid="uid-1")


async def ask(folder: Path, body: bytes, *, pieces: int) -> str:
    """Return the token of an answer that comes in pieces, each of which arrives on its own."""
    (folder / "token").write_text("own")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        size = -(-len(body) // pieces)
        for at in range(0, len(body), size):
            writer.write(body[at : at + size])
            await writer.drain()
            await asyncio.sleep(0.02)  # or the pieces arrive as one
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        settings = OperatorSettings(url=f"http://{host}:{port}", token_file=folder / "token")
        return (await OperatorTokens(settings).get(REQUEST)).token


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_token_in_pieces_is_read_whole(tmp_path: Path, pieces: int):
    answer = {"token": "x" * 7000, "expirationTime": "2030-01-01T00:00:00Z", "url": "ws://pool/stt/realtime"}
    assert await ask(tmp_path, json.dumps(answer).encode(), pieces=pieces) == "x" * 7000


async def test_an_answer_that_is_too_large(tmp_path: Path):
    with pytest.raises(ApiError) as raised:
        await ask(tmp_path, b" " * 70_000, pieces=2)
    assert raised.value.status.code == "NotReady"
