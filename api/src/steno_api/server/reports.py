"""Reports of a pool's servers about their sessions, and the operator's answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from steno_api.documents.manifest import PublishedArtifact
from steno_api.documents.warnings import MAX_SUMMARIES, WarningSummary
from steno_api.failures import FailureReason
from steno_api.model import Model, ObjectRef
from steno_api.server.claims import MAX_TOKEN_KEYS
from steno_api.server.session_end import SessionEnd
from steno_api.usage import ProcessID, Work
from steno_api.v1alpha1.streamsession import SessionStats

PUBLISH_TIMEOUT_SECONDS = 900
"""How long a server retries to publish a session while the object store does not answer; the operator waits longer."""

POOL_REPORT_PATH = "/v1/pools/reports"
"""Path of the operator's endpoint that servers POST `PoolReport` to; the answer is a `PoolAnswer`."""


Instant = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC))]
"""A time that can be reckoned with, whatever a server says."""


MAX_OPEN_SESSIONS = 20_000
"""Of a pool, that an answer lists: it stays below the 1 MiB that a server reads."""


class SessionResult(Model):
    """How a session ended, and what it published."""

    reason: SessionEnd
    time: Instant
    manifest: Annotated[str, Field(max_length=2048)] | None = None
    """URI of the published manifest; absent when nothing was to be published, or publishing failed."""
    artifacts: list[PublishedArtifact] = Field(default_factory=list[PublishedArtifact], max_length=64)
    warnings: list[WarningSummary] = Field(default_factory=list[WarningSummary], max_length=MAX_SUMMARIES)
    """What was lost, doubted or guessed: one of each reason."""
    failure: FailureReason | None = None
    """Why the transcript could not be published although it should have been, or why decoding stopped."""
    message: str = Field(default="", max_length=1000)


class SessionReport(Model):
    """State of one session."""

    session: ObjectRef
    """The StreamSession."""
    started: Instant
    """When the client connected."""
    stats: SessionStats
    result: SessionResult | None = None
    """Present once the session has ended; repeated until the answer acknowledges it."""


MAX_UPLOAD_REPORTS = 500
"""In one report of a server; the others come with the next ones."""


class UploadReport(Model):
    """What was done for the uploads of one session, by REST and gRPC, since this server began."""

    session: ObjectRef
    """The StreamSession whose token they came with."""
    used: Work
    """Whatever became of them."""
    active: bool = False
    """Some of them is queued or worked on: the figures may grow, even if the session has ended."""


class PoolReport(Model):
    """State of one server, sent every second or two and whenever a session starts or ends."""

    pool: ObjectRef
    sessions: Annotated[list[SessionReport], Field(max_length=4096)]
    """Every open session, and every ended one that is not acknowledged yet; may be empty."""
    revision: Annotated[str, Field(max_length=64)] | None = None
    """Of the list of open sessions that the server has; empty: none yet; absent: a server that takes no list."""
    key_ids: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=MAX_TOKEN_KEYS)] | None = None
    """IDs of the keys that the server checks tokens with; absent: it cannot learn others."""
    process: ProcessID | None = None
    """This run of the server, whose figures of uploads begin at zero."""
    uploads: Annotated[list[UploadReport], Field(max_length=MAX_UPLOAD_REPORTS)] = Field(
        default_factory=list[UploadReport]
    )
    """Of sessions that anything was uploaded for, and that are not charged yet."""


class SessionOrder(Model):
    """Order to end a session."""

    uid: str
    reason: SessionEnd


class PoolAnswer(Model):
    """The operator's answer to a `PoolReport`."""

    end: list[SessionOrder] = Field(default_factory=list[SessionOrder])
    """Sessions to end now."""
    charged: list[str] = Field(default_factory=list[str])
    """UIDs of sessions whose uploads need not be reported again: they have ended, and all is charged."""
    exhausted: list[Literal["Audio", "Pages"]] = Field(default_factory=list[Literal["Audio", "Pages"]])
    """Daily limits of the Tenant that are reached: no upload is begun that needs them."""
    known: list[str] = Field(default_factory=list[str])
    """UIDs of ended sessions that need not be reported again: their status has the result, or they are deleted."""
    revision: Annotated[str, Field(max_length=64)] | None = None
    """Of the pool's list of open sessions; absent: an operator that keeps none, or cannot list that many."""
    open: Annotated[list[str], Field(max_length=MAX_OPEN_SESSIONS)] | None = None
    """UIDs of the pool's sessions that have not ended and are not deleted: tokens of all others that were issued before
    `time` are void. Absent: the server has this revision."""
    time: Instant | None = None
    """When the list was true, by the clock that issues tokens."""
    key_ring: Annotated[str, Field(max_length=8192)] | None = None
    """A `KeyRing` as a JWT, when the server's keys are not those in force."""
