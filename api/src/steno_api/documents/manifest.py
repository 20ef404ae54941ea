"""Manifest: the list of published artifacts, written last. If it exists, the results are complete."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from steno_api.documents.warnings import WarningSummary
from steno_api.model import Model, ObjectRef

MANIFEST_NAME = "manifest.json"


class TranscriptionSummary(Model):
    """Figures of a finished transcription, without any of its text."""

    duration: float
    """Seconds of audio."""
    language: str
    """ISO 639 code, given or detected."""
    segments: int
    """Number of segments."""
    speakers: int = 0
    """Number of speakers; 0 without diarization."""
    words: int = 0
    """Number of words."""
    confidence: float = 0.0
    """Mean over the segments, from 0 to 1."""
    processing_seconds: float
    """From the worker's start to the finished document."""
    speed: float
    """Seconds of audio per second of processing."""
    model: str
    """The model's name."""
    device: str = "cpu"
    """`cuda` or `cpu`."""


class OCRSummary(Model):
    """Figures of a finished document, without any of its text."""

    pages: int
    """Number of pages, including failed ones."""
    failed_pages: int
    """Pages that could not be read."""
    characters: int
    """Number of characters on all pages."""
    confidence: float
    """Mean over the pages that were read, weighted by their characters, from 0 to 1."""
    engines: dict[str, int]
    """Number of pages by engine; `embedded` counts pages whose text the PDF itself contained."""
    processing_seconds: float
    """From the worker's start to the finished document."""
    pages_per_second: float
    """Pages per second of processing."""


AnySummary = TranscriptionSummary | OCRSummary
"""Summary of any kind of job; the kinds share no required field, so each is parsed as what it is."""


class PublishedArtifact(Model):
    """One published file, relative to the manifest's directory."""

    format: str
    name: str
    sha256: str
    bytes: int


class Manifest(Model):
    """`<output>/<namespace>/<name>/<uid>/manifest.json`."""

    schema_version: Literal["steno.dev/manifest/v1"] = "steno.dev/manifest/v1"
    job: ObjectRef
    attempt: int
    tenant: str
    created_at: datetime
    source_uri: str
    artifacts: list[PublishedArtifact]
    summary: AnySummary
    warnings: list[WarningSummary] = Field(default_factory=list[WarningSummary])
    """What was lost, doubted or guessed; the documents say where."""
