"""Transcript document: built from the pipeline's result, and summarised."""

from __future__ import annotations

from collections.abc import Mapping

from steno_api.documents.manifest import TranscriptionSummary
from steno_api.documents.transcript import Speaker, Transcript
from steno_runtime.stt.pipeline import TranscriptionResult
from steno_runtime.stt.review import StretchWarning
from steno_runtime.stt.typography import joined


def build_transcript(
    result: TranscriptionResult,
    *,
    meeting_id: str,
    tenant_id: str,
    processing_time: float,
    metadata: Mapping[str, str] | None = None,
) -> Transcript:
    """Build the document that users read.

    Args:
        result: from `transcribe`.
        meeting_id: the recording's name.
        tenant_id: the tenant it belongs to.
        processing_time: seconds since the task began.
        metadata: free text of whoever asked for it.
    """
    segments_of: dict[str, list[int]] = {}
    for index, segment in enumerate(result.segments):
        if segment.speaker is not None:
            segments_of.setdefault(segment.speaker, []).append(index)
    speakers = {
        name: Speaker(
            total_duration=round(sum(result.segments[i].end - result.segments[i].start for i in indexes), 3),
            segments_count=len(indexes),
            text_parts=[result.segments[i].text for i in indexes],
        )
        for name, indexes in sorted(segments_of.items())
    }
    return Transcript(
        meeting_id=meeting_id,
        tenant_id=tenant_id,
        transcript=joined(segment.text for segment in result.segments),
        segments=list(result.segments),
        speakers=speakers,
        confidence=result.confidence,
        processing_time=round(processing_time, 3),
        language=result.language,
        translated=result.translated,
        duration=result.duration,
        model=result.model,
        total_segments=len(result.segments),
        total_speakers=len(speakers),
        has_diarization=result.has_diarization,
        metadata=dict(metadata or {}),
        warnings=[one.phrase() if isinstance(one, StretchWarning) else one for one in result.warnings],
    )


def summarise(transcript: Transcript, device: str) -> TranscriptionSummary:
    """Return the document's statistics.

    Args:
        transcript: the document.
        device: what it was made on: `cuda`, `cpu`, or `unknown`.
    """
    seconds = transcript.processing_time
    return TranscriptionSummary(
        duration=transcript.duration,
        language=transcript.language,
        segments=transcript.total_segments,
        speakers=transcript.total_speakers,
        words=sum(len(segment.words) or len(segment.text.split()) for segment in transcript.segments),
        confidence=transcript.confidence,
        processing_seconds=seconds,
        speed=round(transcript.duration / seconds, 2) if seconds > 0 else 0.0,
        model=transcript.model,
        device=device,
    )
