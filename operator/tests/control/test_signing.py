"""The signing keys of session tokens (L12): in their Secret, and as servers are told of them."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from steno_api.server.claims import MAX_TOKEN_CHARS, KeyRing, SessionClaims
from steno_kube.client import ApiError
from steno_operator.control.kube import signing
from steno_operator.control.kube.signing import KeyStore, Signer, SigningKey, UnusableKeyError

NOW = datetime(2026, 1, 2, 4, tzinfo=UTC)
KEYS = [SigningKey.generate() for _ in range(4)]
IDS = [key.key_id for key in KEYS]


def secret(**fields: SigningKey) -> dict[str, Any]:
    """Return the Secret with these keys: `ed25519` is that of the key which was made with it."""
    data = {f"{name}.pem": key.to_secret("ns", "keys")["data"]["ed25519.pem"] for name, key in fields.items()}
    return {"metadata": {"name": "keys"}, "data": data}


class Secrets:
    """An API server that has one Secret."""

    def __init__(self, content: dict[str, Any] | None = None) -> None:
        self.content = content
        self.reads = 0

    async def get(self, *_: Any) -> dict[str, Any]:
        self.reads += 1
        if self.content is None:
            raise ApiError(404, "NotFound", "none")
        return self.content

    async def create(self, _: Any, namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self.content = {"metadata": {"name": "keys", "namespace": namespace}, "data": manifest["data"]}
        return self.content


def test_a_token_with_all_the_free_text_that_a_session_may_have_is_not_too_long():
    claims = SessionClaims(
        aud="steno-pool:" + "n" * 63 + "/" + "p" * 50, sub="n" * 63 + "/" + "s" * 63, iat=0, exp=2**31, tenant="t" * 63,
        uid="0" * 36, meetingID="회" * 253, languages=["zh-Hant-TW"] * 16, outputURI="s3://" + "b" * 1200,
        metadata={"session_id": "😀" * 374, "tenant_id": "😀" * 375},
    )  # fmt: skip
    token = KEYS[0].sign(claims)
    assert len(token) < MAX_TOKEN_CHARS
    assert jwt.decode(token, options={"verify_signature": False})["metadata"] == claims.metadata


def test_keys_are_in_the_order_of_their_names_after_the_first():
    read = KeyStore.read(secret(**{"20270101": KEYS[2], "ed25519": KEYS[0], "20260601": KEYS[1]}))
    assert [key.key_id for key in read] == IDS[:3]
    store = KeyStore(read, read[-1])
    assert list(store.accepted) == IDS[1:3], "the newest and the one before it"
    assert list(store.held) == IDS[:3]


@pytest.mark.parametrize("broken", ["none", "rsa", "text", "many"])
def test_a_secret_that_cannot_be_used(broken):
    content = secret(ed25519=KEYS[0])
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if broken == "none":
        content["data"] = {"note": ""}
    elif broken == "many":
        content = secret(**{f"k{number}": KEYS[0] for number in range(9)})
    else:
        content["data"]["next.pem"] = base64.b64encode(rsa if broken == "rsa" else b"key").decode()
    with pytest.raises(UnusableKeyError, match="Secret keys"):
        KeyStore.read(content)


def test_a_ring_is_signed_with_a_key_that_the_server_knows():
    store = KeyStore(KEYS[:3], KEYS[2])
    ring = store.ring([IDS[0]], NOW)
    assert ring is not None
    assert jwt.get_unverified_header(ring)["kid"] == IDS[0]
    claims = KeyRing.model_validate(jwt.decode(ring, options={"verify_signature": False}))
    assert claims.keys == [KEYS[1].public_pem, KEYS[2].public_pem]
    assert 0 <= NOW.timestamp() - claims.iat < claims.exp - claims.iat == 300
    assert store.ring([IDS[0]], NOW + timedelta(seconds=1)) == ring, "not signed for each server"
    assert store.ring(IDS[2:0:-1], NOW) is None, "it has them"
    assert store.ring([IDS[3]], NOW) is None, "it knows none of ours: its pool's Deployment changes"


async def test_a_new_key_signs_once_every_server_knows_it(monkeypatch: pytest.MonkeyPatch):
    cluster, loaded = Secrets(), asyncio.Semaphore(0)
    monkeypatch.setattr(signing, "RELOAD_SECONDS", 0.01)
    signer = Signer(cluster, "ns", "keys", loaded.release)  # pyright: ignore[reportArgumentType]
    running = asyncio.create_task(signer.run())
    await loaded.acquire()
    first = signer.key
    assert first is not None
    assert cluster.content == {"metadata": {"name": "keys", "namespace": "ns"}, "data": cluster.content["data"]}
    cluster.content = secret(ed25519=first, **{"20260601": KEYS[1]})
    await loaded.acquire()
    assert signer.key.key_id == first.key_id, "it is accepted, and does not sign yet"
    assert list(signer.store.accepted) == [first.key_id, IDS[1]]
    monkeypatch.setattr(signing, "ACTIVATION_SECONDS", 0.0)
    await loaded.acquire()
    assert signer.key.key_id == IDS[1]
    cluster.content, reads = None, cluster.reads
    async with asyncio.timeout(10):
        while cluster.reads < reads + 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert signer.key.key_id == IDS[1], "a Secret that is deleted is made anew by the next operator"
    running.cancel()
