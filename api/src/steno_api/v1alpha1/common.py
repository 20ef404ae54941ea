"""Parts of a spec or status that several kinds share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from steno_api.failures import FailureReason
from steno_api.model import Model
from steno_api.report import PublishedArtifact

Name = Annotated[str, Field(min_length=1, max_length=253)]


class SecretRef(Model):
    """A Secret in the resource's own namespace."""

    name: Name


class Source(Model):
    """Where the input is read from."""

    uri: Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^(s3|https?|pvc)://[^/]+/.+$")]
    """`s3://bucket/key`, `https://host/path` or `pvc://claim/path`."""
    secret_ref: SecretRef | None = None
    """Credentials: for s3 the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and, if wanted, `AWS_SESSION_TOKEN`,
    `AWS_REGION`, `AWS_ENDPOINT_URL`); for https `username` and `password`, or `token`. Absent: the pod's own identity."""
    endpoint_url: Annotated[str, Field(pattern=r"^https?://.+", max_length=512)] | None = Field(None, alias="endpointURL")
    """S3 endpoint, for stores other than AWS."""
    region: Annotated[str, Field(max_length=63)] | None = None
    """S3 region."""


class Output(Model):
    """Where results are published: `<uri>/<namespace>/<name>/<uid>/`."""

    uri: Annotated[str, Field(min_length=6, max_length=1024, pattern=r"^(s3|pvc)://[^/]+(/.*)?$")]
    """`s3://bucket[/prefix]` or `pvc://claim[/directory]`."""
    secret_ref: SecretRef | None = None
    """S3 credentials, as in `source.secretRef`."""
    endpoint_url: Annotated[str, Field(pattern=r"^https?://.+", max_length=512)] | None = Field(None, alias="endpointURL")
    """S3 endpoint, for stores other than AWS."""
    region: Annotated[str, Field(max_length=63)] | None = None
    """S3 region."""


class Results(Model):
    """Where the results are; present only when they are complete."""

    manifest: str
    """URI of the manifest, which lists every artifact with its digest."""
    artifacts: Annotated[list[ResultArtifact], Field(max_length=64)]


class ResultArtifact(Model):
    """One published file."""

    format: str
    uri: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, artifact: PublishedArtifact, directory: str) -> ResultArtifact:
        """Returns the status entry of `artifact`, published in `directory` (a URI without trailing slash)."""
        return cls(
            format=artifact.format, uri=f"{directory}/{artifact.name}", sha256=artifact.sha256, bytes=artifact.bytes
        )


class QueueStatus(Model):
    """Why a job waits; present only while it does."""

    reason: str
    message: str = ""
    position: int | None = None
    """Place in the tenant's queue, from 1."""


class LastFailure(Model):
    """How the latest failed attempt ended."""

    attempt: int
    reason: FailureReason
    message: str
    time: datetime


Phase = Literal["Pending", "Waiting", "Running", "Retrying", "Suspended", "Succeeded", "Failed"]
"""Derived from the conditions, for people; programs read the conditions."""
