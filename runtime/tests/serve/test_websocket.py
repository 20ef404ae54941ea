"""`/stt/realtime` over real sockets: the original messages, and everything a client can do wrong."""

from __future__ import annotations

import base64
import json
import time

import jwt
import pytest
import websockets

from steno_runtime.serve.sessions import driver

from .conftest import SECOND, Operator, Serve, Talk, until
from .scripted import WORD


async def test_the_original_messages(serve: Serve, operator: Operator):
    server = await serve()
    claims = operator.claims(name="standup")
    async with server.connect(jwt.encode(claims, operator.private, "EdDSA"), "?session=team-a/standup") as socket:
        talk = Talk(socket)
        started = await talk.start(session_id="standup", tenant_id="acme", meeting_id="meeting_456", language="ko")
        assert (started["session_id"], started["meeting_id"]) == ("standup", "standup-42")
        assert started["limits"]["max_frame_bytes"] == 1024 * 1024
        await talk.chunk(SECOND[:6_400])
        partial = await talk.hear("partial")
        assert partial == {
            "type": "partial", "seq": 1, "utterance_id": 0, "text": f"{WORD} {WORD}", "stable_text": WORD,
            "start_ms": 0, "end_ms": 200,
        }  # fmt: skip
        last, code = await talk.end()
    assert talk.told[1] == {"type": "speech_started", "offset_ms": 0}
    final = next(message for message in talk.told if message["type"] == "final")
    assert final["words"][1] == {"word": WORD, "start": 0.1, "end": 0.2, "confidence": 0.9}
    assert (final["seq"], final["text"], final["language"], final["speech_final"]) == (2, f"{WORD} {WORD}", "ko", True)
    assert {"type": "flow", "state": "ok", "lag_ms": 7} in talk.told
    assert (last["reason"], code) == ("ClientEnded", 1000)
    assert last["stats"]["audio_seconds"] == 0.2
    assert "manifest" not in last
    assert server.engine.configs[0].language == "ko"


async def test_binary_frames_and_the_other_name_of_the_type(serve: Serve, operator: Operator):
    server = await serve()
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        await socket.send(json.dumps({"event": "start_session", "what": "else"}))
        await talk.hear("session_started")
        for begin in range(0, 32_000, 3_333):  # pieces that end within samples
            await socket.send(SECOND[begin : min(begin + 3_333, 32_000)])
        last, _ = await talk.end()
    assert talk.texts() == [" ".join([WORD] * 10)]
    assert last["stats"]["audio_seconds"] == 1.0


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
async def test_sample_rates(serve: Serve, operator: Operator, rate: int):
    server = await serve()
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        await talk.start(sample_rate=rate)
        second = b"\x00\x10" * rate
        for begin in range(0, len(second), 5_001):
            await socket.send(second[begin : begin + 5_001])
        last, code = await talk.end()
    assert code == 1000
    assert last["stats"]["audio_seconds"] == pytest.approx(1.0, abs=0.01)


async def test_finalize_ends_the_utterance_and_the_session_goes_on(serve: Serve, operator: Operator):
    server = await serve()
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        await talk.start()
        await socket.send(SECOND[:3_200])
        await talk.say("finalize")
        assert (await talk.hear("final"))["text"] == WORD
        await socket.send(SECOND[:6_400])
        await talk.end()
    assert talk.texts() == [WORD, f"{WORD} {WORD}"]


async def test_no_interim_results(serve: Serve, operator: Operator):
    server = await serve()
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        await talk.start(interim_results=False)
        await socket.send(SECOND)
        await talk.end()
    assert len(talk.texts()) == 1
    assert not [message for message in talk.told if message["type"] == "partial"]


async def test_unknown_types_are_no_reason_to_end(serve: Serve, operator: Operator):
    server = await serve()
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        await talk.say("keep_alive")
        await talk.start()
        await talk.say("dance")
        error = await talk.hear("error")
        assert (error["code"], error["fatal"]) == ("InvalidMessage", False)
        await talk.say("start_session")
        assert (await talk.hear("error"))["fatal"] is False
        await socket.send(SECOND)
        assert (await talk.end())[1] == 1000
    assert len(talk.texts()) == 1


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "InvalidMessage"),
        ("[1]", "InvalidMessage"),
        ('"text"', "InvalidMessage"),
        ('{"type": 7}', "InvalidMessage"),
        ("[" * 200_000, "InvalidMessage"),
        ('{"type":' * 100_000, "InvalidMessage"),
        ('{"type": "audio_chunk", "audio_data": "!!"}', "InvalidAudio"),
        ('{"type": "audio_chunk", "audio_data": 5}', "InvalidAudio"),
        ('{"type": "audio_chunk"}', "InvalidAudio"),
    ],
)
async def test_garbage_ends_the_session_and_no_other(serve: Serve, operator: Operator, frame: str, code: str):
    server = await serve()
    async with server.connect(operator.token()) as good_socket, server.connect(operator.token()) as socket:
        good, talk = Talk(good_socket), Talk(socket)
        await good.start()
        await talk.start()
        await socket.send(SECOND)
        await socket.send(frame)
        assert await talk.closed() == 1007
        assert (talk.error()["code"], talk.error()["fatal"]) == (code, True)
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
    ],
)
async def test_a_wrong_first_message(serve: Serve, operator: Operator, first: str | bytes, code: str):
    server = await serve()
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        await socket.send(first)
        assert await talk.closed() == 1007
    assert talk.error()["code"] == code
    assert not server.engine.sessions


async def test_a_frame_that_is_too_large(serve: Serve, operator: Operator):
    server = await serve()
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        await talk.start()
        await socket.send(SECOND)
        await talk.hear("partial")
        await socket.send(b"\x00" * (1024 * 1024 + 1))
        assert await talk.closed() == 1009
    await until(lambda: not server.server.registry.open_sessions)


async def test_invalid_text_is_told(serve: Serve, operator: Operator):
    server = await serve()
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        await talk.start()
        await socket.send(b"\xff\xfe{", text=True)
        assert await talk.closed() == 1007


def tokens(operator: Operator) -> dict[str, tuple[str, str, int]]:
    claims = operator.claims()
    stranger = Operator()
    other_pool = operator.token(aud="steno-pool:team-a/other")
    header, payload, signature = operator.token().split(".")
    forged = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged["tenant"] = "rival"
    changed = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    return {
        "expired": (operator.token(exp=int(time.time()) - 60), "TokenExpired", 401),
        "another key": (stranger.token(), "TokenInvalid", 401),
        "another pool": (other_pool, "TokenInvalid", 401),
        "two audiences": (operator.token(aud=["steno-pool:team-a/default"]), "TokenInvalid", 401),
        "another issuer": (operator.token(iss="somebody"), "TokenInvalid", 401),
        "no expiry": (operator.token(exp=None), "TokenInvalid", 401),
        "no uid": (operator.token(uid=None), "TokenInvalid", 401),
        "not yet": (operator.token(nbf=int(time.time()) + 600), "TokenInvalid", 401),
        "alg=none": (jwt.encode(claims, None, algorithm="none"), "TokenInvalid", 401),
        "HS256 with the public key": (hs256(claims, operator.public), "TokenInvalid", 401),
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


BAD = list(tokens(Operator()))


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_token_in_the_header_is_refused_before_the_handshake(serve: Serve, operator: Operator, bad: str):
    server = await serve()
    token, code, status = tokens(operator)[bad]
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with server.connect(token):
            pass
    response = caught.value.response
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert json.loads(response.body)["code"] == code
    assert token not in response.body.decode()
    assert server.engine.configs == []


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_token_in_the_message_closes_with_4001(serve: Serve, operator: Operator, bad: str):
    server = await serve()
    token, code, _ = tokens(operator)[bad]
    async with server.connect() as socket:
        talk = Talk(socket)
        await talk.say("start_session", token=token)
        assert await talk.closed() == 4001
    assert talk.error()["code"] == code
    assert server.engine.configs == []


@pytest.mark.parametrize("how", ["header", "query", "message"])
async def test_a_token_may_come_in_three_ways(serve: Serve, operator: Operator, how: str):
    server = await serve()
    token = operator.token(name="standup")
    query = "?session=team-a/standup" + (f"&token={token}" if how == "query" else "")
    async with server.connect(token if how == "header" else None, query) as socket:
        talk = Talk(socket)
        await talk.start(**({"token": token} if how == "message" else {}))
        await socket.send(SECOND)
        assert (await talk.end())[1] == 1000
    assert len(talk.texts()) == 1


async def test_no_token_at_all(serve: Serve):
    server = await serve()
    async with server.connect() as socket:
        talk = Talk(socket)
        await talk.say("start_session")
        assert await talk.closed() == 4001
    assert talk.error()["code"] == "TokenMissing"


async def test_another_session_in_the_url(serve: Serve, operator: Operator):
    server = await serve()
    token = operator.token(name="standup")
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with server.connect(token, "?session=team-a/retro"):
            pass
    assert caught.value.response.status_code == 403
    async with server.connect(None, "?session=team-b/standup") as socket:
        talk = Talk(socket)
        await talk.say("start_session", token=token)
        assert await talk.closed() == 4003
    assert talk.error()["code"] == "SessionMismatch"


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"tenant_id": "rival"}, "TenantMismatch"), ({"session_id": "other"}, "SessionMismatch")],
)
async def test_another_tenant_or_session_in_the_message(serve: Serve, operator: Operator, fields: dict, code: str):
    server = await serve()
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        await talk.say("start_session", **fields)
        assert await talk.closed() == 4003
    assert talk.error()["code"] == code
    assert server.engine.configs == []


async def test_one_connection_a_session(serve: Serve, operator: Operator):
    server = await serve()
    token = operator.token()
    async with server.connect(token) as first_socket, server.connect(token) as second_socket:
        first, second = Talk(first_socket), Talk(second_socket)
        await first.start()
        await second.say("start_session")
        assert await second.closed() == 4009
        assert second.error()["code"] == "SessionConnected"
        await first_socket.send(SECOND)
        assert (await first.end())[1] == 1000
    async with server.connect(token) as socket:
        again = Talk(socket)
        await again.say("start_session")
        assert await again.closed() == 4009
    assert again.error()["code"] == "SessionEnded"


async def test_a_full_server(serve: Serve, operator: Operator):
    server = await serve(maxSessions=1)
    async with server.connect(operator.token()) as first_socket, server.connect(operator.token()) as second_socket:
        first, second = Talk(first_socket), Talk(second_socket)
        await first.start()
        await second.say("start_session")
        assert await second.closed() == 1013
        assert second.error()["code"] == "ServerFull"
        await first.end()
    async with server.connect(operator.token()) as socket:  # there is room again
        await Talk(socket).start()


async def test_no_start_session(serve: Serve, operator: Operator, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(driver, "START_SECONDS", 0.1)
    server = await serve()
    async with server.connect(operator.token()) as socket:
        talk = Talk(socket)
        assert await talk.closed() == 4008
    assert talk.error()["code"] == "StartTimeout"


async def test_strangers_do_not_lock_out_who_has_shown_a_token(serve: Serve, operator: Operator, monkeypatch):
    monkeypatch.setattr(driver, "MAX_UNAUTHENTICATED_CONNECTIONS", 2)
    server = await serve()
    async with server.connect(), server.connect(), server.connect() as late_socket:
        late = Talk(late_socket)
        assert await late.closed() == 1013
        assert late.error()["code"] == "ServerFull"
        async with server.connect(operator.token()) as socket:
            await Talk(socket).start()
    async with server.connect() as socket:  # there is room again
        await Talk(socket).start(token=operator.token())


async def test_everybody_is_let_in_without_keys(serve: Serve):
    server = await serve(tokenKeys=[])
    async with server.connect() as first_socket, server.connect() as second_socket:
        first, second = Talk(first_socket), Talk(second_socket)
        started = await first.start(session_id="mine", tenant_id="acme", meeting_id="standup")
        assert (started["session_id"], started["meeting_id"]) == ("mine", "standup")
        await second.start(session_id="mine")  # a session of its own, whatever it is called
        await first_socket.send(SECOND)
        assert (await first.end())[1] == 1000
        assert (await second.end())[1] == 1000
