"""`steno stream` with Steno's own server and a scripted engine."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from runtime.tests.serve.conftest import RunningServer, StartServer, TokenIssuer, issuer, start_server, wait_until
from runtime.tests.serve.scripted import WORD
from steno_client.errors import CommandError
from steno_client.evaluation.recognisers import RecogniserOptions
from steno_client.evaluation.server import PoolServer
from steno_client.streaming import Event, SessionRequest, stream_audio
from steno_client.target import Target, forwarded_server_name
from tests.support.certificates import Authority

from .server import recording

__all__ = ["issuer", "start_server"]

STENO = [sys.executable, "-c", "from steno_client.cli import main; main()", "stream"]
REST = "the final text so far was printed; create another StreamSession for the rest\n"


async def steno(port: int, token: str, *words: str, url: str = "") -> Process:
    command = [*STENO, *words, "--url", url or f"ws://127.0.0.1:{port}"]
    environment = {**os.environ, "STENO_TOKEN": token}
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment)


async def ended(process: Process) -> tuple[int | None, str, str]:
    out, said = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), said.decode()


async def speaking(server: RunningServer, token: str, port: int | None = None) -> Process:
    """Start a client that has sent a word, received a partial, and has more audio to send."""
    process = await steno(port or server.http_port, token, "-", "--json")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\x01\x02" * 1600)
    while json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["type"] != "partial":
        pass
    return process


async def test_a_recording(start_server: StartServer, issuer: TokenIssuer, tmp_path: Path):
    server = await start_server()
    file = str(recording(tmp_path / "speech.wav", seconds=0.3))
    done = await ended(await steno(server.http_port, issuer.token(), file, "--speed", "10"))
    assert done == (0, f"{WORD} {WORD} {WORD}\n", "")


async def test_a_server_with_tls_is_verified(start_server: StartServer, issuer: TokenIssuer, tmp_path: Path):
    authority = Authority()
    server = await start_server(tlsDir=str(authority.write(tmp_path / "tls", "127.0.0.1")))
    ours, others = tmp_path / "ca.pem", tmp_path / "others.pem"
    ours.write_bytes(authority.pem)
    others.write_bytes(Authority().pem)
    file = str(recording(tmp_path / "speech.wav", seconds=0.3))

    async def streamed(*words: str, url: str = f"wss://127.0.0.1:{server.http_port}") -> tuple[int | None, str, str]:
        return await ended(await steno(0, issuer.token(), file, "--speed", "10", *words, url=url))

    assert await streamed("--ca-file", str(ours)) == (0, f"{WORD} {WORD} {WORD}\n", "")
    for words, why in (
        ((), "give the CA that issued it with --ca-file"),
        (("--ca-file", str(others)), "the CA in --ca-file is not its issuer"),
    ):
        code, out, said = await streamed(*words)
        assert (code, out) == (77, "")
        assert why in said
    code, _, said = await streamed("--ca-file", str(ours), url=f"wss://localhost:{server.http_port}")
    assert (code, "Hostname mismatch" in said) == (77, True)
    code, _, said = await streamed("--ca-file", file)
    assert (code, "has no CA certificates" in said) == (64, True)


async def test_a_forwarded_port_shows_the_certificate_of_the_published_endpoint(
    start_server: StartServer, issuer: TokenIssuer, tmp_path: Path
):
    published = "default-pool.team-a.svc"
    authority, ca = Authority(), tmp_path / "ca.pem"
    server = await start_server(tlsDir=str(authority.write(tmp_path / "tls", published)))
    ca.write_bytes(authority.pem)
    url = f"wss://127.0.0.1:{server.http_port}/stt/realtime"
    name = forwarded_server_name(url, f"wss://{published}:8080/stt/realtime?session=team-a/call")
    target = Target(url, issuer.token(), ca, name)
    with PoolServer(target, RecogniserOptions()) as rest:
        await asyncio.to_thread(rest.check)
    events: list[Event] = []

    async def audio() -> AsyncIterator[bytes]:
        yield b"\x01\x02" * 1600

    await stream_audio(target, audio(), SessionRequest(16_000), events.append)
    assert events[-1]["type"] == "session_ended"
    assert forwarded_server_name("wss://stt.example.com", f"wss://{published}:8080") is None
    with PoolServer(Target(url, issuer.token(), ca), RecogniserOptions()) as rest, pytest.raises(CommandError):
        await asyncio.to_thread(rest.check)


async def test_a_language_that_the_model_does_not_support(
    start_server: StartServer, issuer: TokenIssuer, tmp_path: Path
):
    server = await start_server()
    file = str(recording(tmp_path / "speech.wav", seconds=0.1))
    code, _, said = await ended(await steno(server.http_port, issuer.token(), file, "-l", "tlh"))
    assert code == 64
    assert said.startswith("steno: the model does not support the language (")
    assert said.endswith("): give another with --language, or auto\n")


async def test_a_server_that_has_to_stop(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    process = await speaking(server, issuer.token())
    await server.stop()
    code, out, said = await ended(process)
    assert json.loads(out.splitlines()[-1])["reason"] == "Drained"
    assert (code, said) == (1, f"steno: the server had to stop, which ended the session (Drained): {REST}")


@asynccontextmanager
async def proxy(port: int, *, dropped: int = 0) -> AsyncIterator[tuple[int, list[asyncio.StreamWriter]]]:
    """A TCP proxy that can be broken: its port, and both ends of each connection after the first `dropped` ones."""
    ends: list[asyncio.StreamWriter] = []
    left = dropped

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        if left:
            left -= 1
            if left % 2:
                writer.transport.abort()
            else:
                writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, back))
        await asyncio.gather(copy(reader, back), copy(there, writer))

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], ends


async def test_a_load_balancer_that_does_not_know_the_server_yet(
    start_server: StartServer, issuer: TokenIssuer, tmp_path: Path
):
    server = await start_server()
    file = str(recording(tmp_path / "speech.wav", seconds=0.1))
    async with proxy(server.http_port, dropped=2) as (port, _):
        done = await ended(await steno(port, issuer.token(), file))
    assert done == (0, f"{WORD}\n", "")


async def test_a_lost_connection_ends_the_session(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    token = issuer.token()
    async with proxy(server.http_port) as (port, ends):
        process = await speaking(server, token, port)
        for end in ends:
            end.transport.abort()
        code, _, said = await ended(process)
    assert code == 75
    assert said.endswith("stream the rest to it; if it has ended, create another StreamSession for the rest\n")
    await wait_until(lambda: server.server.registry.open_sessions == 0)
    code, _, said = await ended(await steno(server.http_port, token, "-"))
    assert code == 1
    assert said.endswith("(This session has ended. Create another StreamSession.): create another StreamSession\n")
