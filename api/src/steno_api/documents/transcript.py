"""The transcript document: what users of the original `/stt/*` engine read, field for field, and a schema version.

Its keys are snake_case, as in the original.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from steno_api.documents.warnings import ResultWarning


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Word(_Document):
    """One word; `start` and `end` are seconds from the beginning of the media."""

    word: str
    start: float
    end: float
    confidence: float = Field(ge=0, le=1)
    speaker: str | None = None


class Segment(_Document):
    """One utterance of one speaker; `start` and `end` are seconds from the beginning of the media."""

    start: float
    end: float
    text: str
    speaker: str | None = None
    language: str | None = None
    """ISO 639 code of what is spoken; null in documents of earlier versions."""
    confidence: float = Field(ge=0, le=1)
    words: list[Word] = []


class Speaker(_Document):
    """What one speaker said."""

    total_duration: float
    segments_count: int
    text_parts: list[str]


class Transcript(_Document):
    """The result of a transcription, as `transcript.json`."""

    schema_version: Literal["steno.dev/transcript/v1"] = "steno.dev/transcript/v1"
    meeting_id: str
    tenant_id: str
    transcript: str
    segments: list[Segment]
    speakers: dict[str, Speaker]
    confidence: float
    processing_time: float
    """Seconds from the task's start to the finished document."""
    language: str
    """That was spoken."""
    translated: bool = False
    """Whether the text is an English translation of it."""
    duration: float
    """Seconds of audio."""
    model: str
    total_segments: int
    total_speakers: int
    has_diarization: bool
    metadata: dict[str, str] = {}
    """Free text of whoever asked for it: `spec.metadata`."""
    warnings: list[ResultWarning] = []
    """What was lost, doubted or guessed."""
