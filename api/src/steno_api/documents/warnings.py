"""Warnings of a result: what was lost, doubted or guessed, with a closed list of reasons.

The documents have every warning, with its place. Status, manifest and termination message have one of each reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from steno_api.model import Model

MAX_MESSAGE = 200
MAX_SUMMARIES = 12


class WarningReason(StrEnum):
    """Reasons of warnings. A result with warnings is published; the job has succeeded."""

    NO_SPEECH = "NoSpeech"
    """No speech was found in the audio: the transcript is empty."""
    SILENT_TRACK = "SilentTrack"
    """An audio track, or a channel that was chosen, holds no sound at all."""
    MANY_TRACKS = "ManyTracks"
    """The source has several audio tracks, and one was selected; the message says which."""
    MANY_CHANNELS = "ManyChannels"
    """The channels were not simply mixed (they cancel each other, or only some have a voice); the message says how."""
    INVALID_SAMPLES = "InvalidSamples"
    """Samples that are not numbers were read as silence, or samples beyond full scale were scaled down."""
    CLIPPED = "Clipped"
    """Much of the audio is at full scale: it was recorded too loud, and words may be misheard."""
    LOW_LEVEL = "LowLevel"
    """The audio is very quiet and was amplified before recognition."""
    DAMAGED_SOURCE = "DamagedSource"
    """Parts of the source could not be read, or its length or timestamps are not what it announces."""
    LANGUAGE_UNCERTAIN = "LanguageUncertain"
    """The language was detected with little confidence, or what was given does not fit: check it, or set it."""
    LOW_CONFIDENCE = "LowConfidence"
    """The recognizer doubts much of its own text, or could hardly read some lines."""
    SPEAKERS_UNCERTAIN = "SpeakersUncertain"
    """The speakers could not be distinguished, or there are fewer than were asked for."""
    SPEECH_NOT_DECODED = "SpeechNotDecoded"
    """Speech was found that no text covers, even after a second attempt."""
    TEXT_DROPPED = "TextDropped"
    """Text that was probably invented by the recognizer (a loop, or words over noise) was left out."""
    PAGES_EMPTY = "PagesEmpty"
    """No text was found on some pages, which are not blank or may not be."""
    PAGES_FAILED = "PagesFailed"
    """Some pages could not be read."""
    PAGES_SKIPPED = "PagesSkipped"
    """Images of the source that are not pages (thumbnails, reduced copies) were left out."""
    TEXT_LAYER_REJECTED = "TextLayerRejected"
    """A PDF's own text does not fit what its page shows (a stamp, unreadable characters), and the page was read."""
    READING_ORDER_UNCERTAIN = "ReadingOrderUncertain"
    """Lines of a page stand beside each other without being rows or columns: their order was guessed."""
    REDUCED_RESOLUTION = "ReducedResolution"
    """Pages were read at a lower resolution than the source has, because they are too large."""
    ARTIFACT_FAILED = "ArtifactFailed"
    """One of the requested formats could not be made; the others are published."""


class ResultWarning(Model):
    """One warning of a document, and where it applies."""

    reason: WarningReason
    message: str
    """What happened and what to do, in one or two sentences; never text of the result."""
    start: float | None = None
    """Seconds from the beginning of the media; absent: all of it, or no matter of time."""
    end: float | None = None
    page: int | None = None
    """Number of the page, from 1."""


class WarningSummary(Model):
    """The warnings of one reason."""

    reason: Annotated[str, Field(max_length=40)]
    """One of the documented reasons."""
    message: Annotated[str, Field(max_length=MAX_MESSAGE)]
    """The message of the first of them."""
    count: int = Field(default=1, ge=1, le=2**53 - 1)
    """How many there are; the document has them all."""


def summarise_warnings(warnings: Iterable[ResultWarning]) -> list[WarningSummary]:
    """Return one summary for each reason, in the order of first appearance, at most `MAX_SUMMARIES`."""
    first: dict[WarningReason, ResultWarning] = {}
    counts: dict[WarningReason, int] = {}
    for warning in warnings:
        first.setdefault(warning.reason, warning)
        counts[warning.reason] = counts.get(warning.reason, 0) + 1
    return [
        WarningSummary(reason=reason, message=_shortened(warning.message), count=counts[reason])
        for reason, warning in list(first.items())[:MAX_SUMMARIES]
    ]


def _shortened(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
