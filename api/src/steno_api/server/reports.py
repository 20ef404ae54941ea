"""Reports of a pool's servers about their sessions, and the operator's answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, Field

from steno_api.documents.manifest import PublishedArtifact
from steno_api.documents.warnings import MAX_SUMMARIES, WarningSummary
from steno_api.failures import FailureReason
from steno_api.model import Model, ObjectRef
from steno_api.server.session_end import SessionEnd
from steno_api.v1alpha1.streamsession import SessionStats

PUBLISH_TIMEOUT_SECONDS = 900
"""How long a server retries to publish a session while the object store does not answer; the operator waits longer."""

POOL_REPORT_PATH = "/v1/pools/reports"
"""Path of the operator's endpoint that servers POST `PoolReport` to; the answer is a `PoolAnswer`."""


Instant = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC))]
"""A time that can be reckoned with, whatever a server says."""


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


class PoolReport(Model):
    """State of one server, sent every second or two and whenever a session starts or ends."""

    pool: ObjectRef
    sessions: Annotated[list[SessionReport], Field(max_length=4096)]
    """Every open session, and every ended one that is not acknowledged yet; may be empty."""


class SessionOrder(Model):
    """Order to end a session."""

    uid: str
    reason: SessionEnd


class PoolAnswer(Model):
    """The operator's answer to a `PoolReport`."""

    end: list[SessionOrder] = Field(default_factory=list[SessionOrder])
    """Sessions to end now."""
    known: list[str] = Field(default_factory=list[str])
    """UIDs of ended sessions that need not be reported again: their status has the result, or they are deleted."""
