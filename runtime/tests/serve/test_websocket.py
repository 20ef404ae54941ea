"""`/stt/realtime` over real sockets: the original messages, and everything a client can do wrong."""

from __future__ import annotations

import base64
import contextlib
import json
import time

import jwt
import pytest
import websockets

from steno_runtime.serve.sessions import driver

from .conftest import SECOND, StartServer, TokenIssuer, WebSocketClient, wait_until
from .scripted import WORD


async def test_the_original_messages(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    claims = issuer.claims(name="standup")
    async with server.connect(jwt.encode(claims, issuer.private, "EdDSA"), "?session=team-a/standup") as socket:
        ws = WebSocketClient(socket)
        started = await ws.start(session_id="standup", tenant_id="acme", meeting_id="meeting_456", language="ko")
        assert (started["session_id"], started["meeting_id"]) == ("standup", "standup-42")
        assert started["limits"]["max_frame_bytes"] == 1024 * 1024
        await ws.send_audio(SECOND[:6_400])
        partial = await ws.expect("partial")
        assert partial == {
            "type": "partial", "seq": 1, "utterance_id": 0, "text": f"{WORD} {WORD}", "stable_text": WORD,
            "start_ms": 0, "end_ms": 200,
        }  # fmt: skip
        last, code = await ws.end()
    assert ws.received[1] == {"type": "speech_started", "offset_ms": 0}
    final = next(message for message in ws.received if message["type"] == "final")
    assert final["words"][1] == {"word": WORD, "start": 0.1, "end": 0.2, "confidence": 0.9}
    assert (final["seq"], final["text"], final["language"], final["speech_final"]) == (2, f"{WORD} {WORD}", "ko", True)
    assert {"type": "flow", "state": "ok", "lag_ms": 7} in ws.received
    assert (last["reason"], code) == ("ClientEnded", 1000)
    assert last["stats"]["audio_seconds"] == 0.2
    assert "manifest" not in last
    assert server.engine.configs[0].language == "ko"


async def test_binary_frames_and_the_other_name_of_the_type(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await socket.send(json.dumps({"event": "start_session", "what": "else"}))
        await ws.expect("session_started")
        for begin in range(0, 32_000, 3_333):  # pieces that end within samples
            await socket.send(SECOND[begin : min(begin + 3_333, 32_000)])
        last, _ = await ws.end()
    assert ws.texts() == [" ".join([WORD] * 10)]
    assert last["stats"]["audio_seconds"] == 1.0


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
async def test_sample_rates(start_server: StartServer, issuer: TokenIssuer, rate: int):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start(sample_rate=rate)
        second = b"\x00\x10" * rate
        for begin in range(0, len(second), 5_001):
            await socket.send(second[begin : begin + 5_001])
        last, code = await ws.end()
    assert code == 1000
    assert last["stats"]["audio_seconds"] == pytest.approx(1.0, abs=0.01)


async def test_finalize_ends_the_utterance_and_the_session_goes_on(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND[:3_200])
        await ws.send("finalize")
        assert (await ws.expect("final"))["text"] == WORD
        await socket.send(SECOND[:6_400])
        await ws.end()
    assert ws.texts() == [WORD, f"{WORD} {WORD}"]


async def test_s4_finalize_within_a_sample(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND[:3_201])
        await ws.send("finalize")
        await ws.expect("final")
        session = next(iter(server.engine.sessions.values()))
        await socket.send(SECOND[3_201:])
        await ws.end()
    assert bytes(session.audio) == SECOND


async def test_no_interim_results(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start(interim_results=False)
        await socket.send(SECOND)
        await ws.end()
    assert len(ws.texts()) == 1
    assert not [message for message in ws.received if message["type"] == "partial"]


async def test_unknown_message_types_do_not_end_the_session(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.send("keep_alive")
        await ws.start()
        await ws.send("dance")
        error = await ws.expect("error")
        assert (error["code"], error["fatal"]) == ("InvalidMessage", False)
        await ws.send("start_session")
        assert (await ws.expect("error"))["fatal"] is False
        await socket.send(SECOND)
        assert (await ws.end())[1] == 1000
    assert len(ws.texts()) == 1


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "InvalidMessage"),
        ("[1]", "InvalidMessage"),
        ('"text"', "InvalidMessage"),
        ('{"type": 7}', "InvalidMessage"),
        ("[" * 200_000, "InvalidMessage"),
        ('{"type":' * 100_000, "InvalidMessage"),
    ],
)
async def test_an_invalid_message_ends_only_its_session(
    start_server: StartServer, issuer: TokenIssuer, frame: str, code: str
):
    server = await start_server()
    async with server.connect(issuer.token()) as good_socket, server.connect(issuer.token()) as socket:
        good, ws = WebSocketClient(good_socket), WebSocketClient(socket)
        await good.start()
        await ws.start()
        await socket.send(SECOND)
        await socket.send(frame)
        assert await ws.closed() == 1007
        assert (ws.error()["code"], ws.error()["fatal"]) == (code, True)
        await good_socket.send(SECOND)
        assert (await good.end())[1] == 1000
    assert len(good.texts()) == 1


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ('{"type": "audio_chunk", "audio_data": "AAAA"}', "InvalidMessage"),
        (b"\x00" * 100, "InvalidMessage"),
        ("hello", "InvalidMessage"),
        ('{"type": "start_session", "sample_rate": "fast"}', "InvalidMessage"),
        ('{"type": "start_session", "session_id": {"a": 1}}', "InvalidMessage"),
        ('{"type": "start_session", "sample_rate": 7999}', "InvalidAudio"),
        ('{"type": "start_session", "sample_rate": 96000}', "InvalidAudio"),
        ('{"type": "start_session", "encoding": "opus"}', "InvalidAudio"),
        ('{"type": "start_session", "language": "xx"}', "LanguageUnknown"),
        ('{"type": "start_session", "languages": "ko"}', "InvalidMessage"),
    ],
)
async def test_a_wrong_first_message(start_server: StartServer, issuer: TokenIssuer, first: str | bytes, code: str):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await socket.send(first)
        assert await ws.closed() == 1007
    assert ws.error()["code"] == code
    assert not server.engine.sessions


async def test_a_frame_that_is_too_large(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(SECOND)
        await ws.expect("partial")
        await socket.send(b"\x00" * (1024 * 1024 + 1))
        assert await ws.closed() == 1009
    await wait_until(lambda: not server.server.registry.open_sessions)


async def test_invalid_text(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.start()
        await socket.send(b"\xff\xfe{", text=True)
        assert await ws.closed() == 1007


def tokens(issuer: TokenIssuer) -> dict[str, tuple[str, str, int]]:
    claims = issuer.claims()
    other_issuer = TokenIssuer()
    other_pool = issuer.token(aud="steno-pool:team-a/other")
    header, payload, signature = issuer.token().split(".")
    forged = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged["tenant"] = "rival"
    changed = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    return {
        "expired": (issuer.token(exp=int(time.time()) - 60), "TokenExpired", 401),
        "another key": (other_issuer.token(), "TokenInvalid", 401),
        "another pool": (other_pool, "TokenInvalid", 401),
        "two audiences": (issuer.token(aud=["steno-pool:team-a/default"]), "TokenInvalid", 401),
        "another issuer": (issuer.token(iss="somebody"), "TokenInvalid", 401),
        "no expiry": (issuer.token(exp=None), "TokenInvalid", 401),
        "no uid": (issuer.token(uid=None), "TokenInvalid", 401),
        "not yet": (issuer.token(nbf=int(time.time()) + 600), "TokenInvalid", 401),
        "alg=none": (jwt.encode(claims, None, algorithm="none"), "TokenInvalid", 401),
        "HS256 with the public key": (hs256(claims, issuer.public), "TokenInvalid", 401),
        "changed": (f"{header}.{changed}.{signature}", "TokenInvalid", 401),
        "no signature": (f"{header}.{payload}.", "TokenInvalid", 401),
        "garbage": ("abc", "TokenInvalid", 401),
        "long": ("a" * 5_000, "TokenInvalid", 401),
    }


def hs256(claims: dict, public: str) -> str:
    """The classic forgery; the library would not make it, so it is made by hand."""
    import hashlib
    import hmac

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    body = f"{encoded(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{body}.{encoded(hmac.digest(public.encode(), body.encode(), hashlib.sha256))}"


BAD = list(tokens(TokenIssuer()))


@pytest.mark.parametrize("bad", BAD)
async def test_an_invalid_token_in_the_header_is_rejected_before_the_handshake(
    start_server: StartServer, issuer: TokenIssuer, bad: str
):
    server = await start_server()
    token, code, status = tokens(issuer)[bad]
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with server.connect(token):
            pass
    response = caught.value.response
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert json.loads(response.body)["code"] == code
    assert token not in response.body.decode()
    assert server.engine.configs == []


@pytest.mark.parametrize("bad", BAD)
async def test_an_invalid_token_in_the_message_closes_with_4001(
    start_server: StartServer, issuer: TokenIssuer, bad: str
):
    server = await start_server()
    token, code, _ = tokens(issuer)[bad]
    async with server.connect() as socket:
        ws = WebSocketClient(socket)
        await ws.send("start_session", token=token)
        assert await ws.closed() == 4001
    assert ws.error()["code"] == code
    assert server.engine.configs == []


@pytest.mark.parametrize("how", ["header", "query", "message"])
async def test_three_ways_to_send_a_token(start_server: StartServer, issuer: TokenIssuer, how: str):
    server = await start_server()
    token = issuer.token(name="standup")
    query = "?session=team-a/standup" + (f"&token={token}" if how == "query" else "")
    async with server.connect(token if how == "header" else None, query) as socket:
        ws = WebSocketClient(socket)
        await ws.start(**({"token": token} if how == "message" else {}))
        await socket.send(SECOND)
        assert (await ws.end())[1] == 1000
    assert len(ws.texts()) == 1


async def test_no_token_at_all(start_server: StartServer):
    server = await start_server()
    async with server.connect() as socket:
        ws = WebSocketClient(socket)
        await ws.send("start_session")
        assert await ws.closed() == 4001
    assert ws.error()["code"] == "TokenMissing"


async def test_another_session_in_the_url(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    token = issuer.token(name="standup")
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with server.connect(token, "?session=team-a/retro"):
            pass
    assert caught.value.response.status_code == 403
    async with server.connect(None, "?session=team-b/standup") as socket:
        ws = WebSocketClient(socket)
        await ws.send("start_session", token=token)
        assert await ws.closed() == 4003
    assert ws.error()["code"] == "SessionMismatch"


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"tenant_id": "rival"}, "TenantMismatch"), ({"session_id": "other"}, "SessionMismatch")],
)
async def test_another_tenant_or_session_in_the_message(
    start_server: StartServer, issuer: TokenIssuer, fields: dict, code: str
):
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        await ws.send("start_session", **fields)
        assert await ws.closed() == 4003
    assert ws.error()["code"] == code
    assert server.engine.configs == []


async def test_one_connection_a_session(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server()
    token = issuer.token()
    async with server.connect(token) as first_socket, server.connect(token) as second_socket:
        first, second = WebSocketClient(first_socket), WebSocketClient(second_socket)
        await first.start()
        await second.send("start_session")
        assert await second.closed() == 4009
        assert second.error()["code"] == "SessionConnected"
        await first_socket.send(SECOND)
        assert (await first.end())[1] == 1000
    async with server.connect(token) as socket:
        again = WebSocketClient(socket)
        await again.send("start_session")
        assert await again.closed() == 4009
    assert again.error()["code"] == "SessionEnded"


async def test_a_full_server(start_server: StartServer, issuer: TokenIssuer):
    server = await start_server(maxSessions=1)
    async with server.connect(issuer.token()) as first_socket, server.connect(issuer.token()) as second_socket:
        first, second = WebSocketClient(first_socket), WebSocketClient(second_socket)
        await first.start()
        await second.send("start_session")
        assert await second.closed() == 1013
        assert second.error()["code"] == "ServerFull"
        await first.end()
    async with server.connect(issuer.token()) as socket:  # there is room again
        await WebSocketClient(socket).start()


async def test_no_start_session(start_server: StartServer, issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(driver, "START_SECONDS", 0.1)
    server = await start_server()
    async with server.connect(issuer.token()) as socket:
        ws = WebSocketClient(socket)
        assert await ws.closed() == 4008
    assert ws.error()["code"] == "StartTimeout"


async def test_unauthenticated_connections_do_not_lock_out_authenticated_ones(
    start_server: StartServer, issuer: TokenIssuer
):
    server = await start_server(unauthenticated={"connectionsPerAddress": 4})
    async with contextlib.AsyncExitStack() as strangers:
        early = WebSocketClient(await strangers.enter_async_context(server.connect()))
        late = [WebSocketClient(await strangers.enter_async_context(server.connect())) for _ in range(4)][-1]
        assert await early.closed() == 1013  # who waits longest makes room
        assert early.socket.close_reason == "ServerFull"
        await late.start(token=issuer.token())  # who comes last is let in
        async with server.connect(issuer.token()) as socket:
            await WebSocketClient(socket).start()
            for _ in range(5):
                await strangers.enter_async_context(server.connect())
            assert (await late.end())[1] == 1000  # who has shown a token makes room for nobody


async def test_every_client_is_accepted_without_keys(start_server: StartServer):
    server = await start_server(tokenKeys=[], anonymous=True)
    async with server.connect() as first_socket, server.connect() as second_socket:
        first, second = WebSocketClient(first_socket), WebSocketClient(second_socket)
        started = await first.start(session_id="mine", tenant_id="acme", meeting_id="standup")
        assert (started["session_id"], started["meeting_id"]) == ("mine", "standup")
        await second.start(session_id="mine")  # a session of its own, whatever it is called
        await first_socket.send(SECOND)
        assert (await first.end())[1] == 1000
        assert (await second.end())[1] == 1000
