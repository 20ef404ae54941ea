"""Two signing keys with overlap (L12): servers learn new ones while sessions go on."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from steno_api.server.claims import KEY_RING_AUDIENCE
from steno_api.server.errors import ApiError
from steno_runtime.serve.auth import TokenVerifier

from .conftest import SECOND, Endpoint, StartServer, TokenIssuer, WebSocketClient
from .rest_support import problem

AUDIENCE = "steno-pool:team-a/default"


def ring(signer: TokenIssuer, *accepted: TokenIssuer, **changed: Any) -> str:
    """Return the key ring that an operator signs."""
    now = int(time.time())
    claims = {"iss": "steno-operator", "aud": KEY_RING_AUDIENCE, "iat": now, "exp": now + 300}
    keys = [each.public for each in accepted]
    return jwt.encode(claims | {"keys": keys} | changed, signer.private, algorithm="EdDSA")


async def test_a_session_goes_on_while_the_key_is_replaced_by_another_and_yet_another(
    start_server: StartServer, issuer: TokenIssuer, endpoint: Endpoint
):
    second, third, stranger = TokenIssuer(), TokenIssuer(), TokenIssuer()
    server = await start_server(reporting=endpoint.reporting)
    client = WebSocketClient(await server.connect(issuer.token()))
    await client.start()
    first = (await endpoint.wait_for_report(lambda report: report.key_ids)).key_ids
    assert first is not None

    async def answers(token: str) -> object:
        async with server.client(token) as http:
            answer = await http.get("/stt/status")
            return 200 if answer.status_code == 200 else problem(answer)

    endpoint.answer(end=[], known=[], keyRing=ring(stranger, stranger))
    count = len(endpoint.reports)
    await endpoint.wait_for_report(lambda _: len(endpoint.reports) > count + 1)
    assert await answers(stranger.token()) == (401, "TokenInvalid")
    assert await answers(second.token()) == (401, "TokenInvalid")
    endpoint.answer(end=[], known=[], keyRing=ring(issuer, issuer, second))
    await endpoint.wait_for_report(lambda report: len(report.key_ids or ()) == 2)
    assert (await answers(issuer.token()), await answers(second.token())) == (200, 200)
    endpoint.answer(end=[], known=[], keyRing=ring(second, second, third))
    await endpoint.wait_for_report(lambda report: len(report.key_ids or ()) == 2 and first[0] not in report.key_ids)
    assert (await answers(third.token()), await answers(issuer.token())) == (200, (401, "TokenInvalid"))
    await client.socket.send(SECOND)
    last, _ = await client.end()
    assert (last["reason"], last["stats"]["audio_seconds"]) == ("ClientEnded", 1.0)


def test_a_ring_is_no_token_and_a_token_no_ring(issuer: TokenIssuer):
    verifier = TokenVerifier([issuer.public], AUDIENCE)
    with pytest.raises(ApiError, match="TokenInvalid"):
        verifier.verify(ring(issuer, issuer))
    with pytest.raises(ApiError, match="TokenInvalid"):
        verifier.take_key_ring(issuer.token())


def test_an_earlier_ring_brings_no_retired_key_back(issuer: TokenIssuer):
    second, now = TokenIssuer(), int(time.time())
    verifier = TokenVerifier([issuer.public], AUDIENCE)
    verifier.take_key_ring(ring(issuer, second))
    for replayed in (ring(issuer, issuer, iat=now - 60), ring(issuer, issuer, iat=now - 600, exp=now - 300)):
        with pytest.raises(ApiError, match=r"Token(Invalid|Expired)"):
            verifier.take_key_ring(replayed)
    with pytest.raises(ApiError, match="TokenInvalid"):
        verifier.verify(issuer.token())
    for wrong in ([], ["no key"]):
        with pytest.raises(Exception, match=r"ring|key"):
            verifier.take_key_ring(ring(issuer, iat=now + 1, keys=wrong))
    verifier.verify(second.token())
