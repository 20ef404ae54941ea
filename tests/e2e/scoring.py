"""How right a transcript is: word error rate and diarization error rate against a reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jiwer


def normalise(text: str) -> str:
    """Lower case, no punctuation, one space between words."""
    return " ".join(re.sub(r"[^\w' ]+", " ", text.lower()).split())


def reference_text(stm: Path) -> str:
    """The words of an STM file in order of time: `file channel speaker start end <label> words…`."""
    rows = [line.split(maxsplit=6) for line in stm.read_text().splitlines() if line and not line.startswith(";;")]
    rows.sort(key=lambda row: float(row[3]))
    return " ".join(re.sub(r"<[^>]*>", " ", " ".join(row[5:])) for row in rows)


def word_error_rate(reference: str, transcript: Mapping[str, Any]) -> float:
    """Errors per word of the reference."""
    return jiwer.wer(normalise(reference), normalise(transcript["transcript"]))


def character_error_rate(reference: str, transcript: Mapping[str, Any]) -> float:
    """Errors per character of the reference, spaces aside (Korean spacing is a matter of style)."""
    return jiwer.cer(normalise(reference).replace(" ", ""), normalise(transcript["transcript"]).replace(" ", ""))


def diarization_error_rate(rttm: Path, transcript: Mapping[str, Any]) -> float:
    """Confused, missed and false speaker time over speaker time; 0.25 s around each reference boundary is not scored.

    Speaker time is taken from the transcript's words, bridged over pauses of up to 0.5 s of the same speaker.
    """
    from pyannote.core import Annotation, Segment
    from pyannote.database.util import load_rttm
    from pyannote.metrics.diarization import DiarizationErrorRate

    (reference,) = load_rttm(rttm).values()
    found = Annotation()
    for number, segment in enumerate(transcript["segments"]):
        spans = segment["words"] or [segment]
        for at, span in enumerate(spans):
            found[Segment(span["start"], span["end"]), f"{number}.{at}"] = segment["speaker"]
    found = found.support(collar=0.5)
    return float(DiarizationErrorRate(collar=0.5)(reference, found))
