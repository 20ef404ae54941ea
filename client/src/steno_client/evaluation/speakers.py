"""Diarization error rate: reference turns in RTTM, and pyannote.metrics, which need not be installed.

It is NIST's: confused, missed and false speaker time over speaker time, without the quarter of a second on each side
of a reference boundary, overlaps included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pydantic import computed_field
from pydantic.dataclasses import dataclass as checked_dataclass

from steno_client.errors import EXIT_UNAVAILABLE, THE_RUNTIME, CommandError
from steno_client.evaluation.counts import Counts

COLLAR_SECONDS = 0.5
"""Time around each reference boundary that is not scored, in all."""
MAX_PAUSE_SECONDS = 0.5
"""Pause between two words of a speaker that counts as speaking."""


@dataclass(frozen=True)
class SpeakerSpan:
    """Time in which a speaker speaks, in seconds."""

    speaker: str
    start: float
    end: float


@checked_dataclass(frozen=True)
class SpeakerErrors(Counts):
    """Speaker time that is wrong, in seconds."""

    confusion: float = 0.0
    """Of another speaker."""
    missed: float = 0.0
    false_alarm: float = 0.0
    speaking: float = 0.0
    """Speaker time of the reference; two who speak at once count twice."""

    @computed_field
    @property
    def rate(self) -> float | None:
        """Return the diarization error rate; None without speaker time."""
        return (self.confusion + self.missed + self.false_alarm) / self.speaking if self.speaking else None


def parse_rttm(text: str) -> tuple[SpeakerSpan, ...]:
    """Return the `SPEAKER` rows of an RTTM file.

    Raises:
        ValueError: a row is not RTTM; the text names its line.
    """
    spans: list[SpeakerSpan] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start, duration, speaker = float(fields[3]), float(fields[4]), fields[7]
        except (ValueError, IndexError):
            raise ValueError(f"line {number} is not a SPEAKER row of RTTM with start, duration and name") from None
        spans.append(SpeakerSpan(speaker, start, start + duration))
    return tuple(spans)


def bridge_pauses(spans: Iterable[SpeakerSpan]) -> tuple[SpeakerSpan, ...]:
    """Return spans in which a speaker's pauses of up to `MAX_PAUSE_SECONDS` count as speaking."""
    last: dict[str, int] = {}
    bridged: list[SpeakerSpan] = []
    for span in sorted(spans, key=lambda span: span.start):
        at = last.get(span.speaker)
        if at is not None and span.start - bridged[at].end <= MAX_PAUSE_SECONDS:
            bridged[at] = SpeakerSpan(span.speaker, bridged[at].start, max(bridged[at].end, span.end))
        else:
            last[span.speaker] = len(bridged)
            bridged.append(span)
    return tuple(bridged)


def compare_speakers(
    reference: Sequence[SpeakerSpan], found: Sequence[SpeakerSpan], duration: float = 0.0
) -> SpeakerErrors:
    """Compare speaker turns, whatever the speakers are called.

    Args:
        reference: who speaks when.
        found: who was found to speak when.
        duration: seconds of audio; what lies beyond, and beyond all spans, is not scored.

    Raises:
        CommandError: pyannote.metrics is not installed.
    """
    try:
        from pyannote.core import Annotation, Segment, Timeline
        from pyannote.metrics.diarization import DiarizationErrorRate
    except ModuleNotFoundError as error:
        raise CommandError(
            f"diarization error rates need {error.name}: pip install pyannote.metrics, or {THE_RUNTIME}; "
            "or leave them out with --no-diarize",
            EXIT_UNAVAILABLE,
        ) from error

    def annotate(spans: Sequence[SpeakerSpan]) -> Annotation:
        annotation = Annotation()
        for track, span in enumerate(spans):
            annotation[Segment(span.start, span.end), track] = span.speaker
        return annotation

    end = max([duration, *(span.end for span in (*reference, *found))])
    measure = DiarizationErrorRate(collar=COLLAR_SECONDS)
    errors = cast(
        "Mapping[str, float]",
        measure(annotate(reference), annotate(found), uem=Timeline([Segment(0, end)]), detailed=True),
    )
    return SpeakerErrors(
        confusion=float(errors["confusion"]),
        missed=float(errors["missed detection"]),
        false_alarm=float(errors["false alarm"]),
        speaking=float(errors["total"]),
    )
