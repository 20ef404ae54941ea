"""Transcript writers: the formats in which a transcript is published."""

from __future__ import annotations

import html
from collections.abc import Callable

from steno_api.documents.transcript import Transcript
from steno_runtime.stt.subtitles import cues
from steno_runtime.stt.typography import joined

PARAGRAPH_PAUSE = 2.0
"""Seconds of silence after which the same speaker begins a new paragraph."""
PARAGRAPH_CHARS = 600


def _json(transcript: Transcript) -> bytes:
    return (transcript.model_dump_json(indent=2) + "\n").encode()


def _srt(transcript: Transcript) -> bytes:
    blocks: list[str] = []
    for number, cue in enumerate(cues(transcript.segments, end=transcript.duration, labelled=True), 1):
        text = "\n".join(cue.lines)
        blocks.append(f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{text}\n")
    return "\n".join(blocks).encode()


def _vtt(transcript: Transcript) -> bytes:
    blocks = ["WEBVTT\n"]
    for cue in cues(transcript.segments, end=transcript.duration):
        # `<`, `&` and `-->` mean something in WebVTT.
        text = html.escape("\n".join(cue.lines), quote=False)
        voiced = text if cue.speaker is None else f"<v {html.escape(cue.speaker)}>{text}"
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{voiced}\n")
    return "\n".join(blocks).encode()


def _txt(transcript: Transcript) -> bytes:
    """Paragraphs: a new one where the speaker changes, after a pause, or at a sentence's end when one grows long."""
    paragraphs: list[str] = []
    current: list[str] = []
    speaker: str | None = None
    end = 0.0
    for segment in transcript.segments:
        changed = segment.speaker != speaker
        if current and (
            changed or segment.start - end > PARAGRAPH_PAUSE or sum(len(text) for text in current) > PARAGRAPH_CHARS
        ):
            paragraphs.append(_paragraph(speaker, current))
            current = []
        current.append(segment.text)
        speaker, end = segment.speaker, segment.end
    if current:
        paragraphs.append(_paragraph(speaker, current))
    return "\n".join(paragraphs).encode()


def _paragraph(speaker: str | None, texts: list[str]) -> str:
    return (f"{speaker}: " if speaker is not None else "") + joined(texts) + "\n"


def _clock(seconds: float, decimal: str) -> str:
    milliseconds = round(seconds * 1000)
    return (
        f"{milliseconds // 3_600_000:02d}:{milliseconds // 60_000 % 60:02d}:{milliseconds // 1000 % 60:02d}"
        f"{decimal}{milliseconds % 1000:03d}"
    )


WRITERS: dict[str, Callable[[Transcript], bytes]] = {"json": _json, "srt": _srt, "vtt": _vtt, "txt": _txt}
"""Format to writer: UTF-8, ending with a line break (empty subtitles are empty files)."""

FILE_NAMES = {fmt: f"transcript.{fmt}" for fmt in WRITERS}
MEDIA_TYPES = {
    "json": "application/json",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}
