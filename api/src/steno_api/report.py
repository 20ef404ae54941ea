"""What a worker tells back: progress reports while it runs, and a termination message as its last word."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from steno_api.failures import FailureReason
from steno_api.identity import JobRef
from steno_api.model import Model

MAX_TERMINATION_MESSAGE_BYTES = 4096
"""Kubernetes cuts a container's termination message here."""

REPORT_AUDIENCE = "steno-operator"
"""Audience of the projected ServiceAccount token that signs reports."""

REPORT_PATH = "/v1/reports"


class Stage(StrEnum):
    """What a worker is doing; shown in the status and as the reason of the condition `Running`."""

    STARTING = "Starting"
    FETCHING = "Fetching"
    LOADING_MODEL = "LoadingModel"
    DETECTING_SPEECH = "DetectingSpeech"
    DECODING = "Decoding"
    ALIGNING = "Aligning"
    DIARIZING = "Diarizing"
    RECOGNIZING = "Recognizing"
    PUBLISHING = "Publishing"


class Progress(Model):
    """How far an attempt is."""

    stage: Stage
    """What the worker is doing."""
    percent: int = Field(ge=0, le=100)
    """Of the whole attempt; never falls within one attempt."""
    audio_seconds: float | None = Field(default=None, ge=0)
    """Seconds of audio decoded so far."""
    pages: int | None = Field(default=None, ge=0)
    """Pages read so far."""
    eta_seconds: float | None = Field(default=None, ge=0)
    """Estimated seconds until the results are published."""
    message: str | None = Field(default=None, max_length=200)
    """For people, e.g. `chunk 31 of 74`; never text of the transcript."""


class Report(Model):
    """One progress report, POSTed as JSON to the operator's `/v1/reports`."""

    job: JobRef
    attempt: int = Field(ge=1)
    progress: Progress


class Summary(Model):
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
    """Figures of a document that was read, without any of its text."""

    pages: int
    """Number of pages, the failed ones included."""
    failed_pages: int
    """Pages that could not be read."""
    characters: int
    """Number of characters, over all pages."""
    confidence: float
    """Mean over the pages that were read, weighted by their characters, from 0 to 1."""
    engines: dict[str, int]
    """Pages by the engine that read them; `embedded`: by the text that the PDF itself carried."""
    processing_seconds: float
    """From the worker's start to the finished document."""
    pages_per_second: float
    """Pages per second of processing."""


AnySummary = Summary | OCRSummary
"""The summary of any kind: no two share their required fields, so each is read as what it is."""


class PublishedArtifact(Model):
    """One published file, relative to the manifest's directory."""

    format: str
    name: str
    sha256: str
    bytes: int


class Succeeded(Model):
    """The last word of a worker that published."""

    outcome: Literal["Succeeded"] = "Succeeded"
    manifest: str
    """URI of the manifest."""
    artifacts: list[PublishedArtifact]
    summary: AnySummary


class Failed(Model):
    """The last word of a worker that failed."""

    outcome: Literal["Failed"] = "Failed"
    reason: FailureReason
    message: str = Field(max_length=1500)
    """One or two sentences for the user: what is wrong and what to do. Never a traceback, never transcript text."""


class TerminationMessage(Model):
    """The envelope in the pod's termination message."""

    result: Succeeded | Failed = Field(discriminator="outcome")
