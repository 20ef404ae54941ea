"""Session token: the claims of the JWT that admits one client to a pool's server, and the keys that sign it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field

from steno_api.model import Model
from steno_api.v1alpha1.transcriptionjob import TranscriptFormat

TOKEN_ISSUER = "steno-operator"  # noqa: S105 - a name
"""Claim `iss` of session tokens."""

TOKEN_ALGORITHM = "EdDSA"  # noqa: S105 - a name
"""Ed25519: servers hold the public key only, so none of them can issue a token."""


MAX_TOKEN_CHARS = 8000
"""A token with as much free text as a StreamSession may have is shorter; libraries of WebSocket take lines of 8 KiB."""


def token_audience(namespace: str, pool: str) -> str:
    """Return the claim `aud` of the tokens of a pool's sessions; no other pool accepts them."""
    return f"steno-pool:{namespace}/{pool}"


KEY_RING_AUDIENCE = "steno-servers"
"""Claim `aud` of a `KeyRing`: no session token has it."""
MAX_TOKEN_KEYS = 8
"""That are known at a time."""


def key_id(public: bytes) -> str:
    """Return the ID (`kid`) of a raw Ed25519 public key; the same wherever it is made."""
    return hashlib.sha256(public).hexdigest()[:16]


class KeyRing(Model):
    """Claims of the JWT in which the operator tells servers its keys, signed by one that they know already."""

    iss: Literal["steno-operator"] = TOKEN_ISSUER
    aud: str = KEY_RING_AUDIENCE
    iat: int
    exp: int
    """It is good for minutes, so that an earlier one cannot be given to a server that was just started."""
    keys: Annotated[list[str], Field(min_length=1, max_length=MAX_TOKEN_KEYS)]
    """Public keys (PEM) of session tokens, in place of all that the server had."""


class SessionClaims(Model):
    """Claims of a session's token: everything its server knows about the session."""

    iss: Literal["steno-operator"] = TOKEN_ISSUER
    aud: str
    """`token_audience` of the pool."""
    sub: str
    """`<namespace>/<name>` of the StreamSession."""
    iat: int
    """Time of issue, in seconds since 1970."""
    exp: int
    """Last time at which a connection may be opened, in seconds since 1970; an open connection stays open."""
    uid: str
    """UID of the StreamSession."""
    tenant: str
    meeting_id: str = Field(alias="meetingID")
    language: str = "auto"
    languages: list[str] = Field(default_factory=list[str])
    """The only languages that may be detected; empty: all that the model knows."""
    interim_results: bool = True
    endpointing_millis: int = Field(default=300, ge=50, le=5000)
    max_duration_seconds: int = Field(default=7200, ge=1)
    """Limit of both audio time and wall-clock time, from the first connection."""
    idle_timeout_seconds: int = Field(default=60, ge=1)
    """The session ends when a connected client sends no audio for this long."""
    output_uri: str | None = Field(default=None, alias="outputURI")
    """Final directory of the transcript, `<output.uri>/<namespace>/<name>/<uid>`; absent: nothing is published."""
    metadata: dict[str, str] = Field(default_factory=dict[str, str])
    """Free text of the StreamSession, for its transcript."""
    formats: list[TranscriptFormat] = Field(default_factory=lambda: [TranscriptFormat.JSON])

    @property
    def namespace(self) -> str:
        """The session's namespace."""
        return self.sub.partition("/")[0]

    @property
    def name(self) -> str:
        """The session's name."""
        return self.sub.partition("/")[2]
