"""Figures of a live session: in what its server reports, and in its status."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from steno_api.model import Model


class SessionFigures(Model):
    """Figures of a session, without any of its text."""

    audio_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Audio received."""
    segments: int = Field(default=0, ge=0)
    """Final segments so far."""
    partial_latency_millis: Annotated[int, Field(ge=0)] | None = None
    """95th percentile: from the receipt of a window's last sample to the partial text sent."""
    final_latency_millis: Annotated[int, Field(ge=0)] | None = None
    """95th percentile: from the end of speech to the final text sent."""
    language: Annotated[str, Field(max_length=16)] | None = None
    """ISO 639 code, given or detected."""
