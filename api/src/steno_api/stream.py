"""What the operator and a pool's servers agree on: the server's task, a session's token, and what servers report.

A server needs no rights in the cluster. It learns of a session from the signed token that the client brings; it tells
the operator of its sessions every second or two, signed with its projected ServiceAccount token; and the answer says
which of them are to end and which reports need not be repeated.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from steno_api import API_VERSION
from steno_api.failures import FailureReason
from steno_api.figures import SessionFigures as SessionFigures  # noqa: PLC0414 - part of what is told here
from steno_api.identity import JobRef
from steno_api.model import Model
from steno_api.report import PublishedArtifact
from steno_api.task import TaskReporting
from steno_api.v1alpha1.transcriptionjob import SpeechModel, TranscriptFormat

TOKEN_ISSUER = "steno-operator"  # noqa: S105 - a name
"""Claim `iss` of session tokens."""

TOKEN_ALGORITHM = "EdDSA"  # noqa: S105 - a name
"""Ed25519: servers hold the public key only, so none can make a token."""

PUBLISHING_PATIENCE_SECONDS = 900
"""So long a server tries to publish a session while the store does not answer; the operator waits for longer."""

POOL_REPORT_PATH = "/v1/pools/reports"
"""Where servers POST `PoolReport`; the answer is a `PoolAnswer`."""


def token_audience(namespace: str, pool: str) -> str:
    """Returns the claim `aud` of the tokens of a pool's sessions: no other pool takes them."""
    return f"steno-pool:{namespace}/{pool}"


class SessionClaims(Model):
    """The claims of a session's token (a JWT): everything its server is told about it."""

    iss: Literal["steno-operator"] = TOKEN_ISSUER
    aud: str
    """`token_audience` of the pool."""
    sub: str
    """`<namespace>/<name>` of the StreamSession."""
    iat: int
    """Seconds since 1970."""
    exp: int
    """A connection may be opened until then; one that is open stays."""
    uid: str
    """UID of the StreamSession."""
    tenant: str
    meeting_id: str = Field(alias="meetingID")
    language: str = "auto"
    interim_results: bool = True
    endpointing_millis: int = Field(default=300, ge=50, le=5000)
    max_duration_seconds: int = Field(default=7200, ge=1)
    """Of audio time and of wall clock, from the first connection."""
    idle_timeout_seconds: int = Field(default=60, ge=1)
    """A connected client that sends no audio for this long ends the session."""
    output_uri: str | None = Field(default=None, alias="outputURI")
    """Final directory of the transcript, `<output.uri>/<namespace>/<name>/<uid>`; absent: nothing is published."""
    formats: list[TranscriptFormat] = Field(default_factory=lambda: [TranscriptFormat.JSON])

    @property
    def namespace(self) -> str:
        """The session's namespace."""
        return self.sub.partition("/")[0]

    @property
    def name(self) -> str:
        """The session's name."""
        return self.sub.partition("/")[2]


class PoolOutput(Model):
    """How a server reaches the object store that its sessions' transcripts go to."""

    endpoint_url: str | None = Field(default=None, alias="endpointURL")
    region: str | None = None
    credentials_dir: str | None = None
    """Directory with one file per Secret key."""


class PoolTask(Model):
    """What a server of a RuntimePool is told, as one JSON document. It holds no secret."""

    kind: Literal["PoolTask"] = "PoolTask"
    api_version: Literal["steno.dev/v1alpha1"] = API_VERSION
    pool: JobRef
    """Namespace, name and UID of the RuntimePool."""
    tenant: str
    model: SpeechModel
    device: Literal["auto", "cuda", "cpu"] = "auto"
    memory_mib: int | None = Field(default=None, ge=1, alias="memoryMiB")
    model_store: str = "/models"
    scratch_dir: str = "/scratch"
    max_sessions: int = Field(ge=1)
    """Sessions this replica takes at once; one more is refused."""
    token_keys: list[str]
    """Public keys (PEM) that sign session tokens; empty: every client is let in (local use only)."""
    output: PoolOutput | None = None
    """Absent: nothing is published."""
    allowed_sources: list[str] = Field(default_factory=list[str])
    """URL prefixes that `POST /stt/process` and `/ocr/process` may fetch; empty: none."""
    http_port: int = 8080
    grpc_port: int = 9090
    drain_seconds: int = Field(default=25, ge=0)
    """After SIGTERM, how long sessions have to end; below the pod's grace period."""
    reporting: TaskReporting | None = None


class SessionEnd(StrEnum):
    """Why a session ended; also the reason of the condition `Complete`."""

    CLIENT_ENDED = "ClientEnded"
    """The client said that it was done."""
    CLIENT_GONE = "ClientGone"
    """The connection broke. What was said until then is published. Or the server was lost, the client did not come
    back, and nothing was to be published."""
    IDLE_TIMEOUT = "IdleTimeout"
    """No audio came for `idleTimeoutSeconds`."""
    MAX_DURATION = "MaxDuration"
    """`maxDurationSeconds` ran out."""
    NO_CLIENT = "NoClient"
    """Nobody connected within `maxDurationSeconds`."""
    DRAINED = "Drained"
    """The server had to stop. What was said until then is published."""
    DELETED = "Deleted"
    """The StreamSession was deleted."""
    DUPLICATE = "Duplicate"
    """The session is connected to another server of the pool: this connection ends, publishes nothing, and is not the
    session's end."""


class SessionResult(Model):
    """How a session ended and what it left."""

    reason: SessionEnd
    time: AwareDatetime
    manifest: Annotated[str, Field(max_length=2048)] | None = None
    """URI of the published manifest; absent when nothing was to be published, or publishing failed."""
    artifacts: list[PublishedArtifact] = Field(default_factory=list[PublishedArtifact], max_length=64)
    failure: FailureReason | None = None
    """Why nothing could be published, although it should have been, or why decoding broke off."""
    message: str = Field(default="", max_length=1000)


class SessionReport(Model):
    """What a server says about one session."""

    session: JobRef
    """Namespace, name and UID of the StreamSession."""
    started: AwareDatetime
    """When the client connected."""
    figures: SessionFigures
    result: SessionResult | None = None
    """Present once it ended; repeated until the answer says that it is known."""


class PoolReport(Model):
    """What one server tells, every second or two and whenever a session begins or ends."""

    pool: JobRef
    sessions: list[SessionReport]
    """Every session that is open, and those that ended and are not `known` yet; empty when there are none."""


class SessionOrder(Model):
    """A session that is to end."""

    uid: str
    reason: SessionEnd


class PoolAnswer(Model):
    """The operator's answer."""

    end: list[SessionOrder] = Field(default_factory=list[SessionOrder])
    known: list[str] = Field(default_factory=list[str])
    """UIDs of ended sessions whose end stands in their status (or that are gone): need not be reported again."""
