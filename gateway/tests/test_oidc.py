"""Tokens of identity providers, whose keys a real HTTP server publishes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pydantic
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from websockets.asyncio.client import connect

from steno_api.gateway.api_keys import Scope
from steno_api.gateway.known_keys import ApiKeys
from steno_api.server.errors import ApiError
from steno_gateway.access import access, oidc
from steno_gateway.access.access import Access
from steno_gateway.access.oidc import OIDCTokens
from steno_gateway.access.principal import Principal
from steno_gateway.access.rate_limits import RateLimits
from steno_gateway.settings import DefaultLimits, OIDCIssuer

from .live_support import live_gateway, until

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = rsa.generate_private_key(65537, 2048)


@dataclass
class Provider:
    """An identity provider."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    requests: list[str] = field(default_factory=list[str])
    discovery: dict[str, Any] = field(default_factory=dict[str, Any])
    status: int = 200

    def publish(self, key_id: str | None, key: Any = RSA, **changes: Any) -> None:
        algorithm: Any = RSAAlgorithm if key.__class__ is RSA.__class__ else ECAlgorithm
        entry = algorithm.to_jwk(key.public_key(), as_dict=True)
        self.keys.append({**entry, **({"kid": key_id} if key_id else {}), **changes})

    def issuer(self, **changes: Any) -> OIDCIssuer:
        document = {
            "issuer": self.url, "audience": "steno", "namespaces": {"acme": "team-a"}, "allowPlainHTTP": True,
        }  # fmt: skip
        return OIDCIssuer.model_validate(document | changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {"iss": self.url, "aud": "steno", "sub": "user@example.com", "exp": time.time() + 60, "tenant": "acme"}
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, key_id: str | None = "one", key: Any = RSA, algorithm: str = "RS256", **changes: Any) -> str:
        headers = {"kid": key_id} if key_id else {}
        return jwt.encode(self.claims(**changes), key, algorithm=algorithm, headers=headers)


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.requests.append(self.path)
            body = found.discovery if self.path.startswith("/.well-known") else {"keys": found.keys}
            self.send_response(found.status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    found.discovery = {"issuer": found.url, "jwks_uri": f"{found.url}/keys"}
    found.publish("one")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


async def refusal(tokens: OIDCTokens, token: str) -> str:
    with pytest.raises(ApiError) as raised:
        await tokens.authenticate(token)
    return raised.value.status.code


async def test_a_token_says_whose_work_it_is(provider: Provider):
    tokens = OIDCTokens([provider.issuer()])
    principal = await tokens.authenticate(provider.token())
    assert (principal.tenant, principal.namespace, principal.scopes) == ("acme", "team-a", frozenset(Scope))
    assert principal.id.startswith("oidc-")
    assert "user" not in principal.id
    assert await tokens.authenticate(provider.token()) == principal
    assert (await tokens.authenticate(provider.token(sub="another"))).id != principal.id
    assert provider.requests == ["/.well-known/openid-configuration", "/keys"]  # once for all


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "another"}, "KeyInvalid"),
        ({"aud": None}, "KeyInvalid"),
        ({"sub": None}, "KeyInvalid"),
        ({"exp": None}, "KeyInvalid"),
        ({"exp": time.time() - 3600}, "KeyExpired"),
        ({"nbf": time.time() + 3600}, "KeyInvalid"),
        ({"iss": "https://elsewhere.example.com"}, "KeyInvalid"),
        ({"iss": None}, "KeyInvalid"),
        ({"tenant": None}, "KeyNotUsable"),
        ({"tenant": "beta"}, "KeyNotUsable"),
        ({"tenant": ["acme"]}, "KeyNotUsable"),
        ({"key": OTHER}, "KeyInvalid"),
        ({"key_id": "unknown"}, "KeyInvalid"),
        ({"key_id": None}, "KeyInvalid"),
        ({"algorithm": "RS512"}, "KeyInvalid"),
        ({"algorithm": "HS256", "key": "public knowledge that is long enough"}, "KeyInvalid"),
        ({"algorithm": "none", "key": None}, "KeyInvalid"),
    ],
)
async def test_no_other_token_is_accepted(provider: Provider, changes: dict[str, Any], code: str):
    tokens = OIDCTokens([provider.issuer()])
    assert await refusal(tokens, provider.token(**changes)) == code


@pytest.mark.parametrize("token", ["a.b.c", "..", "e30.e30.e30", "x" * 9000 + "..", "\x00.\ud800.é"])
async def test_what_is_no_token_costs_no_request(provider: Provider, token: str):
    assert await refusal(OIDCTokens([provider.issuer()]), token) == "KeyInvalid"
    assert provider.requests == []


async def test_scopes_of_a_claim(provider: Provider):
    tokens = OIDCTokens([provider.issuer(scopeClaim="scope", scopePrefix="steno:", scopes=["stt", "ocr"])])

    async def scopes(given: Any) -> set[str]:
        return set((await tokens.authenticate(provider.token(scope=given))).scopes)

    assert await scopes("openid steno:stt steno:stream stt") == {"stt"}
    assert await scopes(["steno:ocr", 1]) == {"ocr"}
    assert await scopes({"steno:ocr": True}) == set()


async def test_a_new_key_is_found_and_strangers_cause_no_more_requests(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    now = [1000.0]
    monkeypatch.setattr(oidc.time, "monotonic", lambda: now[0])
    tokens = OIDCTokens([provider.issuer(jwksURL=f"{provider.url}/own")])
    await tokens.authenticate(provider.token())
    for number in range(5):
        assert await refusal(tokens, provider.token(key_id=f"made-up-{number}", key=OTHER)) == "KeyInvalid"
    assert provider.requests == ["/own"]

    provider.publish("two", EC)
    assert await refusal(tokens, provider.token("two", EC, "ES256")) == "KeyInvalid"
    now[0] += oidc.REFETCH_SECONDS
    await tokens.authenticate(provider.token("two", EC, "ES256"))
    assert provider.requests == ["/own", "/own"]

    del provider.keys[0]  # withdrawn: valid until the keys are fetched again
    now[0] += oidc.REFRESH_SECONDS - 1
    await tokens.authenticate(provider.token())
    now[0] += 1
    assert await refusal(tokens, provider.token()) == "KeyInvalid"


async def test_a_provider_that_does_not_answer(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    now = [1000.0]
    monkeypatch.setattr(oidc.time, "monotonic", lambda: now[0])
    tokens = OIDCTokens([provider.issuer()])
    for status in (500, 302):
        provider.status = status
        assert await refusal(tokens, provider.token()) == "NotReady"
        now[0] += oidc.REFETCH_SECONDS
    provider.status = 200
    await tokens.authenticate(provider.token())
    provider.status = 500
    now[0] += oidc.REFRESH_SECONDS
    await tokens.authenticate(provider.token())  # what is known goes on


async def test_discovery_of_another_issuer(provider: Provider):
    provider.discovery["issuer"] = "https://elsewhere.example.com"
    assert await refusal(OIDCTokens([provider.issuer()]), provider.token()) == "NotReady"


async def test_keys_that_cannot_be_used(provider: Provider):
    provider.keys.clear()
    provider.publish("encrypts", use="enc")
    provider.publish(None, use="sig")
    tokens = OIDCTokens([provider.issuer()])
    assert await refusal(tokens, provider.token("encrypts")) == "KeyInvalid"
    await tokens.authenticate(provider.token(None))


async def test_tokens_are_limited_as_keys_are(provider: Provider):
    limits = DefaultLimits(requestsPerMinute=2)
    requests = Access(ApiKeys(), OIDCTokens([provider.issuer(scopes=["stt"])]), RateLimits(limits))
    for _ in range(2):
        async with requests.admit(provider.token(), Scope.STT) as found:
            assert isinstance(found.principal, Principal)
    codes: list[str] = []
    for token, scope in ((provider.token(), Scope.STT), (provider.token(sub="b"), Scope.OCR), ("steno_a_b", None)):
        with pytest.raises(ApiError) as raised:
            async with requests.admit(token, scope):
                pass
        codes.append(raised.value.status.code)
    assert codes == ["RateLimited", "ScopeMissing", "KeyInvalid"]


@pytest.mark.parametrize("began", [True, False])
async def test_a_live_session_ends_with_its_token(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, began: bool
):
    monkeypatch.setattr(access, "REVOCATION_SECONDS", 0.05)
    expires, real = time.time() + 600, time.time
    headers = {"Authorization": f"Bearer {provider.token(exp=expires)}"}
    start = '{"type":"start_session"}'
    async with live_gateway(tmp_path, OIDCTokens([provider.issuer()])) as live:
        if not began:
            live.cluster.on_create = lambda _: None  # it waits for a place
        async with connect(live.url, additional_headers=headers, proxy=None) as socket:
            await socket.send(start)
            if began:
                assert json.loads(await socket.recv())["type"] == "session_started"
                await socket.send('{"type":"audio_chunk","audio_data":"AAAA"}')
                assert json.loads(await socket.recv())["type"] == "partial"
            else:
                await until(lambda: live.cluster.objects)
            monkeypatch.setattr(access.time, "time", lambda: real() + 600 + oidc.LEEWAY_SECONDS)
            error = json.loads(await asyncio.wait_for(socket.recv(), 30))
            await socket.wait_closed()
        assert (error["code"], socket.close_code) == ("KeyExpired", 4001)


def test_issuers_need_tls():
    common = {"audience": "steno", "namespaces": {"acme": "team-a"}}
    OIDCIssuer.model_validate({"issuer": "https://login.example.com", **common})
    for urls in (
        {"issuer": "http://login.example.com"},
        {"issuer": "https://login.example.com", "jwksURL": "http://login.example.com/keys"},
    ):
        with pytest.raises(pydantic.ValidationError, match="https"):
            OIDCIssuer.model_validate({**urls, **common})
