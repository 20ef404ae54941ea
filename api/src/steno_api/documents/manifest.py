"""Manifest: the list of published artifacts, written last. If it exists, the results are complete."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from steno_api.documents.warnings import WarningSummary
from steno_api.model import Model, ObjectRef

MANIFEST_NAME = "manifest.json"

MAX_AUDIO_SECONDS = 2_592_000
"""Seconds of audio that one result may claim: 30 days."""
MAX_PAGES = 100_000
"""Pages that one result may claim."""
MAX_COUNT = 2**53 - 1
"""The largest number that every reader of JSON reads exactly."""

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class TranscriptionSummary(Model):
    """Figures of a finished transcription, without any of its text."""

    duration: Annotated[float, Field(ge=0, le=MAX_AUDIO_SECONDS, allow_inf_nan=False)]
    """Seconds of audio."""
    language: Annotated[str, Field(max_length=64)]
    """ISO 639 code, given or detected."""
    segments: Count
    """Number of segments."""
    speakers: Count = 0
    """Number of speakers; 0 without diarization."""
    words: Count = 0
    """Number of words."""
    confidence: Fraction = 0.0
    """Mean over the segments, from 0 to 1."""
    processing_seconds: Seconds
    """From the worker's start to the finished document."""
    speed: Seconds
    """Seconds of audio per second of processing."""
    model: Annotated[str, Field(max_length=512)]
    """The model's name."""
    device: Annotated[str, Field(max_length=64)] = "cpu"
    """`cuda` or `cpu`."""


class OCRSummary(Model):
    """Figures of a finished document, without any of its text."""

    pages: Annotated[int, Field(ge=0, le=MAX_PAGES)]
    """Number of pages, including failed ones."""
    failed_pages: Count
    """Pages that could not be read."""
    characters: Count
    """Number of characters on all pages."""
    confidence: Fraction
    """Mean over the pages that were read, weighted by their characters, from 0 to 1."""
    engines: Annotated[dict[str, Count], Field(max_length=16)]
    """Number of pages by engine; `embedded` counts pages whose text the PDF itself contained."""
    processing_seconds: Seconds
    """From the worker's start to the finished document."""
    pages_per_second: Seconds
    """Pages per second of processing."""


AnySummary = TranscriptionSummary | OCRSummary
"""Summary of any kind of job; the kinds share no required field, so each is parsed as what it is."""


class PublishedArtifact(Model):
    """One published file, relative to the manifest's directory."""

    format: Annotated[str, Field(max_length=32)]
    name: Annotated[str, Field(max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """A plain name: no path."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{2,64}$")]
    bytes: Count


class Manifest(Model):
    """`<output>/<namespace>/<name>/<uid>/manifest.json`."""

    schema_version: Literal["steno.dev/manifest/v1"] = "steno.dev/manifest/v1"
    job: ObjectRef
    attempt: int
    tenant: str
    created_at: datetime
    source_uri: str
    metadata: dict[str, str] = Field(default_factory=dict[str, str])
    """Free text of whoever asked for it: `spec.metadata`."""
    artifacts: list[PublishedArtifact]
    summary: AnySummary
    warnings: list[WarningSummary] = Field(default_factory=list[WarningSummary])
    """What was lost, doubted or guessed; the documents say where."""
    proof: Annotated[str, Field(max_length=128)] | None = None
    """HMAC of the other fields by the key of the resource, which only its own workers have."""
