"""Channels as speakers: the transcription of channels that were decoded one after the other, merged by time. Pure.

Separate because the worker, the server and the command line all split recordings.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from steno_api.documents.transcript import Segment
from steno_runtime.stt.pipeline import TranscriptionResult
from steno_runtime.stt.review import StretchWarning

if TYPE_CHECKING:
    from steno_runtime.media.channels import Recording


def speaker_name(channel: int) -> str:
    """Return the speaker that a channel (from 1) is in documents: `CHANNEL_00` is the first."""
    return f"CHANNEL_{channel - 1:02d}"


def merge_channels(result: TranscriptionResult, recording: Recording) -> TranscriptionResult:
    """Put segments and warnings back into the time of the recording, and name the channels as speakers.

    Args:
        result: of the recording's samples.
        recording: what it is made of; one that is not split changes nothing.
    """
    if not recording.channels:
        return result
    longest = recording.duration

    def place(seconds: float) -> tuple[float, str]:
        index = max(0, bisect.bisect_right(recording.starts, seconds + 1e-3) - 1)
        return recording.starts[index], speaker_name(recording.channels[index])

    segments = sorted((_moved(segment, place, longest) for segment in result.segments), key=lambda one: one.start)
    # The others are of all the audio, or of the source.
    warnings = tuple(_moved_warning(one, place) if isinstance(one, StretchWarning) else one for one in result.warnings)
    return replace(
        result, segments=tuple(segments), warnings=warnings, duration=round(longest, 3), has_diarization=True
    )


def _moved(segment: Segment, place: Callable[[float], tuple[float, str]], longest: float) -> Segment:
    offset, speaker = place(segment.start)

    def at(seconds: float) -> float:
        return round(min(longest, max(0.0, seconds - offset)), 3)

    words = [
        word.model_copy(update={"start": at(word.start), "end": at(word.end), "speaker": speaker})
        for word in segment.words
    ]
    return segment.model_copy(
        update={"start": at(segment.start), "end": at(segment.end), "speaker": speaker, "words": words}
    )


def _moved_warning(warning: StretchWarning, place: Callable[[float], tuple[float, str]]) -> StretchWarning:
    offset, speaker = place(warning.start)
    return replace(warning, start=round(warning.start - offset, 2), end=round(warning.end - offset, 2), speaker=speaker)
