"""TLS of the client ports (M8): wss, https and gRPC with verification, and certificates that are replaced."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import websockets

from steno_api import tls
from steno_api.pb.steno.v1 import stt_pb2, stt_pb2_grpc
from steno_api.tls import CertificateError, KeyPair, ServingCertificate, read_key_pair
from steno_runtime.errors import WorkError
from tests.support.certificates import Authority, mount

from .conftest import SECOND, RunningServer, StartServer, TokenIssuer, WebSocketClient, run_server, wait_until
from .process import Process, pool_task

HOST = "127.0.0.1"


def wss(port: int, token: str, context: ssl.SSLContext) -> Any:
    url, headers = f"wss://{HOST}:{port}/stt/realtime", {"Authorization": f"Bearer {token}"}
    return websockets.connect(url, additional_headers=headers, compression=None, proxy=None, ssl=context)


def https(port: int, token: str, context: ssl.SSLContext) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(
        base_url=f"https://{HOST}:{port}", headers=headers, trust_env=False, verify=context, timeout=60
    )


def grpcs(target: str, authority: Authority) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(authority.pem)
    # Without a pool of connections of its own, a channel would reuse the handshake of another.
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(target, credentials, options=options)


async def served(port: int) -> bytes:
    """Return the certificate that the port shows (DER), whoever issued it."""

    def ask() -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((HOST, port), timeout=20) as raw, context.wrap_socket(raw) as wrapped:
            shown = wrapped.getpeercert(binary_form=True)
        assert shown is not None
        return shown

    return await asyncio.to_thread(ask)


async def speak(call: Any) -> None:
    await call.write(stt_pb2.AudioChunk(audio_data=SECOND))


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def server(
    authority: Authority, start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunningServer:
    monkeypatch.setattr(tls, "RELOAD_SECONDS", 0.05)
    return await start_server(tlsDir=str(authority.write(tmp_path / "tls", HOST)))


async def test_who_does_not_speak_tls_or_does_not_trust_the_certificate_gets_nowhere(
    server: RunningServer, issuer: TokenIssuer, authority: Authority
):
    token, stranger = issuer.token(), Authority()
    async with server.client(token) as client:
        with pytest.raises(httpx.TransportError):
            await client.get("/stt/status")
    with pytest.raises((websockets.InvalidHandshake, OSError)):
        async with server.connect(token):
            pass
    for context in (stranger.context(), ssl.create_default_context()):
        with pytest.raises(ssl.SSLCertVerificationError):
            async with wss(server.http_port, token, context):
                pass
    for channel in (grpc.aio.insecure_channel(server.grpc), grpcs(server.grpc, stranger)):
        async with channel:
            stub = stt_pb2_grpc.STTServiceStub(channel)
            call = stub.StreamingRecognize(metadata=(("authorization", f"Bearer {token}"),), timeout=10)
            assert await call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    async with server.prober() as prober:  # of the kubelet, which has no CA
        assert (await prober.get("/readyz")).status_code == 200


async def test_a_handshake_that_is_not_finished_holds_no_connection(
    authority: Authority, start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert tls.HANDSHAKE_SECONDS <= 10
    monkeypatch.setattr("steno_runtime.serve.server.HANDSHAKE_SECONDS", 0.2)
    server = await start_server(tlsDir=str(authority.write(tmp_path / "tls", HOST)))
    for first in (b"", b"\x16\x03\x01\x02\x00\x01"):  # nothing, and the beginning of a ClientHello
        reader, writer = await asyncio.open_connection(HOST, server.http_port)
        writer.write(first)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_metrics_say_when_the_certificate_expires(server: RunningServer, authority: Authority, tmp_path: Path):
    async def expiry() -> float:
        async with server.prober() as prober:
            text = (await prober.get("/metrics")).text
        [value] = re.findall(r"^steno_server_certificate_expiry_timestamp_seconds (\S+)$", text, re.MULTILINE)
        return float(value)

    first = await expiry()
    assert first == pytest.approx(time.time() + 86_400, abs=600)
    chain, key = authority.issue(HOST, lifetime=timedelta(hours=1))
    mount(tmp_path / "tls", {"tls.crt": chain, "tls.key": key})
    async with asyncio.timeout(20):
        while await expiry() > first - 80_000:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_sessions_of_each_protocol_outlive_the_certificate_with_which_they_began(
    server: RunningServer, issuer: TokenIssuer, authority: Authority, tmp_path: Path
):
    second, token = Authority(), issuer.token()
    async with (
        wss(server.http_port, token, authority.context()) as socket,
        https(server.http_port, token, authority.context()) as client,
        grpcs(server.grpc, authority) as channel,
    ):
        ws = WebSocketClient(socket)
        await ws.start()
        call = stt_pb2_grpc.STTServiceStub(channel).StreamingRecognize(
            metadata=(("authorization", f"Bearer {issuer.token()}"),)
        )
        await speak(call)
        assert (await client.get("/stt/status")).status_code == 200
        await wait_until(lambda: server.server.registry.open_sessions == 2)

        before = await served(server.http_port)
        second.write(tmp_path / "tls", HOST)
        async with asyncio.timeout(20):
            for port in (server.http_port, server.grpc_port):
                while await served(port) == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

        assert (await client.get("/stt/status")).status_code == 200  # the same connection
        await socket.send(SECOND)
        last, _ = await ws.end()
        assert (last["reason"], last["stats"]["audio_seconds"]) == ("ClientEnded", 1.0)
        await speak(call)
        await call.done_writing()
        events = [event async for event in call]
        assert events[-1].ended.reason == "ClientEnded"
    async with https(server.http_port, issuer.token(), second.context()) as client:
        assert (await client.get("/stt/status")).status_code == 200
    async with grpcs(server.grpc, second) as channel:
        call = stt_pb2_grpc.STTServiceStub(channel).StreamingRecognize(
            metadata=(("authorization", f"Bearer {issuer.token()}"),), timeout=20
        )
        await speak(call)
        await call.done_writing()
        assert [event async for event in call][-1].ended.reason == "ClientEnded"


async def test_a_certificate_that_does_not_fit_its_key_is_not_used(
    server: RunningServer, issuer: TokenIssuer, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    (chain, _), (_, key) = authority.issue(HOST), authority.issue(HOST)
    mount(tmp_path / "tls", {"tls.crt": chain, "tls.key": key})
    await wait_until(lambda: "the new certificate is not used, the one before it stays" in caplog.messages)
    async with https(server.http_port, issuer.token(), authority.context()) as client:
        assert (await client.get("/stt/status")).status_code == 200
    await asyncio.to_thread(authority.write, tmp_path / "tls", HOST)
    await wait_until(lambda: "the certificate was replaced" in caplog.messages)
    async with https(server.http_port, issuer.token(), authority.context()) as client:
        assert (await client.get("/stt/status")).status_code == 200
    assert len([each for each in caplog.messages if "is not used" in each]) == 1


@pytest.mark.parametrize("wrong", ["missing", "no key", "no PEM", "another's key"])
async def test_a_server_without_a_certificate_does_not_fall_back_to_plain_text(
    issuer: TokenIssuer, authority: Authority, tmp_path: Path, wrong: str
):
    chain, key = authority.issue(HOST)
    files = {
        "missing": {}, "no key": {"tls.crt": chain}, "no PEM": {"tls.crt": b"?", "tls.key": key},
        "another's key": {"tls.crt": chain, "tls.key": authority.issue(HOST)[1]},
    }  # fmt: skip
    mount(tmp_path / "tls", files[wrong])
    with pytest.raises(WorkError, match=r"tls\.(crt|key)"):
        await run_server(issuer, tmp_path, tlsDir=str(tmp_path / "tls"))


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(authority: Authority, tmp_path: Path):
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    chain, key = authority.issue(HOST)
    encrypted = load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    with pytest.raises(CertificateError):
        ServingCertificate(KeyPair(chain, encrypted))
    assert read_key_pair(authority.write(tmp_path, HOST)).chain.startswith(b"-----BEGIN CERTIFICATE-----")


@pytest.mark.slow
async def test_the_real_server_as_a_process(issuer: TokenIssuer, authority: Authority, tmp_path: Path):
    second, folder = Authority(), authority.write(tmp_path / "tls", HOST)
    task = json.dumps(pool_task(issuer, tmp_path, tlsDir=str(folder)))
    server = await asyncio.to_thread(Process, tmp_path / "server.log", "--task", task)
    try:
        token = issuer.token()
        async with wss(server.http, token, authority.context()) as socket:
            ws = WebSocketClient(socket)
            await ws.start()
            second.write(folder, HOST)
            async with asyncio.timeout(60):
                while not any(entry["message"] == "the certificate was replaced" for entry in server.entries):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            async with https(server.http, token, second.context()) as client:
                assert (await client.get("/stt/status")).json()["sessions"] == 1
            with pytest.raises(ssl.SSLCertVerificationError):
                async with wss(server.http, token, authority.context()):
                    pass
            await socket.send(SECOND)
            assert (await ws.end())[0]["stats"]["audio_seconds"] == 1.0
    finally:
        server.process.kill()
        server.process.wait()
